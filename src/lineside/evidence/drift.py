"""Is this still what the bundle was made for? A change detector with a bound on its false alarms.

Every part gives a few numbers (its margin, its picture's brightness …). A number's rank among all numbers of its group
so far, those of calibrate first, ties broken by a coin, is its conformal p-value: while nothing changes these are
uniform and independent, whatever the distribution (Vovk, Gammerman & Shafer, Algorithmic Learning in a Random World,
2nd ed. 2022, sec. 8.2). A group is the label that was predicted: another mixture of good and bad parts is no drift.

A bet with stake s multiplies its wealth by 1 + s (p − 1/2), which is 1 on average. The Shiryaev-Roberts sum over all
moments at which the change may have been,  R ← (1 + R) (1 + s (p − 1/2)),  grows by 1 a part on average, and so does
its mean over stakes and numbers. So, without a change, that mean reaches `arl` after arl parts or more on average
(optional stopping; "e-detectors", Shin, Ramdas & Rinaldo 2022, arXiv:2203.03532). No threshold is tuned.

The price of knowing no distribution: what comes after the change joins those it is compared with, so a drift that is
slow against the number of parts seen is learnt instead of told.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

STAKES = np.array([-2.0, -1.0, -0.5, 0.5, 1.0, 2.0])  # |s| ≤ 2: wealth stays at least 0. Signs: larger or smaller
BINS = 256  # of each number at most, between values of calibrate: a rank is that of its bin
ARL = 100_000.0  # parts between false alarms, at least, on average


@dataclass(frozen=True)
class Alarm:
    """The numbers of this part and those before it are not calibrate's."""

    part: int  # which
    number: str  # the one with most evidence
    larger: bool  # it became larger
    since: int  # the part at which it most likely began
    evidence: float  # reached; an alarm is given from `arl` on

    def sentence(self) -> str:
        way = "larger" if self.larger else "smaller"
        return (
            f"drift: {self.number} has become {way} than in calibrate since about part {self.since:,} (alarm at part "
            f"{self.part:,}, evidence {self.evidence:.3g}); look at lamp, lens and parts before trusting verdicts"
        )


class Detector:
    """Tells when numbers stop being like calibrate's. Final; not for several threads.

    calibrate: {group: {number: (n,) values}}. arl: average parts between false alarms, at least. rng breaks ties.
    """

    def __init__(
        self, calibrate: Mapping[str, Mapping[str, np.ndarray]], *, rng: np.random.Generator, arl: float = ARL
    ):
        if not arl > 1:
            raise ValueError(f"arl: expected a number of parts above 1, got {arl}")
        self.numbers = tuple(sorted({name for values in calibrate.values() for name in values}))
        self.arl = arl
        self._rng = rng
        everyone = {
            name: np.concatenate([_finite(values[name]) for values in calibrate.values() if name in values])
            for name in self.numbers
        }
        self._edges = {name: _edges(values) for name, values in everyone.items() if len(values)}
        self.numbers = tuple(self._edges)
        if not self.numbers:
            raise ValueError("calibrate holds no finite number to compare with")
        self._seen = {
            (group, name): self._counts(name, values[name])
            for group, values in calibrate.items()
            for name in values
            if name in self._edges
        }
        self._wealth = np.zeros((len(self.numbers), len(STAKES)))
        self._log_gain = np.zeros_like(
            self._wealth
        )  # of a bet from the start: its lowest point is where R began to rise
        self._lowest = np.zeros_like(self._wealth)
        self._began = np.ones_like(self._wealth, dtype=np.int64)

    @property
    def evidence(self) -> float:
        """The mean of all Shiryaev-Roberts sums now."""
        return float(self._wealth.mean())

    def add(self, part: int, group: str, numbers: Mapping[str, float]) -> Alarm | None:
        """Take the numbers of a part (called so in the Alarm); an Alarm where the evidence reaches arl: it starts anew.

        A number that is missing or not finite says nothing; one that calibrate does not have is left out.
        """
        for i, name in enumerate(self.numbers):
            p = self._p_value(group, name, numbers[name]) if np.isfinite(numbers.get(name, np.nan)) else 0.5
            factor = 1 + STAKES * (p - 0.5)
            self._wealth[i] = (1 + self._wealth[i]) * factor
            lower = self._log_gain[i] < self._lowest[i]
            self._lowest[i][lower], self._began[i][lower] = self._log_gain[i][lower], part
            self._log_gain[i] += np.log(np.maximum(factor, 1e-300))
        if self.evidence < self.arl:
            return None
        i, j = np.unravel_index(int(self._wealth.argmax()), self._wealth.shape)
        alarm = Alarm(part, self.numbers[i], bool(STAKES[j] > 0), int(self._began[i, j]), self.evidence)
        for held in (self._wealth, self._log_gain, self._lowest):
            held[:] = 0
        self._began[:] = part + 1
        return alarm

    def _p_value(self, group: str, name: str, value: float) -> float:
        """The share of what was seen before that is smaller, the value itself among the equals: uniform in (0, 1)."""
        counts = self._seen.setdefault((group, name), np.zeros(len(self._edges[name]) + 1))
        at = int(np.searchsorted(self._edges[name], value, side="right"))
        counts[at] += 1
        return float((counts[:at].sum() + self._rng.random() * counts[at]) / counts.sum())

    def _counts(self, name: str, values: np.ndarray) -> np.ndarray:
        at = np.searchsorted(self._edges[name], _finite(values), side="right")
        return np.bincount(at, minlength=len(self._edges[name]) + 1).astype(np.float64)


def _edges(values: np.ndarray) -> np.ndarray:
    """Between the values, never on one: a new value is as likely above as below the one that its bin holds already."""
    found = np.unique(values)
    if len(found) == 1:
        return np.array([found[0], np.nextafter(found[0], np.inf)])
    at = np.unique(np.linspace(0, len(found) - 2, BINS - 1).astype(np.int64))
    return (found[at] + found[at + 1]) / 2


def _finite(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return values[np.isfinite(values)]
