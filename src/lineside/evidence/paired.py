"""Two models on the same pictures: are they equally good, or may the faster one replace the other.

Only pictures on which they differ say anything: b where the reference is right and the candidate wrong, c the reverse.

mcnemar       McNemar 1947, Psychometrika 12:153, exact: b of b + c is a fair coin if they are equally good. A large p
              is NOT evidence that they are equal; that is what noninferior is for.
noninferior   The candidate may lose at most `margin` of accuracy. H0: it loses the margin or more. The statistic is
              Tango's score (1998, Statistics in Medicine 17:891, eq. 4); its p-value is exact and unconditional: the
              largest over the unknown rate of c (Hsueh, Liu & Chen 2001, Biometrics 57:478; Sidik 2003, Statistics in
              Medicine 22:265). So it holds for any n: a candidate that really loses the margin passes with
              probability 1 - confidence at most. It is somewhat conservative. Not shown means no. Where pictures
              come in lots the counts are scaled down to as many independent ones as they are worth (lots.py).
difference    (c - b) / n, what the candidate gains, with the interval of all gains that neither of the two one-sided
              tests rules out, each with half of 1 - confidence. The same exact test, so it covers as often as it says.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lineside.evidence.intervals import Estimate, nothing, parts_to_show

EXACT_TO = 20_000  # pictures; beyond this the normal distribution of the score is used, and the method says so
NUISANCE_POINTS = 64
MOST_PICTURES = 10_000_000  # nobody takes more to compare two engines


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate may replace the reference, and the numbers behind it."""

    shown: bool  # the loss is below the margin, with the confidence
    loss: float  # (b - c) / n: accuracy of the reference minus accuracy of the candidate
    upper: float  # the loss is at most this, one-sided, with the confidence
    b: int
    c: int
    n: int
    margin: float
    confidence: float
    p_value: float
    pictures_needed: int | None  # about this many would show it at the rates that were seen; None: none would
    method: str
    n_effective: int | None = None  # as many independent pictures as the n are worth; None: all n are independent

    def sentence(self) -> str:
        """The verdict for a person."""
        seen = f"{self.b} of {self.n} pictures lost, {self.c} won"
        if self.n_effective is not None:
            seen += f" (in lots or near duplicates, so worth {self.n_effective} independent ones)"
        bound = f"loss at most {100 * self.upper:.3g} % at {100 * self.confidence:g} % confidence"
        if self.shown:
            return f"not inferior: {seen}; {bound}, below the margin of {100 * self.margin:g} %"
        if self.pictures_needed is None:
            more = "no number of pictures would show it at these rates"
        else:
            more = f"about {self.pictures_needed:,} pictures would show it at these rates"
        return f"not shown to be as good: {seen}; {bound}, the margin is {100 * self.margin:g} %; {more}"


def mcnemar(b: int, c: int) -> float:
    """The two-sided exact p-value that the two models are equally good; 1.0 where they never differ."""
    from scipy.special import bdtr

    if min(b, c) < 0:
        raise ValueError(f"counts can not be negative, got b = {b}, c = {c}")
    return min(1.0, 2 * float(bdtr(min(b, c), b + c, 0.5))) if b + c else 1.0


def difference(b: int, c: int, n: int, confidence: float = 0.95) -> Estimate:
    """Accuracy of the candidate minus accuracy of the reference, between -1 and 1, with its two-sided interval."""
    if not (min(b, c) >= 0 and b + c <= n and 0 < confidence < 1):
        raise ValueError(f"expected counts with b + c <= n, and a confidence, got b = {b}, c = {c}, n = {n}")
    method = "exact unconditional, ordered by Tango's score" if n <= EXACT_TO else "Tango's score, normal"
    if n == 0:
        return nothing(method, confidence, (-1.0, 1.0))
    tail = (1 - confidence) / 2
    return Estimate((c - b) / n, -_most_lost(b, c, n, tail), _most_lost(c, b, n, tail), n, confidence, method)


