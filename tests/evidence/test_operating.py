"""The promise: thresholds from calibrate keep it as often as they say, on data that they have not seen."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.stats import beta, binomtest, norm

from lineside.errors import SettingsError
from lineside.evidence.intervals import clopper_pearson, parts_to_show, upper_bound
from lineside.evidence.operating import OperatingPoint, choose, numbered, rank, zone, zones
from lineside.settings import plain, read

any_margin = st.one_of(
    st.floats(-30, 30), st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 1.0 + 1e-9, -12.5, 5e-324])
)
parts = st.lists(st.tuples(any_margin, st.booleans()), max_size=60)


def columns(rows) -> tuple[np.ndarray, np.ndarray]:
    return np.array([r[0] for r in rows], float), np.array([r[1] for r in rows], bool)


@pytest.mark.parametrize("max_escape", [0.01, 0.05])
@pytest.mark.parametrize("spread", [0.8, 2.0])
def test_the_promise_is_kept(max_escape, spread):
    """2,000 calibrations: where it says shown, the true escape rate is above the promise in at most 5 % of them."""
    rng, broken, kept = np.random.default_rng(0), 0, 0
    n = parts_to_show(max_escape) + 40
    for _ in range(2000):
        bad, good = rng.normal(2, spread, n), rng.normal(4, 1, 60)
        point = choose(np.r_[bad, good], np.r_[np.zeros(n, bool), np.ones(60, bool)], max_escape=max_escape)
        assert point.shown
        escape = norm.sf(point.accept_at, 2, spread)
        broken += escape > max_escape
        kept += escape <= point.escape_bound
    assert binomtest(broken, 2000, 0.05, alternative="greater").pvalue > 0.001, broken / 2000
    assert binomtest(kept, 2000, 0.95, alternative="less").pvalue > 0.001, kept / 2000


def test_the_wish_for_overkill_is_kept():
    rng, broken = np.random.default_rng(1), 0
    for _ in range(1000):
        bad, good = rng.normal(2, 2, 20), rng.normal(5, 1.5, 350)
        point = choose(np.r_[bad, good], np.r_[np.zeros(20, bool), np.ones(350, bool)], max_escape=0.05)
        assert point.overkill_shown
        broken += norm.cdf(point.reject_below, 5, 1.5) > 0.01
    assert binomtest(broken, 1000, 0.05, alternative="greater").pvalue > 0.001, broken / 1000


def test_the_promise_is_kept_on_heavy_tails_and_on_few_values():
    """Distribution-free: Cauchy margins, and margins that take five values only."""
    rng, broken = np.random.default_rng(2), [0, 0]
    chances = np.array([0.5, 0.3, 0.17, 0.02, 0.01])
    for _ in range(1000):
        point = choose(rng.standard_cauchy(120), np.zeros(120, bool), max_escape=0.05)
        broken[0] += 0.5 - np.arctan(point.accept_at) / np.pi > 0.05
        point = choose(rng.choice(5, 120, p=chances).astype(float), np.zeros(120, bool), max_escape=0.05)
        broken[1] += chances[np.arange(5) >= point.accept_at].sum() > 0.05
    for count in broken:
        assert binomtest(count, 1000, 0.05, alternative="greater").pvalue > 0.001, broken


@given(st.integers(0, 3000), st.floats(0.001, 0.5), st.floats(0.5, 0.999))
def test_rank_is_the_largest_that_shows(n, max_rate, confidence):
    k = rank(n, max_rate, confidence)
    assert 0 <= k <= n
    if k:
        assert beta.cdf(max_rate, k, n - k + 1) >= confidence
        assert upper_bound(k - 1, n, confidence) <= max_rate + 1e-12
    if k < n:
        assert beta.cdf(max_rate, k + 1, n - k) < confidence
    assert (k > 0) == (n >= parts_to_show(max_rate, confidence))


def test_wilks_numbers():
    """Wilks 1941: 95 % of all with 95 % confidence needs 59 parts with none above, 93 with one, 124 with two."""
    for n, k in ((58, 0), (59, 1), (92, 1), (93, 2), (123, 2), (124, 3)):
        assert rank(n, 0.05, 0.95) == k


@given(parts, st.sampled_from([0.01, 0.05, 0.3]))
def test_the_threshold_lets_at_most_k_minus_one_bad_parts_through(rows, max_escape):
    margins, is_good = columns(rows)
    point = choose(margins, is_good, max_escape=max_escape)
    accepted = zones(margins, point) == "accept"
    assert point.escapes == (accepted & ~is_good).sum()
    assert point.escapes <= max(rank(point.n_bad, max_escape, 0.95) - 1, 0)
    assert point.escape_bound >= upper_bound(point.escapes, point.n_bad) - 1e-12
    assert point.shown == (point.more_bad_needed == 0) == (point.escape_bound <= max_escape)


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ({"accept_at": -1e-9, "reject_below": -1.0}, "accept_at: must be finite and at least 0"),
        ({"accept_at": np.inf}, "accept_at: must be finite"),
        ({"accept_at": np.nan}, "accept_at: must be finite"),
        ({"accept_at": 1.0, "reject_below": 1.1}, "reject_below: must be finite and at most accept_at"),
        ({"reject_below": -np.inf}, "reject_below: must be finite"),
        ({"reject_below": np.nan}, "reject_below: must be finite"),
    ],
)
def test_thresholds_that_choose_never_gives_are_refused(thresholds, message):
    point = choose(np.array([-1.0, 3.0]), np.array([False, True]), max_escape=0.5)
    with pytest.raises(ValueError, match=message):
        replace(point, **thresholds)


@given(parts)
def test_every_number_is_finite_and_survives_json(rows):
    point = choose(*columns(rows), max_escape=0.05)
    assert np.isfinite([point.accept_at, point.reject_below]).all()
    assert point.reject_below <= point.accept_at
    assert point.accept_at >= 0
    assert read(OperatingPoint, json.loads(json.dumps(plain(point), allow_nan=False)), "here") == point


@given(parts, any_margin)
def test_zones_are_the_scalar_rule(rows, extra):
    margins, is_good = columns(rows)
    point = choose(margins, is_good, max_escape=0.1)
    asked = np.append(margins, [extra, point.accept_at, point.reject_below, np.nextafter(point.accept_at, -np.inf)])
    one_by_one = [zone(float(m), point.accept_at, point.reject_below) for m in asked]
    assert zones(asked, point).tolist() == one_by_one
    for m, verdict in zip(asked, one_by_one, strict=True):
        if not np.isfinite(m):
            assert verdict == "reject"
    assert zone(point.accept_at, point.accept_at, point.reject_below) == "accept"


@given(parts, st.randoms())
def test_order_does_not_matter(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert choose(*columns(rows), max_escape=0.05) == choose(*columns(shuffled), max_escape=0.05)


@given(parts)
def test_rounding_between_engines_flips_no_calibrate_part(rows):
    """Margins that differ by a millionth get the same verdict, unless parts themselves stand closer than that."""
    margins, is_good = columns(rows)
    fine = np.unique(np.append(margins[np.isfinite(margins)], 0.0))
    assume(len(fine) < 2 or np.diff(fine).min() > 1e-4)
    point = choose(margins, is_good, max_escape=0.05)
    for move in (-1e-6, 1e-6):
        assert (zones(margins + move, point) == zones(margins, point)).all()


def test_an_easier_promise_never_moves_the_threshold_up():
    rng = np.random.default_rng(3)
    margins, is_good = (
        np.r_[rng.normal(0, 2, 700), rng.normal(4, 2, 300)],
        np.r_[np.zeros(700, bool), np.ones(300, bool)],
    )
    found = [choose(margins, is_good, max_escape=p).accept_at for p in (0.001, 0.005, 0.01, 0.02, 0.05, 0.2)]
    assert found == sorted(found, reverse=True)
    surer = [choose(margins, is_good, max_escape=0.02, confidence=c).accept_at for c in (0.8, 0.9, 0.95, 0.99)]
    assert surer == sorted(surer)


def test_what_can_not_be_shown_is_said():
    margins, is_good = (
        np.r_[np.linspace(-5, 1, 50), np.linspace(2, 8, 100)],
        np.r_[np.zeros(50, bool), np.ones(100, bool)],
    )
    point = choose(margins, is_good, max_escape=0.01)
    assert not point.shown
    assert point.more_bad_needed == 249
    assert point.escapes == 0
    assert 1 < point.accept_at < 2
    assert point.escape_bound == pytest.approx(1 - 0.05 ** (1 / 50))
    assert point.sentence() == (
        "escape ≤ 1 % at 95 % confidence: NOT shown; 50 bad calibrate parts show escape ≤ 5.8 %; "
        "249 more would show it (1,245 more bad pictures in all, where a fifth of them is calibrate's)"
    )
    for where in (-3.0, 9.0):  # wherever they stand: the threshold goes up with them
        more = choose(np.r_[margins, np.full(249, where)], np.r_[is_good, np.zeros(249, bool)], max_escape=0.01)
        assert more.sentence() == (
            "escape ≤ 1 % at 95 % confidence: shown (0 of 299 bad calibrate parts above the threshold)"
        )


def test_without_a_bad_part_nothing_is_shown():
    point = choose(np.array([3.0, 4.0]), np.ones(2, bool), max_escape=0.01)
    assert not point.shown
    assert (point.n_bad, point.escape_bound, point.more_bad_needed) == (0, 1.0, 299)
    assert point.accept_at == 1.5  # what the net itself thinks (0), in a gap between parts, and no more


def test_without_any_part():
    point = choose(np.empty(0), np.empty(0, bool), max_escape=0.01)
    assert not point.shown
    assert point.hold_rate.value is None


def test_all_bad_parts_far_below_still_need_even_odds():
    """However far below zero all bad parts are: a part that is more likely bad than good by the net is not accepted."""
    point = choose(
        np.r_[np.full(400, -9.0), np.full(400, -2.0)], np.r_[np.zeros(400, bool), np.ones(400, bool)], max_escape=0.01
    )
    assert point.accept_at >= 0
    assert zone(-0.5, point.accept_at, point.reject_below) != "accept"


def test_ties_go_to_the_strict_side():
    """Good and bad parts of one margin: none of them is accepted."""
    margins, is_good = np.r_[np.full(400, 2.0), np.full(50, 2.0), 5.0], np.r_[np.zeros(400, bool), np.ones(51, bool)]
    point = choose(margins, is_good, max_escape=0.01)
    assert 2.0 < point.accept_at < 5.0
    assert point.escapes == 0


def test_parts_without_an_answer_are_rejected_and_counted():
    margins = np.r_[np.full(300, np.nan), 1.0, np.full(300, 6.0), np.nan]
    is_good = np.r_[np.zeros(301, bool), np.ones(301, bool)]
    point = choose(margins, is_good, max_escape=0.01)
    assert point.shown
    assert point.n_bad == 301
    assert 1.0 < point.accept_at < 6.0
    assert point.overkill.value == pytest.approx(1 / 301)
    assert not point.overkill_shown


def test_infinite_margins_never_pass():
    point = choose(np.r_[np.full(300, np.inf), 1.0], np.zeros(301, bool), max_escape=0.01)
    assert point.escapes == 0
    assert zone(float("inf"), point.accept_at, point.reject_below) == "reject"


def test_good_parts_set_the_reject_threshold():
    rng = np.random.default_rng(5)
    bad, good = rng.normal(0, 3, 1000), rng.normal(6, 1, 1000)
    point = choose(np.r_[bad, good], np.r_[np.zeros(1000, bool), np.ones(1000, bool)], max_escape=0.01)
    assert point.reject_below < point.accept_at
    verdicts = zones(good, point)
    assert (verdicts == "reject").mean() <= 0.01
    assert point.overkill.value == (verdicts == "reject").mean()
    assert point.hold_rate.value == (zones(np.r_[bad, good], point) == "hold").mean()


def test_without_overlap_there_is_no_hold_zone():
    point = choose(
        np.r_[np.full(400, -5.0), np.full(400, 5.0)], np.r_[np.zeros(400, bool), np.ones(400, bool)], max_escape=0.01
    )
    assert point.reject_below == point.accept_at
    assert point.hold_rate.value == 0


def test_parts_of_one_lot_are_not_independent_witnesses():
    rng = np.random.default_rng(6)
    lots = [f"lot {i // 20}" for i in range(600)]
    tied = rng.normal(0, 2, 30).repeat(20) + rng.normal(0, 0.1, 600)
    bad = np.zeros(600, bool)
    alone, grouped = (choose(tied, bad, max_escape=0.01, groups=g) for g in (None, lots))
    assert alone.n_bad_effective == 600
    assert grouped.n_bad_effective < 45
    assert alone.shown
    assert not grouped.shown
    assert grouped.more_bad_needed > 1000
    assert grouped.escape_bound > alone.escape_bound
    mixed = choose(rng.permutation(tied), bad, max_escape=0.01, groups=lots)
    assert mixed.n_bad_effective > 300


def test_lots_widen_the_rates_of_calibrate():
    """24 lots of 10 good parts, each lot as one: what is rejected and held is known as of 24 parts, not of 240."""
    rng = np.random.default_rng(4)
    margins = np.concatenate([np.repeat(rng.normal(1, 2, 24), 10), rng.normal(-1, 1.5, 200)])
    good, lots = np.arange(440) < 240, [f"lot {i // 10}" if i < 240 else None for i in range(440)]
    alone, same, tied = (choose(margins, good, max_escape=0.05, groups=g) for g in (None, [None] * 440, lots))
    assert same == alone
    assert alone.overkill.method == "Clopper-Pearson"
    for one, said, word in (
        (tied.hold_rate, zones(margins, tied), "hold"),
        (tied.overkill, zones(margins[good], tied), "reject"),
    ):
        exact = clopper_pearson(np.count_nonzero(said == word), len(said))
        assert (one.value, one.n) == (exact.value, exact.n)
        assert one.high - one.low > 2 * (exact.high - exact.low)
    assert tied.hold_rate.value > 0.5
    assert tied.overkill.value == 0 < 0.14 < tied.overkill.high  # as 0 of 24


def test_the_promise_is_kept_where_lots_differ():
    """60 lots of 12: without groups it would break far too often; with groups it holds."""
    rng, broken = np.random.default_rng(7), {"alone": 0, "grouped": 0}
    lots = np.repeat(np.arange(60), 12)
    for _ in range(400):
        bad = rng.normal(0, 1.5, 60)[lots] + rng.normal(0, 0.8, 720)
        for name, groups in (("alone", None), ("grouped", lots)):
            point = choose(bad, np.zeros(720, bool), max_escape=0.05, groups=groups)
            broken[name] += norm.sf(point.accept_at, 0, np.hypot(1.5, 0.8)) > 0.05
    assert broken["alone"] / 400 > 0.1
    assert binomtest(broken["grouped"], 400, 0.05, alternative="greater").pvalue > 0.001, broken


def test_few_lots_may_hold_none_of_the_bad_ones_and_the_sentence_warns():
    """One lot in ten has a fault that the net misses, else lots are alike: ten lots often hold none, forty do."""
    rng, broken = np.random.default_rng(0), {}
    for lots in (10, 40):
        broken[lots] = 0
        for _ in range(100):
            centre = rng.normal(0, 0.1, lots) + 3.0 * (rng.random(lots) < 0.1)
            bad = (centre[:, None] + rng.normal(0, 1, (lots, 12))).ravel()
            point = choose(bad, np.zeros(len(bad), bool), max_escape=0.05, groups=np.repeat(np.arange(lots), 12))
            assert point.bad_lots == lots
            assert ("few to tell how lots differ" in point.sentence()) == (lots < 29 and point.shown)
            escape = 0.9 * norm.sf(point.accept_at) + 0.1 * norm.sf(point.accept_at - 3.0)
            broken[lots] += point.shown and escape > 0.05
    assert broken[10] > 15
    assert broken[40] < 12


@given(st.lists(st.one_of(st.none(), st.sampled_from(["a", "b"])), max_size=12))
def test_a_part_without_a_group_stands_alone(groups):
    numbers = numbered(groups).tolist()
    for i, a in enumerate(groups):
        for j, b in enumerate(groups):
            assert (numbers[i] == numbers[j]) == (i == j or (a is not None and a == b))


def test_one_lot_is_one_witness():
    point = choose(np.linspace(-4, -1, 500), np.zeros(500, bool), max_escape=0.05, groups=["same"] * 500)
    assert point.n_bad_effective == 1.0
    assert not point.shown


@pytest.mark.parametrize(("name", "how"), [("max escape", {"max_escape": 0.0}), ("max escape", {"max_escape": 1.5})])
def test_a_promise_must_be_a_rate(name, how):
    with pytest.raises(SettingsError, match=f"{name}: expected a number between 0 and 1, both excluded"):
        choose(np.zeros(1), np.zeros(1, bool), **how)


@given(npst.arrays(np.float64, st.integers(0, 40), elements=st.floats(-1e6, 1e6)))
def test_margins_of_any_size(margins):
    is_good = np.arange(len(margins)) % 2 == 0
    point = choose(margins, is_good, max_escape=0.2)
    assert set(zones(margins, point)) <= {"accept", "hold", "reject"}
