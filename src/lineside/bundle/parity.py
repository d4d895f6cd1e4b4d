"""Does an engine give the trained net's answers? Every calibrate picture through both, and a table of what moved.

The reference is the trained net in torch float32: logits already divided by the temperature, the very numbers that the
operating point was chosen on (calibrate.csv).

float32 engine      must be the same program: no decision may change, no score may move by more than SCORE_TOLERANCE
bfloat16, int8      another program, that may round differently: `refuse_lower` asks for a paired test on decisions

`answers` runs an engine over picture files, decoding them as the line does.
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
from lineside.progress import Progress, silent

# Largest move of a score (probability) between two float32 engines. See docs/bundle-format.md for the measurement.
SCORE_TOLERANCE = 1e-4
WORST = 10  # pictures named in a row

Decide = Callable[[np.ndarray], np.ndarray]  # logits (N, K) → verdicts (N,) of "accept", "hold", "reject"


@dataclass(frozen=True)
class Reference:
    """calibrate.csv: every calibrate picture with the answer that the operating point was chosen on."""

    names: tuple[str, ...]
    labels: tuple[str, ...]
    classes: tuple[str, ...]
    accept: tuple[str, ...]
    logits: np.ndarray  # (n, K) float32, divided by the temperature

    @property
    def is_good(self) -> np.ndarray:
        return np.isin(np.array(self.labels), self.accept)


@dataclass(frozen=True, slots=True)
class Moved:
    """One picture that an engine answers differently."""

    name: str
    label: str
    score_move: float  # largest |Δ score| of any class
    was: str  # "hex_nut accept": the reference's label and verdict
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
    new_escapes: int  # bad parts that only this engine accepts
    worst: tuple[Moved, ...]
    ms_median: float  # a ready picture to logits, batch 1
    ms_p95: float


@dataclass(frozen=True)
class Answers:
    logits: np.ndarray  # (n, K) float32
    ms: np.ndarray  # (n,) time of each picture in the engine, batch 1, decoding not included


def answers(infer: Infer, files: Sequence[Path], progress: Progress = silent) -> Answers:
    """Every file through infer, one at a time as on the line. The first picture goes twice: it warms the engine up."""
    logits, ms = [], []
    for done, file in enumerate(files):
        pictures = picture.load(file)[None]
        if not done:
            infer(pictures)
        begun = time.perf_counter()
        logits.append(infer(pictures)[0])
        ms.append(1e3 * (time.perf_counter() - begun))
        progress(done + 1, len(files), "")
    return Answers(np.stack(logits).astype(np.float32), np.array(ms))


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
    flips = (was != now) | (was_verdict != verdict)
    order = np.lexsort((-score_move, ~flips))[:WORST]
    say = [*truth.classes, "no finite answer"]
    worst = tuple(
        Moved(
            truth.names[i],
            truth.labels[i],
            float(min(score_move[i], 1.0)),
            f"{say[was[i]]} {was_verdict[i]}",
            f"{say[now[i]]} {verdict[i]}",
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
        new_escapes=int((~truth.is_good & (was_verdict != "accept") & (verdict == "accept")).sum()),
        worst=worst,
        ms_median=float(np.median(ms)),
        ms_p95=float(np.quantile(ms, 0.95)),
    )


def refuse(row: Row, where: str) -> None:
    """ParityError with the table of what moved, unless a float32 engine gives the reference's answers."""
    reasons = []
    if row.label_flips or row.verdict_flips:
        reasons.append(f"{row.label_flips} labels and {row.verdict_flips} verdicts of {row.n} changed")
    if row.score_max is None or row.score_max > SCORE_TOLERANCE:
        moved = "an answer is not finite" if row.score_max is None else f"a score moved by {row.score_max:.2g}"
        reasons.append(f"{moved} (allowed: {SCORE_TOLERANCE:g})")
    if reasons:
        raise ParityError(
            f"{where}: {row.engine} {row.precision} does not give the answers of the trained net: "
            f"{'; '.join(reasons)}. Nothing was written.\n{table([row])}"
        )


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
    """calibrate.csv again; BundleError if it is not one for these classes."""
    try:
        head, *rows = csv.reader(io.StringIO(data.decode(), newline=""), strict=True)
        if head != ["name", "label", *(f"logit {one}" for one in classes)]:
            raise ValueError(f"its columns are {head}")
        logits = np.array([[float(x) for x in row[2:]] for row in rows], np.float32).reshape(len(rows), len(classes))
        return Reference(tuple(r[0] for r in rows), tuple(r[1] for r in rows), classes, accept, logits)
    except (ValueError, IndexError, csv.Error) as error:
        raise BundleError(f"{where}: not a table of calibrate answers: {error}") from None