def noninferior_in(
    gain: np.ndarray, margin: float, confidence: float = 0.95, effective: float | None = None
) -> Verdict:
    """noninferior of the pictures themselves; gain (n,): -1 the candidate loses it, 0 no difference, 1 it wins it."""
    lost, won = int((gain < 0).sum()), int((gain > 0).sum())
    return noninferior(lost, won, len(gain), margin, confidence, effective)


def noninferior(
    b: int, c: int, n: int, margin: float, confidence: float = 0.95, effective: float | None = None
) -> Verdict:
    """Whether the candidate loses less than margin (0.005 is half a percent of all n pictures), with the confidence.

    effective: as many independent pictures as the n are worth, where they come in lots (lots.py); None: n.
    """
    if not (min(b, c) >= 0 and b + c <= n and 0 < margin < 1 and 0 < confidence < 1):
        raise ValueError(
            f"expected counts with b + c <= n, and a margin and a confidence between 0 and 1, "
            f"got b = {b}, c = {c}, n = {n}, margin = {margin}, confidence = {confidence}"
        )
    if n == 0:
        needed = parts_to_show(margin, confidence)
        return Verdict(False, 0.0, 1.0, 0, 0, 0, margin, confidence, 1.0, needed, "no pictures")
    worth_n = n if effective is None else max(1, min(n, math.floor(effective)))
    lost = min(worth_n, math.ceil(b * worth_n / n))  # rounded to the reference's favour
    won = min(math.floor(c * worth_n / n), worth_n - lost)
    p = p_value(lost, won, worth_n, margin)
    shown = p <= 1 - confidence
    seen = max(0.0, (lost - won) / worth_n)
    upper = _bound(lambda loss: p_value(lost, won, worth_n, loss), seen, margin, shown, 1 - confidence)
    needed = None if shown else _needed(b / n, c / n, worth_n, margin, confidence)
    return Verdict(
        shown=shown,
        loss=(b - c) / n,
        upper=upper,
        b=b,
        c=c,
        n=n,
        margin=margin,
        confidence=confidence,
        p_value=p,
        pictures_needed=None if needed is None else math.ceil(needed * n / worth_n),
        method="exact unconditional, ordered by Tango's score" if worth_n <= EXACT_TO else "Tango's score, normal",
        n_effective=None if worth_n == n else worth_n,
    )


def score(b: np.ndarray, c: np.ndarray, n: float, loss: float) -> np.ndarray:
    """Tango's score, (b - c - n loss) over its standard error if `loss` is the truth; very negative: less is lost.

    The standard error is 0 at a loss of 1 (and of 0, where b = c = 0): the score is then its limit from inside. With
    b = n it is sqrt(n (1 - loss) / (1 + loss)), so 0; with b = c = 0 it is -sqrt(n loss / (1 - loss)), so 0; any other
    b and c can not be at a loss of 1, and are infinitely below.
    """
    rate = _c_rate(np.asarray(b, np.float64), np.asarray(c, np.float64), n, loss)
    excess, error = b - c - n * loss, np.sqrt(n * (2 * rate + loss * (1 - loss)))
    return np.divide(excess, error, out=np.where(excess < 0, -np.inf, 0.0), where=error > 0)


def _c_rate(b: np.ndarray, c: np.ndarray, n: float, loss: float) -> np.ndarray:
    """The likeliest rate of c where the rate of b is larger by loss: the root of 2 n x^2 + B x + C (Tango, eq. 4)."""
    linear = -(b + c) - loss * (b - c - 2 * n)
    constant = -c * loss * (1 - loss)
    return (np.sqrt(np.maximum(linear**2 - 8 * n * constant, 0.0)) - linear) / (4 * n)


def p_value(b: int, c: int, n: int, loss: float) -> float:
    """The chance of a score as low as the one seen, or lower, for a candidate that really loses `loss` (n > 0).

    loss lies between -1 and 1; below 0 the candidate really gains.
    """
    from scipy.special import ndtr

    if n <= EXACT_TO:
        return _exact(b, c, n, loss)
    return float(ndtr(score(np.array(b), np.array(c), n, loss)))


