"""From a promise to thresholds: "at most 1 % of the bad parts escape, with 95 % confidence" -> accept / hold / reject.

escape    a bad part is accepted     (rate among bad parts)
overkill  a good part is rejected    (rate among good parts)
hold      a part is sent to a person (rate among all parts)

Every part has one number, its margin: the log-odds that it may pass (tasks/classify/decode.py). A part is accepted
where margin >= accept_at, rejected where margin < reject_below, held between; a margin that is not finite is rejected.

accept_at is an order statistic of calibrate's bad parts (Wilks 1941, Annals of Mathematical Statistics 12:91, one-sided
tolerance limit): a threshold above the k-th largest of n bad margins lets at most the share e of all bad parts pass
with probability BetaCDF(e; k, n - k + 1), whatever the distribution of margins is. k is the largest rank for which
that is at least the confidence. k depends on n only, never on the margins, so there is no choosing after looking. The
threshold itself stands in a gap between margins above that part: moving up only makes the promise stricter, and a
rounding of 1e-6 between engines then flips no decision. docs/operating-point.md has the mathematics and what it
assumes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lineside.errors import SettingsError
from lineside.evidence.intervals import Estimate, parts_to_show, proportion, upper_bound
from lineside.evidence.lots import worth

ACCEPT, HOLD, REJECT = "accept", "hold", "reject"  # the verdicts, in this spelling everywhere
SEARCH = 0.01  # log-odds: the threshold goes into the widest gap that begins within this of the part that sets it
MAX_ESCAPE, CONFIDENCE, MAX_OVERKILL = 0.01, 0.95, 0.01  # where nobody says another promise
FEW_LOTS = 29  # so many hold, 95 times in 100, one with what a tenth of all lots have: 0.9^29 < 0.05
LEAST_ACCEPT_AT = 0.0  # never accept a part of which the net itself says that it is more likely bad than good


@dataclass(frozen=True)
class OperatingPoint:
    """Thresholds on the margin and what is known about them; all numbers finite, so that JSON holds them."""

    max_escape: float  # the promise: at most this share of bad parts accepted ...
    confidence: float  # ... with this confidence
    max_overkill: float  # the wish: at most this share of good parts rejected, at the same confidence
    accept_at: float  # accept where margin >= accept_at
    reject_below: float  # reject where margin < reject_below; never above accept_at
    shown: bool  # the promise holds by the exact bound
    n_bad: int  # calibrate's bad parts
    n_good: int
    escapes: int  # calibrate's bad parts at or above accept_at
    escape_bound: float  # what is shown: with the confidence at most this share of bad parts escapes
    more_bad_needed: int  # so many more bad parts in calibrate would show the promise, wherever they stand; 0: shown
    overkill_shown: bool
    overkill_bound: float
    more_good_needed: int
    hold_rate: Estimate  # of all parts of calibrate; two-sided 95 %, lots heeded, seen where the thresholds were chosen
    overkill: Estimate  # of the good parts of calibrate, likewise
    n_bad_effective: float  # n_bad, or what it is worth where bad parts come in lots (groups)
    n_good_effective: float
    bad_lots: int = 0  # how many lots the bad parts come in; 0: every part is a lot of its own

    def __post_init__(self):
        if not LEAST_ACCEPT_AT <= self.accept_at < math.inf:
            raise ValueError(
                f"accept_at: must be finite and at least {LEAST_ACCEPT_AT:g} (even odds), got {self.accept_at}"
            )
        if not -math.inf < self.reject_below <= self.accept_at:
            raise ValueError(f"reject_below: must be finite and at most accept_at, got {self.reject_below}")

    def sentence(self) -> str:
        """The promise and whether it was shown, for a person."""
        promise = f"escape ≤ {100 * self.max_escape:g} % at {100 * self.confidence:g} % confidence"
        parts = f"{self.n_bad:,} bad calibrate parts" + (f" in {self.bad_lots:,} lots" if self.bad_lots else "")
        if self.shown:
            few = "; few to tell how lots differ" if 0 < self.bad_lots < FEW_LOTS else ""
            return f"{promise}: shown ({self.escapes} of {parts} above the threshold{few})"
        return (
            f"{promise}: NOT shown; {parts} show escape ≤ {100 * self.escape_bound:.2g} %; "
            f"{self.more_bad_needed:,} more would show it "
            f"({5 * self.more_bad_needed:,} more bad pictures in all, where a fifth of them is calibrate's)"
        )


def choose(
    margins: np.ndarray,
    is_good: np.ndarray,
    *,
    max_escape: float,
    confidence: float = 0.95,
    max_overkill: float = MAX_OVERKILL,
    groups: Sequence[str | None] | np.ndarray | None = None,
) -> OperatingPoint:
    """Thresholds from calibrate: margins (N,) log-odds, is_good (N,) bool, groups (N,) the lot of each part.

    A part whose group is None stands alone. With groups the number of parts is lowered to its effective number (Kish's
    design effect) before ranks are taken: parts of one lot are not independent witnesses. SettingsError where a
    promise is no rate.
    """
    check_promise(max_escape, confidence, max_overkill)
    margins, is_good = np.asarray(margins, np.float64), np.asarray(is_good, bool)
    usable, lots = np.isfinite(margins), None if groups is None else numbered(groups)
    everyone, good, bad = margins[usable], margins[usable & is_good], margins[usable & ~is_good]
    n_bad, n_good = int(np.count_nonzero(~is_good)), int(np.count_nonzero(is_good))
    bad_effective = effective(margins, ~is_good, lots)
    good_effective = effective(margins, is_good, lots)

    accepted_bad = rank(int(bad_effective), max_escape, confidence)  # k of the docstring; 0 where nothing can be shown
    accept_at = -np.inf
    if len(bad):
        # an unusable bad part is never accepted: it stands below all others and takes no rank from above
        accept_at = _above(np.sort(bad)[-min(max(accepted_bad, 1), len(bad))], everyone)
    if accept_at < LEAST_ACCEPT_AT:
        accept_at = _above(LEAST_ACCEPT_AT, everyone)

    rejected_good = rank(int(good_effective), max_overkill, confidence)
    unusable_good = n_good - len(good)  # rejected whatever the threshold is: they use up the lowest ranks
    reject_below = accept_at
    if len(good):
        place = min(max(rejected_good - unusable_good, 1), len(good))
        reject_below = min(accept_at, -_above(-np.sort(good)[place - 1], -everyone))

    if not np.any((everyone >= reject_below) & (everyone < accept_at)):
        reject_below = accept_at  # both stand in one gap: a hold zone would hold nothing that was ever seen
    verdict = _verdicts(margins, accept_at, reject_below)

    def rate(said: str, among: np.ndarray) -> Estimate:
        tied = None if lots is None else lots[among]
        return proportion(verdict[among] == said, rng=np.random.default_rng(0), groups=tied)

    overkill_rank = max(rejected_good, 1) if unusable_good < max(rejected_good, 1) else unusable_good + 1
    return OperatingPoint(
        max_escape=max_escape,
        confidence=confidence,
        max_overkill=max_overkill,
        accept_at=float(accept_at),
        reject_below=float(reject_below),
        shown=accepted_bad > 0,
        n_bad=n_bad,
        n_good=n_good,
        escapes=int(np.count_nonzero(bad >= accept_at)),
        escape_bound=_bound(max(accepted_bad, 1), int(bad_effective), confidence),
        more_bad_needed=_more(accepted_bad > 0, n_bad, bad_effective, max_escape, confidence),
        overkill_shown=rejected_good > 0 and unusable_good < rejected_good,
        overkill_bound=_bound(overkill_rank, int(good_effective), confidence),
        more_good_needed=_more(rejected_good > 0, n_good, good_effective, max_overkill, confidence),
        hold_rate=rate(HOLD, np.ones(len(margins), bool)),
        overkill=rate(REJECT, is_good),
        n_bad_effective=bad_effective,
        n_good_effective=good_effective,
        bad_lots=_lots(lots, ~is_good),
    )


def check_promise(max_escape: float, confidence: float, max_overkill: float = MAX_OVERKILL) -> None:
    """SettingsError where one of them is no rate."""
    for name, value in (("max escape", max_escape), ("confidence", confidence), ("max overkill", max_overkill)):
        if not 0 < value < 1:
            raise SettingsError(f"{name}: expected a number between 0 and 1, both excluded (0.01 is 1 %), got {value}")


def zones(margins: np.ndarray, point: OperatingPoint) -> np.ndarray:
    """The verdict of every margin (N,): "accept", "hold" or "reject"; not finite -> reject. The same rule as `zone`."""
    return _verdicts(np.asarray(margins, np.float64), point.accept_at, point.reject_below)


def zone(margin: float, accept_at: float, reject_below: float) -> str:
    """The verdict of one margin: what the line asks for every part."""
    if accept_at <= margin < float("inf"):
        return ACCEPT
    return HOLD if reject_below <= margin < accept_at else REJECT


def _verdicts(margins: np.ndarray, accept_at: float, reject_below: float) -> np.ndarray:
    finite = np.isfinite(margins)
    verdicts = np.where(finite & (margins >= reject_below), HOLD, REJECT)
    verdicts[finite & (margins >= accept_at)] = ACCEPT
    return verdicts


def numbered(groups: Sequence[str | None] | np.ndarray) -> np.ndarray:
    """Names of groups -> (N,) int64, the same number for the same name; every None gets a number of its own."""
    first: dict[object, int] = {}
    return np.array([i if g is None else first.setdefault(g, i) for i, g in enumerate(groups)], np.int64)


def rank(n: int, max_rate: float, confidence: float) -> int:
    """The largest k with BetaCDF(max_rate; k, n - k + 1) >= confidence: k - 1 of n may fail. 0 where no k has it."""
    from scipy.special import betainc

    low, high = 0, n  # the probability falls as k grows: bisection
    while low < high:
        k = (low + high + 1) // 2
        low, high = (k, high) if betainc(k, n - k + 1, max_rate) >= confidence else (low, k - 1)
    return low


def _bound(k: int, n: int, confidence: float) -> float:
    """The share that a threshold above the k-th of n lets through, at most, with the confidence."""
    return upper_bound(min(k - 1, n), n, confidence)


def _more(shown: bool, n: int, worth_n: float, max_rate: float, confidence: float) -> int:
    """How many more parts, of the kind that was seen, until k = 1 shows it."""
    if shown:
        return 0
    each = worth_n / n if n else 1.0  # of one part, as an independent witness
    return int(np.ceil((parts_to_show(max_rate, confidence) - worth_n) / each))


def _above(margin: float, everyone: np.ndarray) -> float:
    """The middle of the widest gap between margins that begins at `margin` or within SEARCH above it.

    Above everyone there is no gap to stand in: SEARCH above the highest.
    """
    from_here = np.unique(np.append(everyone[everyone >= margin], margin))
    starts = from_here[from_here <= margin + SEARCH]
    if len(starts) == len(from_here):  # the window holds the highest margin of all; above it everything is free
        return float(from_here[-1] + SEARCH)
    widths = from_here[1 : len(starts) + 1] - starts
    at = int(np.argmax(widths))
    middle = starts[at] + widths[at] / 2
    return float(middle if middle > starts[at] else np.nextafter(starts[at], np.inf))


def _lots(lots: np.ndarray | None, of_kind: np.ndarray) -> int:
    """How many lots those of_kind (N,) bool come in; 0 where no two of them share one."""
    number = 0 if lots is None else len(np.unique(lots[of_kind]))
    return number if number < np.count_nonzero(of_kind) else 0


def effective(margins: np.ndarray, of_kind: np.ndarray, groups: np.ndarray | None) -> float:
    """How many independent parts those of_kind (N,) bool are worth, by the ranks of their margins (N,)."""
    n = int(np.count_nonzero(of_kind))
    if groups is None or n == 0:
        return float(n)
    values = np.where(np.isfinite(margins[of_kind]), margins[of_kind], np.nan)
    lowest = np.nanmin(values) if np.isfinite(values).any() else 0.0
    ranks = np.argsort(np.argsort(np.nan_to_num(values, nan=lowest), kind="stable"), kind="stable").astype(np.float64)
    return worth(ranks, groups[of_kind])


def effective_by_kind(margins: np.ndarray, kinds: np.ndarray, groups: np.ndarray) -> float:
    """The same of parts of several kinds (N,), each kind ranked by itself."""
    return sum(effective(margins, kinds == kind, groups) for kind in np.unique(kinds))
