"""Temperature, reliability and ECE on data whose truth is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from lineside.evidence.calibration import (
    COLDEST,
    HOTTEST,
    MOST_NATS,
    brier,
    calibrated_nll,
    ece,
    nll,
    reliability,
    softmax,
    temperature,
)


def draw(n: int, classes: int, sharpness: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `sharpness` times too sure, and labels drawn from the right ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, classes))
    chances = softmax(logits).cumsum(axis=1)
    labels = (rng.random((n, 1)) > chances).sum(axis=1).clip(0, classes - 1)
    return logits * sharpness, labels


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("classes", [2, 6])
def test_temperature_finds_what_was_put_in(sharpness, classes):
    logits, labels = draw(20_000, classes, sharpness, seed=1)
    assert temperature(logits, labels) == pytest.approx(sharpness, rel=0.05)


def test_temperature_is_the_minimum_of_the_nll():
    logits, labels = draw(3000, 4, 2.0, seed=2)
    best = temperature(logits, labels)
    here = nll(softmax(logits / best), labels).mean()
    assert here <= nll(softmax(logits / (best * 1.02)), labels).mean() + 1e-5
    assert here <= nll(softmax(logits / (best * 0.98)), labels).mean() + 1e-5
    assert calibrated_nll(logits, labels, np.ones(4)) == pytest.approx(here)
    assert calibrated_nll(logits * 7, labels, np.ones(4)) == pytest.approx(here, abs=1e-6)  # whatever its own scale


def test_a_class_weighs_in_the_calibrated_nll_and_a_nan_is_never_the_best():
    logits, labels = draw(3000, 3, 1.0, seed=3)
    logits[labels == 0] *= 0.3  # the first class has a best temperature of its own
    first = np.array([1.0, 0.0, 0.0])
    only_first = calibrated_nll(logits, labels, first)
    at = [(nll(softmax(logits / t), labels) * first[labels]).mean() for t in np.geomspace(0.05, 20, 400)]
    assert only_first == pytest.approx(min(at), rel=1e-3)
    assert temperature(logits, labels, first) < temperature(logits, labels) / 2
    logits[0, 0] = np.nan
    assert calibrated_nll(logits, labels, np.ones(3)) == np.inf


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 60), st.floats(-50, 50))
def test_temperature_is_bounded_and_knows_no_offset(seed, classes, n, offset):
    logits, labels = draw(n, classes, 1.7, seed)
    found = temperature(logits, labels)
    assert COLDEST <= found <= HOTTEST
    assert temperature(logits + offset, labels) == pytest.approx(found, rel=1e-3)


def test_all_right_does_not_make_every_score_one():
    """The separable case: plain NLL falls for ever as T goes to 0."""
    logits = np.array([[4.0, 0.0], [0.0, 4.0]] * 20)
    labels = np.array([0, 1] * 20)
    found = temperature(logits, labels)
    assert found > COLDEST
    assert softmax(logits / found).max() == pytest.approx(41 / 42, abs=1e-6)  # Platt: (n + 1) / (n + 2), n = 40


def test_worse_than_chance_goes_to_the_bound():
    assert temperature(np.array([[3.0, 0.0]] * 10), np.ones(10, int)) == HOTTEST


def test_nothing_to_calibrate_on():
    assert temperature(np.empty((0, 3)), np.empty(0, int)) == 1.0


def test_equal_logits_say_nothing():
    assert COLDEST <= temperature(np.zeros((5, 3)), np.zeros(5, int)) <= HOTTEST


def test_logits_that_are_not_finite_are_refused():
    logits = np.array([[1.0, 2.0], [np.nan, 0.0], [np.inf, 0.0]])
    with pytest.raises(ValueError, match="2 of 3 pictures have a logit that is not finite"):
        temperature(logits, np.zeros(3, int))


def test_nll_and_brier_by_hand():
    p = np.array([[0.8, 0.2], [0.4, 0.6]])
    labels = np.array([0, 0])
    assert nll(p, labels) == pytest.approx([-np.log(0.8), -np.log(0.4)])
    assert brier(p, labels) == pytest.approx([0.2**2 + 0.2**2, 0.6**2 + 0.6**2])
    assert nll(np.array([[0.0, 1.0]]), np.array([0])) == [MOST_NATS]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=80), st.sampled_from(["mass", "width"]))
def test_bins_hold_every_picture_once(rows, equal):
    score, hit = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    bins = reliability(score, hit, equal=equal)
    assert sum(b.accuracy.n for b in bins) == len(rows)
    assert sum(round(b.accuracy.value * b.accuracy.n) for b in bins) == hit.sum()
    for b in bins:
        assert b.low - 1e-12 <= b.score <= b.high + 1e-12


def test_bins_of_equal_mass():
    score = np.random.default_rng(3).random(1000)
    sizes = [b.accuracy.n for b in reliability(score, score > 0.5, bins=10)]
    assert sizes == [100] * 10


def test_an_unknown_kind_of_bins_is_refused():
    with pytest.raises(ValueError, match='expected "mass" or "width", got \'size\''):
        reliability(np.ones(2), np.ones(2, bool), equal="size")


def test_ece_by_hand():
    score = np.array([0.9, 0.9, 0.6, 0.6])
    hit = np.array([True, False, True, True])
    found = ece(score, hit, rng=np.random.default_rng(0), bins=2)
    assert found.value == pytest.approx(0.5 * abs(0.9 - 0.5) + 0.5 * abs(0.6 - 1.0))


def test_ece_covers_its_truth():
    """A calibrated model (0, on the edge of what can be) and one that is 0.1 too sure."""
    rng, held = np.random.default_rng(4), {"calibrated": 0, "too sure": 0}
    for _ in range(120):
        score = rng.uniform(0.5, 1, 500)
        held["calibrated"] += ece(score, rng.random(500) < score, rng=rng, repeats=300).low == 0
        wrong = ece(score, rng.random(500) < score - 0.1, rng=rng, repeats=300)
        held["too sure"] += 0 < wrong.low <= 0.1 <= wrong.high
    for count in held.values():
        assert binomtest(count, 120, 0.95, alternative="less").pvalue > 0.001, held


def test_ece_of_nothing():
    assert ece(np.empty(0), np.empty(0, bool), rng=np.random.default_rng(0)).value is None


def test_softmax_of_large_logits():
    assert softmax(np.array([[1e4, 0.0]])).tolist() == [[1.0, 0.0]]
