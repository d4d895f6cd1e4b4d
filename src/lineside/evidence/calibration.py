"""Is a score of 0.9 right nine times in ten: temperature scaling, reliability bins, ECE, Brier score, NLL.

Temperature     Guo et al. 2017, arXiv:1706.04599: divide all logits by the one number T > 0 with the least NLL on
                calibrate. It never changes which class is first. NLL is convex in 1/T, so its derivative has one root.
Pseudo-counts   Platt 1999, "Probabilistic outputs for support vector machines", section 2.2: the true class is given
                (n + 1) / (n + 2) instead of 1, the rest shared by the others. Where every calibrate picture is right,
                plain NLL would drive T to 0 and every score to 1; n pictures can't show that.
ECE             Naeini et al. 2015 (AAAI), in bins of equal mass (Nguyen & O'Connor 2015): the mean over bins of
                |accuracy - mean score|, weighted by the bin's pictures. Binned ECE is never below 0, so it is
                biased upward; its interval says so (`ece`).

logits are (N, K), labels (N,) indices; confidence of a prediction is its highest score.
"""

import math
from dataclasses import dataclass

import numpy as np

from lineside.evidence.intervals import Estimate, bootstrap, clopper_pearson, nothing

MOST_NATS = 300.0  # a true class with a score below exp(-300) counts as this
COLDEST, HOTTEST = 0.05, 20.0  # T outside of this says that something else is wrong; the bound is returned


@dataclass(frozen=True)
class Bin:
    """Predictions whose score is in [low, high): how sure they were on average and how often they were right."""

    low: float
    high: float
    score: float
    accuracy: Estimate


