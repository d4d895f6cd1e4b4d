"""Latency percentiles over any number of parts in 40 kB: a histogram with logarithmic bins.

After HdrHistogram (Tene 2012): each bin is 0.5 % wider than the one before, so a percentile read from its middle is
within 0.25 % of the true one. n, mean and maximum are exact. Percentiles are of the nearest rank: the smallest time
that at least that share of the parts did not exceed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LOWEST_MS, HIGHEST_MS, GROWTH = 1e-4, 1e7, 1.005  # 100 ns to 2.8 hours
BINS = math.ceil(math.log(HIGHEST_MS / LOWEST_MS) / math.log(GROWTH)) + 2
PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}


@dataclass(frozen=True)
class Latency:
    """Milliseconds; all None where n = 0."""

    n: int
    mean: float | None
    percentiles: dict[str, float] | None  # the names of PERCENTILES
    max: float | None


@dataclass(frozen=True, slots=True)
class UpTo:
    counts: tuple[int, ...]  # by bound
    n: int
    sum_ms: float


class Histogram:
    """Times in milliseconds, counted. Final."""

    def __init__(self):
        self._counts = np.zeros(BINS, np.int64)
        self._sum = 0.0
        self._max = 0.0

    def add(self, ms: float) -> None:
        bin_ = int(math.log(max(ms, LOWEST_MS) / LOWEST_MS) / math.log(GROWTH)) + 1
        self._counts[min(bin_, BINS - 1)] += 1
        self._sum += ms
        self._max = max(self._max, ms)

    def latency(self) -> Latency:
        n = int(self._counts.sum())
        if n == 0:
            return Latency(0, None, None, None)
        reached = np.cumsum(self._counts)
        found = {name: self._middle(int(np.searchsorted(reached, math.ceil(p * n)))) for name, p in PERCENTILES.items()}
        return Latency(n, self._sum / n, found, self._max)

    def up_to(self, bounds_ms: Sequence[float]) -> "UpTo":
        """How many times were at most so long; may be called by another thread than add's.

        A time less than 0.5 % below a bound may count as above it, never the other way round.
        """
        reached = np.cumsum(self._counts)
        bins = [math.floor(math.log(ms / LOWEST_MS) / math.log(GROWTH) + 1e-9) for ms in bounds_ms]
        return UpTo(tuple(int(reached[max(0, min(b, BINS - 1))]) for b in bins), int(reached[-1]), self._sum)

    def _middle(self, bin_: int) -> float:
        return min(LOWEST_MS * GROWTH ** (bin_ - 0.5), self._max)
