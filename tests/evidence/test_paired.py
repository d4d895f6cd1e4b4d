"""May the faster engine replace the slower: the test must not say yes too often, and must know when it can't tell."""

import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import binomtest, multinomial

from lineside.evidence.paired import difference, mcnemar, noninferior, p_value, score


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_test(b, c):
    expected = binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert mcnemar(b, c) == pytest.approx(expected)
    assert mcnemar(b, c) == mcnemar(c, b)


def test_mcnemar_refuses_negative_counts():
    with pytest.raises(ValueError, match="can not be negative"):
        mcnemar(-1, 2)


def test_score_gives_tangos_published_interval():
    """Airway hyper-responsiveness, b = 7, c = 1, n = 21: McNemar 0.070, Tango -0.517 to -0.026 for c - b.

    Fagerland, Lydersen & Laake 2014, Statistics in Medicine 33:2850, tables III and VI.
    """
    z = 1.959963985
    high = brentq(lambda loss: float(score(np.array(7), np.array(1), 21, loss)) + z, 0.286, 0.9)
    low = brentq(lambda loss: float(score(np.array(7), np.array(1), 21, loss)) - z, 1e-6, 0.2857)
    assert (round(low, 3), round(high, 3)) == (0.026, 0.517)
    assert round(mcnemar(7, 1), 3) == 0.070


def test_without_a_difference_it_is_the_rule_of_three():
    assert not noninferior(0, 0, 298, 0.01).shown
    verdict = noninferior(0, 0, 299, 0.01)
    assert verdict.shown
    assert verdict.p_value == pytest.approx(0.99**299)
    assert noninferior(0, 0, 100, 0.01).pictures_needed == 299


def brute_p(b: int, c: int, n: int, loss: float, rate: float) -> float:
    """The probability of a score as low as seen, by adding up every outcome."""
    seen = float(score(np.array(b), np.array(c), n, loss)) + 1e-9
    total = 0.0
    for i in range(n + 1):
        for j in range(n + 1 - i):
            if float(score(np.array(i), np.array(j), n, loss)) <= seen:
                total += multinomial.pmf([i, j, n - i - j], n, [rate + loss, rate, 1 - loss - 2 * rate])
    return total


@pytest.mark.parametrize(("b", "c", "n", "margin"), [(1, 2, 18, 0.15), (0, 3, 15, 0.1), (4, 2, 20, 0.3)])
def test_the_p_value_is_the_largest_over_the_unknown_rate(b, c, n, margin):
    p = p_value(b, c, n, margin)
    brute = max(brute_p(b, c, n, margin, rate) for rate in np.linspace(1e-9, (1 - margin) / 2, 15))
    assert p >= brute - 1e-9
    assert p <= brute + 0.01


@pytest.mark.parametrize(("n", "margin"), [(40, 0.1), (150, 0.03), (400, 0.01)])
def test_a_worse_candidate_is_let_through_at_most_as_often_as_said(n, margin):
    """Exact, not simulated: a candidate that loses just the margin, at several rates of c, over all likely outcomes."""
    b, c = (grid.reshape(-1) for grid in np.meshgrid(np.arange(31), np.arange(31)))
    b, c = b[b + c <= n], c[b + c <= n]
    for rate in (0.0, 0.005, 0.02):
        chances = np.array([rate + margin, rate, 1 - 2 * rate - margin])
        weight = multinomial.pmf(np.stack([b, c, n - b - c], axis=1), n, chances)
        likely = np.flatnonzero(weight > 1e-4)  # what is left out weighs less than a hundredth
        assert weight[likely].sum() > 0.99
        yes = [p_value(int(b[i]), int(c[i]), n, margin) <= 0.05 for i in likely]
        assert weight[likely][yes].sum() <= 0.05


def test_a_candidate_that_is_as_good_is_usually_shown():
    rng = np.random.default_rng(0)
    draws = rng.multinomial(600, [0.004, 0.004, 0.992], size=60)
    assert np.mean([p_value(int(b), int(c), 600, 0.02) <= 0.05 for b, c, _ in draws]) > 0.8


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 6), st.integers(0, 6), st.integers(20, 300), st.floats(0.005, 0.3))
def test_the_verdict_and_its_bound_say_the_same(b, c, n, margin):
    verdict = noninferior(b, c, n, margin)
    assert verdict.shown == (verdict.p_value <= 1 - 0.95)
    assert verdict.loss <= verdict.upper
    assert verdict.upper <= margin if verdict.shown else verdict.upper >= margin
    if verdict.shown or (b - c) / n >= margin:
        assert verdict.pictures_needed is None
    if verdict.pictures_needed is not None:
        assert verdict.pictures_needed > n


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 5), st.integers(0, 5), st.integers(30, 200))
def test_one_more_loss_never_helps(b, c, n):
    assert p_value(b + 1, c, n, 0.05) >= p_value(b, c, n, 0.05) - 1e-9


def test_sentences_name_the_numbers():
    said = noninferior(3, 1, 200, 0.01).sentence()
    assert said.startswith("not shown to be as good: 3 of 200 pictures lost, 1 won; loss at most ")
    assert "no number of pictures would show it at these rates" in said
    assert "loss at most 2.04 % at 95 % confidence, the margin is 2 %" in noninferior(1, 0, 231, 0.02).sentence()
    assert "about 236 pictures would show it" in noninferior(1, 0, 231, 0.02).sentence()
    assert "about 299 pictures would show it" in noninferior(0, 0, 50, 0.01).sentence()
    assert noninferior(0, 0, 500, 0.01).sentence().startswith("not inferior: 0 of 500 pictures lost, 0 won")


