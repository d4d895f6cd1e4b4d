"""Does an engine give the trained net's answers? Every calibrate picture through both, and a table of what moved.

The reference is the trained net in torch float32: logits already divided by the temperature, the very numbers that the
operating point was chosen on (calibrate.csv).

float32          is the same program: no label and no verdict may change, no score may move by more than SCORE_TOLERANCE
bfloat16, int8   round, so some answers may change, but
                 - no bad part may be accepted that was not before, and the promise of the operating point must hold:
                   no more bad parts at or above accept_at than the rank that it was chosen by;
                 - the paired test (evidence/paired.py) must show that less than MARGIN of decisions is lost; pictures
                   that are tied (lots, near duplicates) are no independent witnesses. A decision is right where a
                   good part is accepted and a bad one is not; without accepted classes, where the label is right.

`answers` runs engines over picture files, decoding them as the line does.
"""

import csv
import io
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lineside import settings
from lineside.bundle.engine import Infer
from lineside.bundle.manifest import EngineName, Latency, Precision
from lineside.data import picture
from lineside.errors import BundleError, ParityError, SettingsError
from lineside.evidence.calibration import lead
from lineside.evidence.lots import worth
from lineside.evidence.operating import OperatingPoint, effective, effective_by_kind, numbered, rank
from lineside.evidence.paired import Verdict, noninferior_in
from lineside.progress import Progress, silent

SCORE_TOLERANCE = 1e-4  # of a score (probability) between two float32 engines; measured in docs/bundle-format.md
MARGIN, CONFIDENCE = 0.02, 0.95  # of the paired test: 2 % of decisions; 149 pictures without a loss show it
WORST = 10  # pictures named in a row

# logits (N, K) → verdicts (N,): accept, hold, reject; class names where it only sorts
Decide = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Reference:
    """calibrate.csv: every calibrate picture with the answer that the operating point was chosen on."""

    names: tuple[str, ...]
    labels: tuple[str, ...]
    classes: tuple[str, ...]
    accept: tuple[str, ...]
    logits: np.ndarray  # (n, K) float32, divided by the temperature
    groups: tuple[str | None, ...] | None = None  # the same name: one lot, or near duplicates; of split.csv

    @property
    def is_good(self) -> np.ndarray:
        return np.isin(np.array(self.labels), self.accept)


@dataclass(frozen=True, slots=True)
class Moved:
    """One picture that an engine answers differently."""

    name: str
    label: str
    score_move: float  # largest |Δ score| of any class
    was: str  # "hex_nut accept": the reference's label and verdict; the label alone where it only sorts
    now: str


@dataclass(frozen=True, slots=True)
class Row:
    """One engine against the reference, over n calibrate pictures: a row of parity.json."""

    engine: str
    precision: str
    n: int
    logit_max: float | None  # largest |Δ logit|; None where an engine gave no finite answer
    logit_p99: float | None
    score_max: float | None
    score_p99: float | None
    label_flips: int
    verdict_flips: int
    escapes: int  # bad parts that this engine accepts
    new_escapes: int  # of them, those that the reference does not
    worst: tuple[Moved, ...]
    ms_median: float  # a ready picture to logits, batch 1
    ms_p95: float
    paired: Verdict | None  # the paired test on decisions, where the precision is below float32


@dataclass(frozen=True)
class Answers:
    logits: np.ndarray  # (n, K) float32
    ms: np.ndarray  # (n,) time of each picture in the engine, batch 1, decoding not included


def answers(engines: Sequence[Infer], files: Sequence[Path], progress: Progress = silent) -> list[Answers]:
    """Every file through every engine, one at a time as on the line, the engines alternately; in the order of engines.

    The first picture goes through twice: it warms an engine up.
    """
    logits: list[list[np.ndarray]] = [[] for _ in engines]
    ms: list[list[float]] = [[] for _ in engines]
    for done, file in enumerate(files):
        pictures = picture.load(file)[None]
        for number, infer in enumerate(engines):
            if not done:
                infer(pictures)
            begun = time.perf_counter()
            logits[number].append(infer(pictures)[0])
            ms[number].append(1e3 * (time.perf_counter() - begun))
        progress(done + 1, len(files), "")
    return [Answers(np.stack(one).astype(np.float32), np.array(took)) for one, took in zip(logits, ms, strict=True)]


def scores(logits: np.ndarray) -> np.ndarray:
    """softmax (N, K) float64; NaN where a logit is not finite."""
    x = np.asarray(logits, np.float64)
    with np.errstate(invalid="ignore"):
        e = np.exp(x - x.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)


