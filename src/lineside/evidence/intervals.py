"""A number with what is known about it: value, interval, n, and the method that made the interval.

Proportions   Clopper & Pearson 1934, Biometrika 26:404 (exact: never less than the stated confidence)
Mean of proportions  Zou & Donner 2008, Statistics in Medicine 27:1693 (MOVER), from exact limits
Everything else      bootstrap, bias-corrected and accelerated: Efron 1987, JASA 82:171

Intervals are two-sided and central at `confidence`, unless a name says "upper". With n = 0 nothing was measured: value
is None and the interval is everything that is possible. A bootstrap statistic takes counts, not copies of the data, so
that thousands of resamples are a few matrix products; groups (lots) are drawn whole.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

CHUNK_NUMBERS = 4_000_000  # resample counts in memory at a time: 32 MB
JACKKNIFE_BLOCKS = 500  # with more rows than this the acceleration comes from leaving out one block of rows at a time


@dataclass(frozen=True)
class Estimate:
    """value is None where n = 0; low and high hold the truth with `confidence`; n counts pictures."""

    value: float | None
    low: float
    high: float
    n: int
    confidence: float
    method: str

    def percent(self) -> str:
        """As people read a rate: "98.3 % (96.4 to 99.4, n = 412)"."""
        if self.value is None:
            return "not measured (n = 0)"
        return f"{100 * self.value:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f}, n = {self.n:,})"

    def number(self) -> str:
        """As people read anything else: "0.021 (0.012 to 0.034, n = 412)"."""
        if self.value is None:
            return "not measured (n = 0)"
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g}, n = {self.n:,})"


def nothing(method: str, confidence: float = 0.95, bounds: tuple[float, float] = (0.0, 1.0)) -> Estimate:
    """The estimate from no picture at all: no value, and every value is possible."""
    return Estimate(None, *bounds, 0, confidence, method)


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> Estimate:
    """k of n, with the exact interval: it covers the true rate at least as often as it says."""
    from scipy.special import betaincinv

    _counts(k, n, confidence)
    if n == 0:
        return nothing("Clopper-Pearson", confidence)
    tail = (1 - confidence) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k > 0 else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return Estimate(k / n, low, high, n, confidence, "Clopper-Pearson")


def upper_bound(k: int, n: int, confidence: float = 0.95) -> float:
    """The exact one-sided bound: k of n seen, so the true rate is at most this, with confidence. 1.0 where n = 0."""
    from scipy.special import betaincinv

    _counts(k, n, confidence)
    return 1.0 if k == n else float(betaincinv(k + 1, n - k, confidence))


def parts_to_show(max_rate: float, confidence: float = 0.95) -> int:
    """How many parts, with no failure among them, show that the true rate is at most max_rate: 299 for 1 % at 95 %."""
    if not (0 < max_rate < 1 and 0 < confidence < 1):
        raise ValueError(f"a rate and a confidence lie between 0 and 1, got {max_rate} and {confidence}")
    n = max(1, math.ceil(math.log1p(-confidence) / math.log1p(-max_rate)) - 1)  # one less: the logs are rounded
    while 1 - confidence < (1 - max_rate) ** n:
        n += 1
    return n


def mean_of_rates(hits: Sequence[int], totals: Sequence[int], confidence: float = 0.95) -> Estimate:
    """The plain mean of several rates (macro recall): one per class that has pictures, all weighing the same.

    An interval from the exact limits of each (MOVER; with Wilson's it covered 91.5 % where rates are near 1, not 95).
    Unlike a bootstrap it does not shrink to nothing where all is right.
    """
    rates = [clopper_pearson(int(k), int(n), confidence) for k, n in zip(hits, totals, strict=True) if n > 0]
    if not rates:
        return nothing("MOVER on Clopper-Pearson", confidence)
    values = [r.value or 0.0 for r in rates]
    mean, count = math.fsum(values) / len(rates), len(rates)
    down = math.sqrt(math.fsum((v - r.low) ** 2 for v, r in zip(values, rates, strict=True))) / count
    up = math.sqrt(math.fsum((r.high - v) ** 2 for v, r in zip(values, rates, strict=True))) / count
    total = sum(r.n for r in rates)
    return Estimate(mean, max(0.0, mean - down), min(1.0, mean + up), total, confidence, "MOVER on Clopper-Pearson")


# statistic(counts, *arrays) -> (R,): counts is (R, n), how often each of the n rows is in each of the R resamples
Statistic = Callable[..., np.ndarray]


def bootstrap(
    statistic: Statistic,
    arrays: Sequence[np.ndarray],
    *,
    rng: np.random.Generator,
    repeats: int = 2000,
    confidence: float = 0.95,
    groups: np.ndarray | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    how: Literal["BCa", "percentile"] = "BCa",
) -> Estimate:
    """statistic with its bootstrap interval; groups (n,), any labels: rows of one group are drawn together or not.

    bounds are the least and greatest value that the statistic can have. Where no resample differs (all right, nothing
    wrong) a bootstrap has seen no spread; the interval then is the rule of three's, on the number of groups or rows.
    """
    n = len(arrays[0])
    if n == 0:
        return nothing("bootstrap", confidence, bounds)
    unit = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1].reshape(-1)
    units = int(unit.max()) + 1
    word = f"{repeats} repeats" if groups is None else f"{repeats} repeats of {units} groups"

    def run(rows: Callable[[int, int], np.ndarray], count: int) -> np.ndarray:
        step = max(1, CHUNK_NUMBERS // max(n, units))
        cuts = [(at, min(at + step, count)) for at in range(0, count, step)]
        return np.concatenate([statistic(rows(*cut)[:, unit], *arrays) for cut in cuts]).astype(np.float64)

    def draw(start: int, stop: int) -> np.ndarray:
        count = stop - start
        picks = rng.integers(units, size=(count, units)) + units * np.arange(count)[:, None]
        return np.bincount(picks.reshape(-1), minlength=count * units).reshape(count, units).astype(np.float64)

    blocks = min(units, JACKKNIFE_BLOCKS)

    def leave_out(start: int, stop: int) -> np.ndarray:
        return (np.arange(units) % blocks != np.arange(start, stop)[:, None]).astype(np.float64)

    value = float(statistic(np.ones((1, n)), *arrays)[0])
    draws = run(draw, repeats)
    draws = draws[np.isfinite(draws)]
    tail = (1 - confidence) / 2
    if len(draws) == 0 or np.ptp(draws) <= 1e-12 * (1 + abs(value)):
        reach = (bounds[1] - bounds[0]) * (1 - tail ** (1 / units))
        low, high, method = value - reach, value + reach, f"bootstrap saw no spread; rule of three on {units}"
    else:
        levels = _bca_levels(value, draws, run(leave_out, blocks), tail) if how == "BCa" else None
        method = f"percentile bootstrap, {word}" if levels is None else f"BCa bootstrap, {word}"
        low, high = (float(q) for q in np.quantile(draws, levels or (tail, 1 - tail)))
    return Estimate(value, max(bounds[0], min(low, value)), min(bounds[1], max(high, value)), n, confidence, method)


def widest(first: Estimate, second: Estimate) -> Estimate:
    """first, its interval stretched to hold the second's: true if either way of counting is the right one."""
    if second.low >= first.low and second.high <= first.high:
        return first
    method = f"{first.method}, widened by {second.method}"
    return replace(first, low=min(first.low, second.low), high=max(first.high, second.high), method=method)


def proportion(
    hits: np.ndarray, *, rng: np.random.Generator, groups: np.ndarray | None = None, confidence: float = 0.95
) -> Estimate:
    """The rate of True in hits (n,): exact where parts are independent, widened by whole groups if there are any."""
    exact = clopper_pearson(int(np.count_nonzero(hits)), len(hits), confidence)
    if groups is None or len(hits) == 0 or len(np.unique(groups)) == len(hits):
        return exact
    return widest(
        exact, bootstrap(mean, (np.asarray(hits, np.float64),), rng=rng, groups=groups, confidence=confidence)
    )


def mean(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The bootstrap statistic "mean": (R, n), (n,) -> (R,)."""
    return (counts @ values) / counts.sum(axis=1)


def _bca_levels(value: float, draws: np.ndarray, jackknife: np.ndarray, tail: float) -> tuple[float, float] | None:
    """The two quantile levels of Efron 1987, eq. 3.9; None where they are not defined."""
    from scipy.special import ndtr, ndtri

    below = (np.count_nonzero(draws < value) + 0.5 * np.count_nonzero(draws == value)) / len(draws)
    jackknife = jackknife[np.isfinite(jackknife)]
    away = jackknife.mean() - jackknife if len(jackknife) else np.zeros(1)
    spread = float((away**2).sum()) ** 1.5
    if not 0 < below < 1 or spread == 0:
        return None
    shift, acceleration = float(ndtri(below)), float((away**3).sum()) / (6 * spread)
    levels = []
    for z in (float(ndtri(tail)), float(ndtri(1 - tail))):
        stretch = 1 - acceleration * (shift + z)
        if stretch <= 0:
            return None
        levels.append(float(ndtr(shift + (shift + z) / stretch)))
    return levels[0], levels[1]


def _counts(k: int, n: int, confidence: float) -> None:
    if not (0 <= k <= n and 0 < confidence < 1):
        raise ValueError(f"expected 0 <= k <= n and a confidence between 0 and 1, got k = {k}, n = {n}, {confidence}")
