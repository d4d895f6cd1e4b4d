"""How good the answers are: every number with n and a 95 % interval. Numpy; no pictures, no engine.

Rates (top-1, recall, precision, escape, overkill, hold)  exact (Clopper-Pearson); where pictures come in groups (lots)
    the interval is widened, if need be, to that of a bootstrap that draws whole groups
Macro recall (balanced accuracy)                           MOVER on exact limits, widened in the same way
ECE, NLL, Brier score                                      bootstrap, by group where there are groups

Logits are those of the bundle: the graph has divided them by the temperature. A picture whose logits are not finite has
no answer: it counts as wrong and as rejected, stands in the last column of the confusion matrix, and is left out of
ECE, NLL and Brier score, which need a score.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lineside.evidence.calibration import MOST_NATS, brier, ece, nll, softmax
from lineside.evidence.intervals import Estimate, bootstrap, mean, mean_of_rates, nothing, proportion, widest
from lineside.evidence.operating import ACCEPT, HOLD, REJECT, OperatingPoint, numbered, zones
from lineside.tasks.classify.decode import margin, predict

TOP = 5


@dataclass(frozen=True)
class ClassScore:
    """One class: recall among its n pictures, precision among the pictures that were called it."""

    name: str
    n: int
    recall: Estimate
    precision: Estimate


@dataclass(frozen=True)
class Score:
    """Everything that is measured on one set of pictures; escape and its like are None where nothing is accepted."""

    n: int
    no_answer: int  # pictures whose logits were not finite
    top1: Estimate
    top5: Estimate | None  # where there are more than five classes
    macro_recall: Estimate  # over the classes that have pictures
    per_class: tuple[ClassScore, ...]
    confusion: np.ndarray  # (K, K + 1) int64: true class, predicted class; last column: no answer
    ece: Estimate
    ece_before: Estimate  # with the logits as they were before the temperature
    nll: Estimate  # nats
    brier: Estimate  # 0 to 2
    escape: Estimate | None  # bad parts accepted, of bad parts
    overkill: Estimate | None  # good parts rejected, of good parts
    hold: Estimate | None  # parts sent to a person, of all
    good_accepted: Estimate | None  # good parts accepted, of good parts
    escape_of: dict[str, Estimate]  # by class of bad part

    def metrics(self, part: str = "test") -> dict[str, Estimate]:
        """By the names that manifests and --json use: {"test top-1": ..., "test escape": ...}."""
        named = {
            "top-1": self.top1,
            "top-5": self.top5,
            "macro recall": self.macro_recall,
            "ECE": self.ece,
            "ECE before temperature": self.ece_before,
            "NLL": self.nll,
            "Brier score": self.brier,
            "escape": self.escape,
            "overkill": self.overkill,
            "hold": self.hold,
            "good accepted": self.good_accepted,
        }
        for one in self.per_class:
            named[f"recall of {one.name}"] = one.recall
            named[f"precision of {one.name}"] = one.precision
        named |= {f"escape of {name}": estimate for name, estimate in self.escape_of.items()}
        return {f"{part} {name}": estimate for name, estimate in named.items() if estimate is not None}


@dataclass(frozen=True)
class Judged:
    """margins (N,) log-odds, verdicts (N,) "accept" | "hold" | "reject", is_good (N,) bool: the truth."""

    margins: np.ndarray
    verdicts: np.ndarray
    is_good: np.ndarray


def score(
    logits: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    *,
    rng: np.random.Generator,
    accept: Sequence[str] = (),
    point: OperatingPoint | None = None,
    temperature: float = 1.0,
    groups: np.ndarray | None = None,
) -> Score:
    """logits (N, K) after the temperature, labels (N,) indices into classes, groups (N,) any labels or None.

    accept and point give the verdicts; temperature is only undone for ece_before.
    """
    logits, labels = np.asarray(logits).reshape(-1, len(classes)), np.asarray(labels, np.int64)
    n, count = len(labels), len(classes)
    predicted = predict(logits)
    answered, hit = predicted >= 0, predicted == labels
    confusion = np.zeros((count, count + 1), np.int64)
    np.add.at(confusion, (labels, np.where(answered, predicted, count)), 1)

    def rate(hits: np.ndarray, among: np.ndarray) -> Estimate:
        return proportion(hits[among], rng=rng, groups=None if groups is None else groups[among])

    everyone = np.ones(n, bool)
    trust = _trust(logits[answered], labels[answered], temperature, None if groups is None else groups[answered], rng)
    judged = judge(logits, labels, classes, accept, point)
    escape = overkill = hold = good_accepted = None
    escape_of: dict[str, Estimate] = {}
    if judged is not None:
        accepted = judged.verdicts == ACCEPT
        escape = rate(accepted, ~judged.is_good)
        overkill = rate(judged.verdicts == REJECT, judged.is_good)
        hold = rate(judged.verdicts == HOLD, everyone)
        good_accepted = rate(accepted, judged.is_good)
        bad_kinds = [k for k, name in enumerate(classes) if name not in accept and (labels == k).any()]
        escape_of = {classes[k]: rate(accepted, labels == k) for k in bad_kinds}
    return Score(
        n=n,
        no_answer=int(np.count_nonzero(~answered)),
        top1=rate(hit, everyone),
        top5=rate(_within(logits, labels, TOP) & answered, everyone) if count > TOP else None,
        macro_recall=_macro_recall(hit, labels, count, groups, rng),
        per_class=tuple(
            ClassScore(name, int((labels == k).sum()), rate(hit, labels == k), rate(hit, predicted == k))
            for k, name in enumerate(classes)
        ),
        confusion=confusion,
        ece=trust[0],
        ece_before=trust[1],
        nll=trust[2],
        brier=trust[3],
        escape=escape,
        overkill=overkill,
        hold=hold,
        good_accepted=good_accepted,
        escape_of=escape_of,
    )


def top1_on_calibrate(logits: np.ndarray, labels: np.ndarray, lots: Sequence[str | None]) -> Estimate:
    """Top-1 on the pictures by which the epoch was chosen, so a little hopeful; lots widen it."""
    right = logits.argmax(1) == labels
    return proportion(right, rng=np.random.default_rng(0), groups=numbered(lots))


def judge(
    logits: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    accept: Sequence[str],
    point: OperatingPoint | None,
) -> Judged | None:
    """The verdict of every picture beside the truth; None where nothing is accepted or there is no operating point."""
    passing = [k for k, name in enumerate(classes) if name in accept]
    if not passing or point is None:
        return None
    margins = margin(logits, passing)
    return Judged(margins, zones(margins, point), np.isin(labels, passing))


def _trust(
    logits: np.ndarray, labels: np.ndarray, temperature: float, groups: np.ndarray | None, rng: np.random.Generator
) -> tuple[Estimate, Estimate, Estimate, Estimate]:
    """How true the scores are, over pictures that have an answer: ECE, ECE before the temperature, NLL, Brier score."""
    if len(labels) == 0:
        empty = nothing("bootstrap")
        return empty, empty, nothing("bootstrap", bounds=(0.0, MOST_NATS)), nothing("bootstrap", bounds=(0.0, 2.0))
    p, before = softmax(logits), softmax(np.asarray(logits, np.float64) * temperature)
    return (
        ece(p.max(axis=1), p.argmax(axis=1) == labels, rng=rng, groups=groups),
        ece(before.max(axis=1), before.argmax(axis=1) == labels, rng=rng, groups=groups),
        bootstrap(mean, (nll(p, labels),), rng=rng, groups=groups, bounds=(0.0, MOST_NATS)),
        bootstrap(mean, (brier(p, labels),), rng=rng, groups=groups, bounds=(0.0, 2.0)),
    )


def _within(logits: np.ndarray, labels: np.ndarray, top: int) -> np.ndarray:
    """Whether the true class is among the `top` highest (N,); a tie counts against it."""
    true = logits[np.arange(len(labels)), labels][:, None]
    return (logits >= true).sum(axis=1) <= top


def _macro_recall(
    hit: np.ndarray, labels: np.ndarray, classes: int, groups: np.ndarray | None, rng: np.random.Generator
) -> Estimate:
    member = np.eye(classes)[labels]  # (N, K)
    there = member.any(axis=0)
    member = member[:, there]
    plain = mean_of_rates(
        (member * hit[:, None]).sum(axis=0).astype(int).tolist(), member.sum(axis=0).astype(int).tolist()
    )
    if groups is None or len(labels) == 0:
        return plain

    def statistic(counts: np.ndarray, member: np.ndarray, hit: np.ndarray) -> np.ndarray:
        total = counts @ member
        right = counts @ (member * hit[:, None])
        drawn = total > 0
        recall = np.divide(right, total, out=np.zeros_like(right), where=drawn)
        return recall.sum(axis=1) / np.maximum(drawn.sum(axis=1), 1)

    return widest(plain, bootstrap(statistic, (member, hit.astype(np.float64)), rng=rng, groups=groups))
