"""Intervals against scipy, published values, and simulation: do they hold the truth as often as they say?"""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from lineside.evidence.intervals import (
    Estimate,
    bootstrap,
    clopper_pearson,
    mean,
    mean_of_rates,
    nothing,
    parts_to_show,
    proportion,
    upper_bound,
    widest,
)
from lineside.settings import plain, read

counts = st.integers(0, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
confidences = st.floats(0.5, 0.999)


@given(counts, confidences)
def test_proportions_agree_with_scipy(kn, confidence):
    k, n = kn
    if n == 0:
        return
    theirs = binomtest(k, n).proportion_ci(confidence, "exact")
    mine = clopper_pearson(k, n, confidence)
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert mine.value == k / n
    assert mine.n == n


@given(counts, confidences, confidences)
def test_an_interval_contains_its_estimate_and_grows_with_confidence(kn, a, b):
    k, n = kn
    narrow, wide = min(a, b), max(a, b)
    small, large = clopper_pearson(k, n, narrow), clopper_pearson(k, n, wide)
    assert 0 <= large.low <= small.low + 1e-12
    assert small.high <= large.high + 1e-12 <= 1 + 1e-9
    if n:
        assert small.low <= small.value <= small.high


def test_published_values():
    # Newcombe 1998, Statistics in Medicine 17:857, table I: 81/263 and 0/20
    assert clopper_pearson(81, 263).low == pytest.approx(0.2527, abs=5e-5)
    assert clopper_pearson(81, 263).high == pytest.approx(0.3676, abs=5e-5)
    assert clopper_pearson(0, 20).high == pytest.approx(0.1684, abs=5e-5)


def test_nothing_measured_is_said_so():
    for estimate in (clopper_pearson(0, 0), proportion(np.empty(0, bool), rng=np.random.default_rng(0))):
        assert estimate.value is None
        assert (estimate.low, estimate.high, estimate.n) == (0.0, 1.0, 0)
        assert estimate.percent() == estimate.number() == "not measured (n = 0)"


@given(counts)
def test_estimates_survive_json(kn):
    estimate = clopper_pearson(*kn)
    assert read(Estimate, json.loads(json.dumps(plain(estimate), allow_nan=False)), "here") == estimate


@pytest.mark.parametrize(("k", "n", "confidence"), [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0), (1, 2, 0.0)])
def test_impossible_counts_are_refused(k, n, confidence):
    with pytest.raises(ValueError, match="expected 0 <= k <= n and a confidence between 0 and 1"):
        clopper_pearson(k, n, confidence)


def test_sentences():
    assert clopper_pearson(405, 412).percent() == "98.3 % (96.5 to 99.3, n = 412)"
    assert Estimate(0.0214, 0.0119, 0.0343, 1412, 0.95, "x").number() == "0.0214 (0.0119 to 0.0343, n = 1,412)"


@given(counts, confidences)
def test_the_upper_bound_is_where_the_lower_tail_is_the_rest(kn, confidence):
    k, n = kn
    bound = upper_bound(k, n, confidence)
    if k == n:
        assert bound == 1.0
    else:
        assert binom.cdf(k, n, bound) == pytest.approx(1 - confidence, abs=1e-7)


def test_the_rule_of_three():
    assert parts_to_show(0.01) == 299
    assert parts_to_show(0.005) == 598
    assert parts_to_show(0.001, 0.99) == 4603
    assert parts_to_show(0.99, 0.5) == 1
    with pytest.raises(ValueError, match="lie between 0 and 1"):
        parts_to_show(0.0)


@given(st.floats(1e-4, 0.9), st.floats(0.1, 0.9999))
def test_parts_to_show_is_the_least_number_that_shows(rate, confidence):
    n = parts_to_show(rate, confidence)
    assert upper_bound(0, n, confidence) <= rate + 1e-12
    if n > 1:
        assert upper_bound(0, n - 1, confidence) > rate - 1e-12


@pytest.mark.parametrize("rate", [0.003, 0.02, 0.1, 0.5])
def test_exact_coverage_over_all_outcomes(rate):
    """No simulation: every k of n, weighted by how probable it is."""
    for n in (20, 100, 300):
        ks = np.arange(n + 1)
        weight = binom.pmf(ks, n, rate)
        held = [clopper_pearson(int(k), n).low <= rate <= clopper_pearson(int(k), n).high for k in ks]
        assert weight[held].sum() >= 0.95
        below = np.array([rate <= upper_bound(int(k), n) for k in ks])
        assert weight[below].sum() >= 0.95