def test_pictures_in_lots_are_as_many_witnesses_as_they_are_worth():
    said = noninferior(40, 0, 200, 0.5, effective=40.9)
    assert (said.n_effective, said.b, said.n, said.loss) == (40, 40, 200, 0.2)
    assert said.upper == noninferior(8, 0, 40, 0.5).upper > noninferior(40, 0, 200, 0.5).upper
    assert noninferior(2, 1, 6, 0.5, effective=6.0) == noninferior(2, 1, 6, 0.5)
    assert noninferior(0, 0, 400, 0.01, effective=100).pictures_needed == 4 * 299


def test_a_candidate_that_loses_every_picture_has_a_bound():
    """Its loss is 1, where the score has no spread."""
    for n in (1, 5, 400, 20_001):
        verdict = noninferior(n, 0, n, 0.01)
        assert not verdict.shown
        assert (verdict.loss, verdict.upper, verdict.pictures_needed) == (1.0, 1.0, None)


@pytest.mark.parametrize(
    ("b", "c", "loss", "limit"),
    [(9, 0, 1.0, 0.0), (0, 0, 0.0, 0.0), (8, 0, 1.0, -np.inf), (5, 3, 1.0, -np.inf), (0, 9, 1.0, -np.inf)],
)
def test_where_the_score_has_no_spread_it_is_its_limit(b, c, loss, limit):
    at, near = (float(score(np.array(b), np.array(c), 9, one)) for one in (loss, abs(loss - 1e-9)))
    assert at == limit
    assert abs(near) < 1e-3 if limit == 0 else near < -1e3


@pytest.mark.parametrize(("b", "c", "n", "margin"), [(1, 0, 231, 0.02), (0, 0, 100, 0.02), (2, 1, 150, 0.03)])
def test_the_number_of_pictures_that_would_show_it_does(b, c, n, margin):
    needed = noninferior(b, c, n, margin).pictures_needed
    assert needed is not None
    assert noninferior(round(b / n * needed), round(c / n * needed), needed, margin).shown


@pytest.mark.parametrize(("b", "n", "first"), [(1, 231, 236), (0, 100, 149)])
def test_few_more_pictures_are_counted_exactly(b, n, first):
    assert noninferior(b, 0, n, 0.02).pictures_needed == first
    assert not noninferior(b, 0, first - 1, 0.02).shown
    assert noninferior(b, 0, first, 0.02).shown


def test_no_pictures_show_nothing():
    verdict = noninferior(0, 0, 0, 0.01)
    assert not verdict.shown
    assert verdict.upper == 1.0
    assert verdict.pictures_needed == 299


def test_many_pictures_use_the_normal_score_and_say_so():
    verdict = noninferior(20, 15, 50_000, 0.005)
    assert verdict.shown
    assert verdict.method == "Tango's score, normal"


@pytest.mark.parametrize(("b", "c", "n", "margin"), [(5, 6, 10, 0.1), (-1, 0, 10, 0.1), (1, 1, 10, 0.0)])
def test_impossible_counts_are_refused(b, c, n, margin):
    with pytest.raises(ValueError, match=r"expected counts with b \+ c <= n"):
        noninferior(b, c, n, margin)


def test_the_interval_of_a_difference_turns_with_the_two_models():
    gained, lost = difference(2, 9, 120), difference(9, 2, 120)
    assert gained.value == pytest.approx(7 / 120)
    assert (gained.value, gained.low, gained.high) == (-lost.value, -lost.high, -lost.low)
    assert gained.low < gained.value < gained.high


def test_the_interval_of_a_difference_is_near_tangos():
    """b = 1, c = 7 of 21, where his score gives 0.026 to 0.517 (above); the exact one is wider, not by much."""
    found = difference(1, 7, 21)
    assert -0.02 < found.low <= 0.026
    assert 0.517 <= found.high < 0.56


def test_the_upper_end_is_the_bound_of_noninferior():
    """A loss of a margin is ruled out at 97.5 % just where the two-sided interval at 95 % ends."""
    end = -difference(3, 2, 200).low
    assert noninferior(3, 2, 200, end + 2e-4, confidence=0.975).shown
    assert not noninferior(3, 2, 200, end - 2e-4, confidence=0.975).shown


@pytest.mark.parametrize("chances", [(0.1, 0.1), (0.0, 0.3), (0.05, 0.45), (0.3, 0.02), (0.0, 0.0)])
def test_the_interval_covers_as_often_as_it_says(chances):
    """Exact, not simulated: over every outcome of 9 pictures."""
    n, truth, covered = 9, chances[1] - chances[0], 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            weight = multinomial.pmf([b, c, n - b - c], n, [*chances, 1 - sum(chances)])
            if weight > 1e-4 and (found := _difference(b, c, n)).low <= truth <= found.high:
                covered += weight
    assert covered >= 0.949


@functools.cache
def _difference(b, c, n):
    return difference(b, c, n)


def test_a_difference_at_the_ends_and_of_nothing():
    assert difference(0, 12, 12).high == difference(0, 12, 12).value == 1.0
    assert difference(0, 12, 12).low == pytest.approx(
        2 * 0.025 ** (1 / 12) - 1, abs=2e-4
    )  # won by chance (1 + gain) / 2
    none = difference(0, 0, 0)
    assert (none.value, none.low, none.high, none.n) == (None, -1.0, 1.0, 0)
    same = difference(0, 0, 400)
    assert same.value == 0.0
    assert -same.low == same.high < 0.01
    assert difference(30, 60, 50_000).method == "Tango's score, normal"
    with pytest.raises(ValueError, match=r"b \+ c <= n"):
        difference(5, 6, 10)
