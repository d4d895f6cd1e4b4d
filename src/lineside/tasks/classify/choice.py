"""Which of several nets `--net auto` takes: the fastest that is shown to be about as good as the best one.

As good: on the same calibrate pictures it loses less than MAY_LOSE of them, net of what it wins, to the one that is
most often right, shown by the exact paired test (evidence/paired.py). That a difference could not be shown is no
reason: few pictures never show one. Where no faster net is shown to be as good, the best is taken. Pictures in lots,
and near duplicates, count for as many independent ones as they are worth (evidence/lots.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lineside.evidence.lots import worth
from lineside.evidence.operating import effective_by_kind
from lineside.evidence.paired import noninferior_in

MAY_LOSE = 0.02  # of all pictures, to the best net; 149 independent pictures without a loss show it
CONFIDENCE = 0.95  # of each test


@dataclass(frozen=True)
class Candidate:
    """A net, how fast it is here, and how it did on the pictures that all candidates were asked."""

    net: str
    latency_ms: float
    lead: np.ndarray  # (n,): logit of the true class less the highest other; above 0: right

    @property
    def right(self) -> np.ndarray:
        """(n,) bool."""
        return self.lead > 0


def pick(candidates: Sequence[Candidate], labels: np.ndarray, lots: np.ndarray | None = None) -> tuple[Candidate, str]:
    """The fastest candidate that is shown to be as good as the most accurate one, else that one; and why.

    labels (n,): true classes of the pictures; lots (n,): the same number for what is tied, None: nothing is.
    """
    best = max(candidates, key=lambda c: (c.right.sum(), -c.latency_ms))
    near = None
    for one in sorted(candidates, key=lambda c: c.latency_ms):
        if one is best:
            break
        gain = one.right.astype(np.int64) - best.right
        verdict = noninferior_in(gain, MAY_LOSE, CONFIDENCE, _witnesses(best, one, gain, labels, lots))
        if verdict.shown:
            return (
                one,
                f"chosen: {one.net}, the fastest that is shown to be as good as {best.net}: {verdict.sentence()}",
            )
        if near is None or verdict.upper < near[1].upper:
            near = one, verdict
    if near is None:
        return best, f"chosen: {best.net}, the most often right, and no net is faster"
    return best, (
        f"chosen: {best.net}, the most often right; no faster net is shown to be as good. The nearest, {near[0].net}: "
        f"{near[1].sentence()}"
    )


def _witnesses(
    best: Candidate, one: Candidate, gain: np.ndarray, labels: np.ndarray, lots: np.ndarray | None
) -> float | None:
    """As many independent pictures as these are worth: the least by either net's leads, and by gain."""
    if lots is None:
        return None
    return min(*(effective_by_kind(c.lead, labels, lots) for c in (best, one)), worth(gain.astype(np.float64), lots))