def test_mean_of_rates_covers_macro_recall():
    rng = np.random.default_rng(0)
    for rates, totals in (((0.99, 0.9, 0.8), (60, 25, 40)), ((1.0, 0.97, 0.95, 0.99), (30, 30, 30, 30))):
        truth, held = np.mean(rates), 0
        for _ in range(1500):
            estimate = mean_of_rates(rng.binomial(totals, rates).tolist(), totals)
            held += estimate.low <= truth <= estimate.high
        assert binomtest(held, 1500, 0.94, alternative="less").pvalue > 0.001, held / 1500


def test_mean_of_rates_does_not_shrink_to_nothing_where_all_is_right():
    estimate = mean_of_rates([10, 10], [10, 10])
    assert estimate.value == 1.0
    assert 0.75 < estimate.low < 0.9
    assert mean_of_rates([5, 0], [10, 0]).value == 0.5  # a class without pictures does not count
    assert mean_of_rates([0], [0]).value is None


def test_bootstrap_of_a_mean_is_near_the_normal_interval():
    values = np.random.default_rng(1).normal(0.4, 0.1, 400)
    found = bootstrap(mean, (values,), rng=np.random.default_rng(2), bounds=(-np.inf, np.inf))
    half = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.002)
    assert found.high == pytest.approx(values.mean() + half, abs=0.002)
    assert found.method == "BCa bootstrap, 2000 repeats"
    assert found.n == 400


def test_bootstrap_agrees_with_scipy():
    from scipy.stats import bootstrap as theirs

    values = np.random.default_rng(3).exponential(1.0, 60)
    mine = bootstrap(mean, (values,), rng=np.random.default_rng(4), repeats=20000, bounds=(0, np.inf))
    other = theirs((values,), np.mean, n_resamples=20000, method="BCa", rng=np.random.default_rng(5))
    assert mine.low == pytest.approx(other.confidence_interval.low, abs=0.02)
    assert mine.high == pytest.approx(other.confidence_interval.high, abs=0.02)


def test_bootstrap_same_seed_same_interval():
    values = np.random.default_rng(6).random(50)
    first, again, other = (bootstrap(mean, (values,), rng=np.random.default_rng(s)) for s in (7, 7, 8))
    assert first == again
    assert first != other


def test_bootstrap_covers():
    rng, held = np.random.default_rng(9), 0
    for _ in range(300):
        found = bootstrap(mean, (rng.beta(2, 5, 60),), rng=rng, repeats=600)
        held += found.low <= 2 / 7 <= found.high
    assert binomtest(held, 300, 0.93, alternative="less").pvalue > 0.001, held / 300


def test_groups_are_drawn_whole():
    """20 lots in which all parts agree are 20 witnesses, not 400."""
    rng = np.random.default_rng(10)
    lots = np.repeat(np.arange(20), 20)
    hits = (rng.random(20) < 0.7)[lots].astype(float)
    alone, tied = (bootstrap(mean, (hits,), rng=np.random.default_rng(0), groups=g) for g in (None, lots))
    assert tied.high - tied.low > 3 * (alone.high - alone.low)
    assert "20 groups" in tied.method
    exact = proportion(hits.astype(bool), rng=np.random.default_rng(0), groups=lots)
    assert exact.low <= min(clopper_pearson(int(hits.sum()), 400).low, tied.low)
    assert "widened" in exact.method


def test_cluster_bootstrap_covers_where_lots_differ():
    rng, held, truth = np.random.default_rng(11), 0, 0.8
    lots = np.repeat(np.arange(40), 10)
    for _ in range(200):
        hits = rng.random(400) < rng.beta(8, 2, 40)[lots]
        found = proportion(hits, rng=rng, groups=lots)
        held += found.low <= truth <= found.high
    assert binomtest(held, 200, 0.93, alternative="less").pvalue > 0.001, held / 200


def test_where_nothing_varies_the_bootstrap_does_not_claim_certainty():
    found = bootstrap(mean, (np.ones(30),), rng=np.random.default_rng(0))
    assert found.value == found.high == 1.0
    assert found.low == pytest.approx(0.025 ** (1 / 30))
    assert "no spread" in found.method


def test_one_row_and_no_row():
    assert bootstrap(mean, (np.array([0.3]),), rng=np.random.default_rng(0)).value == pytest.approx(0.3)
    assert bootstrap(mean, (np.empty(0),), rng=np.random.default_rng(0)) == nothing("bootstrap")


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.integers(0, 5))
def test_bootstrap_stays_in_bounds_and_holds_its_value(values, seed):
    found = bootstrap(mean, (np.array(values),), rng=np.random.default_rng(seed), repeats=100)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_widest_keeps_what_it_can():
    a, b = clopper_pearson(50, 100), clopper_pearson(500, 1000)
    assert widest(a, b) is a
    assert widest(b, a).low == a.low
    assert widest(b, a).value == b.value