def _exact(b: int, c: int, n: int, loss: float) -> float:
    """The largest probability, over the rate of c, of a score as low as the one seen where the true loss is `loss`.

    Given m = b + c the score grows with b, so its low region is b <= limit(m), and its probability is a sum over m of
    binomials: the cost is n, not n^2.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import bdtr, gammaln, xlogy

    seen = float(score(np.array(b), np.array(c), n, loss)) + 1e-9
    differ = np.arange(n + 1)
    limit = _limit(differ, n, loss, seen)

    ways = gammaln(n + 1) - gammaln(differ + 1) - gammaln(n - differ + 1)

    def probability(rate: float) -> float:
        any_rate = min(max(2 * rate + loss, 1e-300), 1.0)  # above 0, so that one can divide by it
        weight = np.exp(ways + xlogy(differ, any_rate) + xlogy(n - differ, 1 - any_rate))
        share = min(max((rate + loss) / any_rate, 0.0), 1.0)  # of b among the pictures that differ
        some = (weight > 1e-16) & (limit >= 0)  # the rest adds less than 1e-11 for the largest n
        return float((weight[some] * bdtr(limit[some], differ[some], share)).sum())

    least, most = max(0.0, -loss), (1 - loss) / 2
    grid = least + (most - least) * np.linspace(0, 1, NUISANCE_POINTS) ** 3  # dense where two good models live
    found = [probability(rate) for rate in grid.tolist()]
    best = int(np.argmax(found))
    around = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    finer = minimize_scalar(lambda rate: -probability(rate), bounds=around, method="bounded", options={"maxiter": 20})
    return min(1.0, max(found[best], -float(finer.fun)))


def _limit(differ: np.ndarray, n: int, loss: float, seen: float) -> np.ndarray:
    """For every m the largest b with a score <= seen, by bisection; -1 where there is none."""
    low, high = np.full_like(differ, -1), differ.copy()
    while (low < high).any():
        middle = (low + high + 1) // 2
        tried = np.maximum(middle, 0)  # where nothing is left to halve, middle is -1
        below = score(tried, differ - tried, n, loss) <= seen
        low, high = np.where(below, middle, low), np.where(below, high, middle - 1)
    return low


def _bound(chance: Callable[[float], float], loss: float, margin: float, shown: bool, level: float) -> float:
    """The smallest loss that is ruled out, on the side of the margin that the verdict says."""
    low, high = (loss, margin) if shown else (max(loss, margin), 1.0)
    for _ in range(14):
        middle = (low + high) / 2 if high - low < 0.1 or low == 0 else math.sqrt(low * high)
        low, high = (low, middle) if chance(middle) <= level else (middle, high)
        if high - low < 1e-4:
            break
    return high


def _most_lost(b: int, c: int, n: int, level: float) -> float:
    """The smallest loss, to 1e-4, that is ruled out at this level."""
    low, high = (b - c) / n, 1.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if p_value(b, c, n, middle) <= level else (middle, high)
    return high


def _needed(b_rate: float, c_rate: float, n: int, margin: float, confidence: float) -> int | None:
    """So many pictures would show it: near by the normal distribution, then upwards by the test itself."""
    from scipy.special import ndtri

    if b_rate - c_rate > margin - 1 / MOST_PICTURES:
        return None
    wanted, least = -float(ndtri(confidence)), max(n + 1, parts_to_show(margin, confidence))
    size = least
    while float(score(np.array(b_rate * size), np.array(c_rate * size), size, margin)) > wanted:
        size = math.ceil(size * 1.02)
        if size > MOST_PICTURES:
            return None
    size = max(least, math.floor(size / 1.02))
    while p_value(round(b_rate * size), round(c_rate * size), size, margin) > 1 - confidence:
        size += max(1, size // 200)
    return size
