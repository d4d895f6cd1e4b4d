"""From logits to a decision: label, score, margin, verdict, reason. Numpy; what the line asks for every part.

margin = log P(accepted classes) - log P(the other classes), the log-odds that the part may pass, in float64 from logits
that the graph has divided by the temperature already. As a difference of two log-sums of logits it does not saturate
where the scores round to 0 or 1. A row with a logit that is not finite has no margin (NaN) and is rejected.

The margin alone decides. The label is the class with the highest score; as accept_at is never below 0, an accepted
part of a bundle with one accepted class always carries that label. With several accepted classes their probabilities
count together: a part that is surely one of two good kinds passes, whichever of them it is.

A bundle without accepted classes only sorts: it has no margin and no operating point, and every part gets its label and
the verdict "hold" (nothing in the bundle says that it may pass). The station can't accept with it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lineside.evidence.calibration import softmax
from lineside.evidence.operating import ACCEPT, HOLD, REJECT, OperatingPoint, zone
from lineside.labels import Annotation

NOT_FINITE, SORTS_ONLY = "not finite", "sorts only"
REASONS = {ACCEPT: "at or above accept", HOLD: "between reject and accept", REJECT: "below reject"}


@dataclass(frozen=True, slots=True)
class Decision:
    """annotation is None where the logits were not finite; margin is None there and where the bundle only sorts."""

    annotation: Annotation | None
    margin: float | None
    verdict: str  # "accept" | "hold" | "reject"
    reason: str


def scores(logits: np.ndarray) -> np.ndarray:
    """(N, K) logits -> (N, K) float64 probabilities; a row that is not finite becomes NaN."""
    z = np.asarray(logits, np.float64)
    fine = _finite(z)
    return np.where(fine[:, None], softmax(np.where(fine[:, None], z, 0.0)), np.nan)


def predict(logits: np.ndarray) -> np.ndarray:
    """(N, K) logits -> (N,) index of the highest, the first of equals; -1 for a row that is not finite."""
    z = np.asarray(logits)
    fine = _finite(z)
    return np.where(fine, np.where(fine[:, None], z, 0).argmax(axis=1), -1)


def margin(logits: np.ndarray, accept_index: Sequence[int]) -> np.ndarray:
    """(N, K) logits -> (N,) float64 log-odds that a part may pass; NaN for a row that is not finite.

    ValueError where accept_index is empty (the bundle only sorts: there is no margin) or every class is accepted.
    """
    z = np.asarray(logits, np.float64)
    passing = _passing(z.shape[1], accept_index)
    fine = _finite(z)
    z = np.where(fine[:, None], z, 0.0)
    return np.where(fine, _log_sum(z[:, passing]) - _log_sum(z[:, ~passing]), np.nan)


def decider(
    classes: Sequence[str], accept: Sequence[str], point: OperatingPoint | None
) -> Callable[[np.ndarray], Decision]:
    """decide(logits (K,)) -> Decision, made once for a bundle, so that a part costs microseconds.

    The verdict is that of evidence.operating.zones. ValueError where an accepted class is not among the classes.
    """
    names = tuple(classes)
    if missing := [name for name in accept if name not in names]:
        raise ValueError(f"accepted class {missing[0]!r} is not one of the classes: {', '.join(names)}")
    if (point is None) != (len(accept) == 0):
        raise ValueError("a bundle has accepted classes and an operating point, or neither")
    passing = [i for i, name in enumerate(names) if name in accept]
    failing = [i for i, name in enumerate(names) if name not in accept]
    if not failing:
        raise ValueError("every class is accepted: nothing could be rejected")
    accept_at, reject_below = (point.accept_at, point.reject_below) if point else (math.inf, math.inf)

    def decide(logits: np.ndarray) -> Decision:
        z = np.asarray(logits, np.float64)
        if z.shape != (len(names),):
            raise ValueError(f"expected {len(names)} logits, one for each class, got an array of shape {z.shape}")
        if not np.isfinite(z).all():
            return Decision(None, None, REJECT, NOT_FINITE)
        best = int(z.argmax())
        found = Annotation(names[best], 1.0 / float(np.exp(z - z[best]).sum()))
        if point is None:
            return Decision(found, None, HOLD, SORTS_ONLY)
        part_margin = _log_sum_of(z[passing]) - _log_sum_of(z[failing])
        verdict = zone(part_margin, accept_at, reject_below)
        return Decision(found, part_margin, verdict, REASONS[verdict])

    return decide


def verdicts(
    classes: Sequence[str], accept: Sequence[str], point: OperatingPoint | None
) -> Callable[[np.ndarray], np.ndarray]:
    """The same for parity: of(logits (N, K)) -> (N,) verdicts; class names where it only sorts (not finite: reject)."""
    decide = decider(classes, accept, point)

    def of(logits: np.ndarray) -> np.ndarray:
        decisions = [decide(row) for row in logits]
        if point is None:
            return np.array([d.annotation.category if d.annotation else d.verdict for d in decisions])
        return np.array([d.verdict for d in decisions])

    return of


def _finite(z: np.ndarray) -> np.ndarray:
    return np.logical_and.reduce(np.isfinite(z), axis=1)


def _passing(classes: int, accept_index: Sequence[int]) -> np.ndarray:
    passing = np.zeros(classes, bool)
    passing[list(accept_index)] = True
    if not passing.any():
        raise ValueError("no class is accepted: the bundle only sorts, and its parts have no margin")
    if passing.all():
        raise ValueError("every class is accepted: nothing could be rejected")
    return passing


def _log_sum(z: np.ndarray) -> np.ndarray:
    """log sum exp over the last axis, exact where one term is alone."""
    top = z.max(axis=1)
    return top + np.log(np.exp(z - top[:, None]).sum(axis=1))


def _log_sum_of(z: np.ndarray) -> float:
    """The same of one row (K,); a plain loop is the faster of the two for a handful of classes."""
    top = float(z.max())
    if len(z) > 64:
        return top + math.log(float(np.exp(z - top).sum()))
    return top + math.log(sum(math.exp(value - top) for value in z.tolist()))