def softmax(logits: np.ndarray) -> np.ndarray:
    """(N, K) logits -> (N, K) float64 probabilities."""
    z = np.asarray(logits, np.float64)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def lead(logits: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(n,): the highest logit of the own classes less the highest of the others; own (K,) or (n, K) bool."""
    return np.where(own, logits, -np.inf).max(1) - np.where(own, -np.inf, logits).max(1)


def temperature(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The T in [0.05, 20] by which logits are divided, from calibrate's (N, K); 1.0 where N = 0.

    weights: (K,) factors of the classes' NLL; None: every picture counts alike. ValueError where a logit is not finite.
    """
    from scipy.optimize import brentq

    z, y = np.asarray(logits, np.float64), np.asarray(labels)
    if len(z) == 0:
        return 1.0
    if not np.isfinite(z).all():
        raise ValueError(
            f"{int((~np.isfinite(z)).any(axis=1).sum())} of {len(z)} pictures have a logit that is not finite"
        )
    n, classes = z.shape
    miss = 1 / (n + 2)
    target = np.full_like(z, miss / (classes - 1) if classes > 1 else 0.0)
    target[np.arange(n), y] = 1 - miss
    factor = (np.ones(n) if weights is None else np.asarray(weights, np.float64)[y])[:, None] / n
    wanted = float((factor * target * z).sum())  # what the mean logit under the scores must become

    def slope(inverse: float) -> float:  # dNLL / d(1/T): grows with 1/T
        return float((factor * softmax(z * inverse) * z).sum()) - wanted

    if slope(1 / HOTTEST) >= 0:
        return HOTTEST
    if slope(1 / COLDEST) <= 0:
        return COLDEST
    inverse: float = brentq(slope, 1 / HOTTEST, 1 / COLDEST, xtol=1e-12)  # pyright: ignore[reportAssignmentType]
    return 1 / inverse


def nll(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N, K) scores -> (N,) surprise at each picture's true class, in nats, at most MOST_NATS."""
    true = np.asarray(probabilities, np.float64)[np.arange(len(labels)), labels]
    return -np.log(np.maximum(true, math.exp(-MOST_NATS)))


def brier(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Brier 1950: (N, K) scores -> (N,) squared distance from truth, summed over classes; 0 to 2."""
    p = np.asarray(probabilities, np.float64).copy()
    p[np.arange(len(labels)), labels] -= 1
    return (p**2).sum(axis=1)


def calibrated_nll(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """What the scores are worth at their best temperature: mean NLL, nats, times weights (K,) of the classes.

    What chooses between nets on calibrate. A net that is right more often but too sure of itself is the better net: its
    temperature mends the one and not the other. Infinite where a logit is not finite.
    """
    if not np.isfinite(logits).all():
        return math.inf
    z = np.asarray(logits, np.float64)
    return float((nll(softmax(z / temperature(z, labels, weights)), labels) * weights[labels]).mean())


def reliability(score: np.ndarray, hit: np.ndarray, *, bins: int = 15, equal: str = "mass") -> tuple[Bin, ...]:
    """score (N,) of the first class and hit (N,) whether it was right -> bins of equal "mass" (pictures) or "width".

    Empty bins are left out. Equal scores are never torn apart, so bins of equal mass can hold unequal numbers.
    """
    score, hit = np.asarray(score, np.float64), np.asarray(hit, bool)
    edges = _edges(score, bins, equal)
    place = _place(score, edges)
    found = []
    for b in range(len(edges) - 1):
        inside = place == b
        if n := int(inside.sum()):
            accuracy = clopper_pearson(int(hit[inside].sum()), n)
            found.append(Bin(float(edges[b]), float(edges[b + 1]), float(score[inside].mean()), accuracy))
    return tuple(found)


def ece(
    score: np.ndarray,
    hit: np.ndarray,
    *,
    rng: np.random.Generator,
    bins: int = 15,
    repeats: int = 1000,
    confidence: float = 0.95,
    groups: np.ndarray | None = None,
) -> Estimate:
    """Expected calibration error with bins of equal mass; score (N,), hit (N,).

    Resampling adds the upward bias a second time. So the upper end is the plain percentile (too high rather than too
    low) and the lower end is reflected, 2 x value - upper quantile, which takes the bias away. The lower end is 0 where
    a perfectly calibrated model would get such an ECE by chance (consistency resampling, Bröcker & Smith 2007, Weather
    and Forecasting 22:651).
    """
    score, hit = np.asarray(score, np.float64), np.asarray(hit, np.float64)
    if len(score) == 0:
        return nothing("ECE", confidence)
    edges = _edges(score, bins, "mass")
    member = np.eye(len(edges) - 1)[_place(score, edges)]  # (N, bins)

    def statistic(counts: np.ndarray, gap: np.ndarray) -> np.ndarray:
        return np.abs(counts @ gap).sum(axis=1) / counts.sum(axis=1)

    gap = member * (score - hit)[:, None]
    around = bootstrap(
        statistic, (gap,), rng=rng, repeats=repeats, confidence=confidence, groups=groups, how="percentile"
    )
    value = float(np.abs(gap.sum(axis=0)).sum() / len(score))
    low = max(0.0, min(value, 2 * value - around.high))
    if value <= _by_chance(score, member, repeats, (1 + confidence) / 2, rng):
        low = 0.0
    return Estimate(
        value, low, around.high, len(score), confidence, f"{len(edges) - 1} bins of equal mass, {around.method}"
    )


def _by_chance(score: np.ndarray, member: np.ndarray, repeats: int, level: float, rng: np.random.Generator) -> float:
    """The quantile of the ECE that true scores have at this n; member (N, bins)."""
    step, found = max(1, 4_000_000 // len(score)), []
    for at in range(0, repeats, step):
        hits = rng.random((min(step, repeats - at), len(score))) < score
        found.append(np.abs((score - hits) @ member).sum(axis=1) / len(score))
    return float(np.quantile(np.concatenate(found), level))


def _edges(score: np.ndarray, bins: int, equal: str) -> np.ndarray:
    if equal == "width" or len(score) == 0:
        return np.linspace(0.0, 1.0, bins + 1)
    if equal != "mass":
        raise ValueError(f'equal: expected "mass" or "width", got {equal!r}')
    inner = np.quantile(score, np.linspace(0, 1, min(bins, len(score)) + 1)[1:-1])
    return np.unique(np.concatenate([[0.0], inner, [1.0]]))


def _place(score: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin of every score: [low, high), the last one closed."""
    return np.clip(np.searchsorted(edges, score, side="right") - 1, 0, len(edges) - 2)