def compare(
    truth: Reference, logits: np.ndarray, ms: np.ndarray, decide: Decide, *, engine: EngineName, precision: Precision
) -> Row:
    """The row of an engine that gave `logits` (n, K) for truth's pictures in `ms` (n,) each."""
    if logits.shape != truth.logits.shape:
        raise BundleError(f"{engine} gave answers of shape {logits.shape}, the reference has {truth.logits.shape}")
    finite = np.isfinite(logits).all(1)
    with np.errstate(invalid="ignore"):
        logit_move = np.where(finite, np.abs(logits - truth.logits).max(1), np.inf)
        score_move = np.where(finite, np.abs(scores(logits) - scores(truth.logits)).max(1), np.inf)
    was, now = truth.logits.argmax(1), np.where(finite, logits.argmax(1), -1)
    was_verdict, verdict = decide(truth.logits), decide(logits)
    escapes = had_escaped = np.zeros(len(logits), bool)  # of a bundle that only sorts nothing is accepted
    if truth.accept:
        escapes, had_escaped = (~truth.is_good & (v == "accept") for v in (verdict, was_verdict))
        was_right, right = ((v == "accept") == truth.is_good for v in (was_verdict, verdict))
    else:
        is_label = np.array([truth.classes.index(label) for label in truth.labels])
        was_right, right = was == is_label, now == is_label
    flips = (was != now) | (was_verdict != verdict)
    order = np.lexsort((-score_move, ~flips))[:WORST]
    say = [*truth.classes, "no finite answer"]
    worst = tuple(
        Moved(
            truth.names[i],
            truth.labels[i],
            float(min(score_move[i], 1.0)),
            f"{say[was[i]]} {was_verdict[i]}" if truth.accept else say[was[i]],
            f"{say[now[i]]} {verdict[i]}" if truth.accept else say[now[i]],
        )
        for i in order
    )
    return Row(
        engine=engine,
        precision=precision,
        n=len(logits),
        logit_max=_finite(logit_move.max()),
        logit_p99=_finite(np.quantile(logit_move, 0.99, method="higher")),
        score_max=_finite(score_move.max()),
        score_p99=_finite(np.quantile(score_move, 0.99, method="higher")),
        label_flips=int((was != now).sum()),
        verdict_flips=int((was_verdict != verdict).sum()),
        escapes=int(escapes.sum()),
        new_escapes=int((escapes & ~had_escaped).sum()),
        worst=worst,
        ms_median=float(np.median(ms)),
        ms_p95=float(np.quantile(ms, 0.95)),
        paired=None if precision == "float32" else _paired(truth, logits, right.astype(int) - was_right),
    )


def _paired(truth: Reference, logits: np.ndarray, gain: np.ndarray) -> Verdict:
    """The paired test on decisions; gain (n,): -1 lost, 0 the same, 1 won."""
    return noninferior_in(gain, MARGIN, CONFIDENCE, _witnesses(truth, logits, gain))


def _witnesses(truth: Reference, logits: np.ndarray, gain: np.ndarray) -> float | None:
    """As many independent pictures as these are worth where some come in lots; gain as in _paired.

    Lots are lost whole where their pictures stand equally near the threshold, or are moved alike: the least of what
    they are worth by their leads (within what they are, as in the operating point), by the moves, and by the losses.
    """
    if truth.groups is None:
        return None
    lots, everyone = numbered(truth.groups), np.ones(len(gain), bool)
    own = np.isin(truth.classes, truth.accept) if truth.accept else np.array(truth.labels)[:, None] == truth.classes
    kinds = truth.is_good if truth.accept else np.array(truth.labels)
    before, after = lead(truth.logits, own), lead(logits, own)
    with np.errstate(invalid="ignore"):
        moves = after - before
    by_lead = effective_by_kind(before, kinds, lots)
    return min(by_lead, effective(moves, everyone, lots), worth(gain.astype(np.float64), lots))


def refuse(row: Row, point: OperatingPoint | None, where: str) -> None:
    """ParityError with the table of what moved, unless the row meets the rule of its precision."""
    if reasons := _same(row) if row.paired is None else _as_good(row, row.paired, point):
        raise ParityError(
            f"{where}: {row.engine} {row.precision} may not answer for the trained net: {'; '.join(reasons)}. "
            f"The bundle is unchanged.\n{table([row])}"
        )


def _same(row: Row) -> list[str]:
    reasons = []
    if row.label_flips or row.verdict_flips:
        reasons.append(f"{row.label_flips} labels and {row.verdict_flips} verdicts of {row.n} changed")
    if row.score_max is None or row.score_max > SCORE_TOLERANCE:
        moved = "an answer is not finite" if row.score_max is None else f"a score moved by {row.score_max:.2g}"
        reasons.append(f"{moved} (allowed: {SCORE_TOLERANCE:g})")
    return reasons


def _as_good(row: Row, paired: Verdict, point: OperatingPoint | None) -> list[str]:
    reasons = []
    if row.score_max is None:
        reasons.append("an answer is not finite")
    if row.new_escapes:
        reasons.append(f"{row.new_escapes} bad parts would escape that were not accepted before")
    if point is not None:
        allowed = max(rank(int(point.n_bad_effective), point.max_escape, point.confidence), 1) - 1
        if row.escapes > allowed:
            reasons.append(
                f"the promise (escape ≤ {100 * point.max_escape:g} %) would no longer hold: {row.escapes} bad "
                f"calibrate parts above the threshold, at most {allowed} allowed"
            )
    if not paired.shown:
        reasons.append(f"{paired.sentence()}")
    return reasons


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def latency(ms: np.ndarray, threads: int) -> Latency:
    """The latency record of a manifest, for this machine."""
    return Latency(float(np.median(ms)), float(np.quantile(ms, 0.95)), len(ms), threads, machine())


def machine() -> str:
    """This machine's processor, as it names itself."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def table(rows: Sequence[Row]) -> str:
    """Rows as text for a terminal: what moved, per engine and precision, and the pictures that moved most."""
    lines = [
        f"{'engine':<13}{'precision':<10}{'n':>6}{'max |Δ logit|':>15}{'max |Δ score|':>15}{'p99 |Δ score|':>15}"
        f"{'labels':>8}{'verdicts':>10}{'escapes':>9}{'ms':>8}"
    ]
    lines += [
        f"{row.engine:<13}{row.precision:<10}{row.n:>6}{_g(row.logit_max):>15}{_g(row.score_max):>15}"
        f"{_g(row.score_p99):>15}{row.label_flips:>8}{row.verdict_flips:>10}{row.new_escapes:>9}{row.ms_median:>8.2f}"
        for row in rows
    ]
    lines.append("labels, verdicts: changed; escapes: bad parts accepted that were not before; ms: median at batch 1")
    lines += [
        f"  {row.engine} {row.precision}: {one.name} ({one.label}): {one.was} → {one.now}, moved {one.score_move:.3g}"
        for row in rows
        for one in row.worst
        if one.was != one.now
    ]
    return "\n".join(lines)


def _g(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.2g}"


def write_rows(rows: Sequence[Row]) -> bytes:
    """parity.json"""
    return (
        json.dumps([settings.plain(row) for row in rows], indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    ).encode()


def read_rows(data: bytes, where: str) -> tuple[Row, ...]:
    """The rows of parity.json; BundleError if it is not that."""
    try:
        return tuple(settings.read(Row, row, f"{where}[{i}]") for i, row in enumerate(json.loads(data)))
    except (ValueError, TypeError, SettingsError) as error:
        raise BundleError(f"{where}: not a parity table: {error}") from None


def write_reference(truth: Reference) -> bytes:
    """calibrate.csv: name, label, and a column of logits for each class."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(["name", "label", *(f"logit {one}" for one in truth.classes)])
    for name, label, logits in zip(truth.names, truth.labels, truth.logits, strict=True):
        writer.writerow([name, label, *(f"{x:.9g}" for x in logits)])  # 9 digits: float32, exactly
    return text.getvalue().encode()


def read_reference(data: bytes, classes: tuple[str, ...], accept: tuple[str, ...], where: str) -> Reference:
    """calibrate.csv again; BundleError if it is not one for these classes, or holds no answer."""
    try:
        head, *rows = csv.reader(io.StringIO(data.decode(), newline=""), strict=True)
        if head != ["name", "label", *(f"logit {one}" for one in classes)]:
            raise ValueError(f"its columns are {head}")
        if not rows:
            raise ValueError("it holds no picture")
        if unknown := sorted({row[1] for row in rows} - set(classes)):
            raise ValueError(f"its label {unknown[0]!r} is not one of the bundle's classes")
        logits = np.array([[float(x) for x in row[2:]] for row in rows], np.float32).reshape(len(rows), len(classes))
        if not np.isfinite(logits).all():
            raise ValueError("a logit is not finite")
        return Reference(tuple(r[0] for r in rows), tuple(r[1] for r in rows), classes, accept, logits)
    except (ValueError, IndexError, csv.Error) as error:
        raise BundleError(f"{where}: not a table of calibrate answers: {error}") from None
