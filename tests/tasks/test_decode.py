"""From logits to a decision: the vectorised functions and the line's one-part rule say the same."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from lineside.evidence.operating import choose, zones
from lineside.labels import Annotation
from lineside.tasks.classify.decode import Decision, decider, margin, predict, scores

CLASSES = ("bad", "good", "also good", "worse")
ACCEPT = ("good", "also good")
PASSING = [1, 2]
POINT = choose(np.array([-3.0, 0.5, 2.0, 6.0]), np.array([False, False, True, True]), max_escape=0.5)

rows = npst.arrays(np.float32, 4, elements=st.floats(-80, 80, width=32))
wild = npst.arrays(np.float32, 4, elements=st.floats(width=32))


@given(rows)
def test_margin_is_the_log_odds_of_passing(z):
    p = scores(z[None])[0]
    found = float(margin(z[None], PASSING)[0])
    passing, failing = p[PASSING].sum(), p[[0, 3]].sum()
    if min(passing, failing) > 1e-12:
        assert found == pytest.approx(math.log(passing / failing), abs=1e-6)


def test_margin_does_not_saturate():
    """Scores that are exactly 1.0 in float64 still have an order."""
    found = margin(np.array([[0, 500, -500, 0], [0, 900, -500, 0]], np.float32), PASSING)
    assert np.isfinite(found).all()
    assert found[1] - found[0] == pytest.approx(400)


@given(wild)
def test_one_part_is_decided_as_many(z):
    decision = decider(CLASSES, ACCEPT, POINT)(z)
    (part_margin,) = margin(z[None], PASSING)
    assert decision.verdict == zones(np.array([part_margin]), POINT)[0]
    if not np.isfinite(z).all():
        assert decision == Decision(None, None, "reject", "not finite")
        assert predict(z[None])[0] == -1
        assert np.isnan(scores(z[None])).all()
        return
    assert decision.margin == pytest.approx(part_margin, rel=1e-12, abs=1e-9)
    assert decision.annotation.category == CLASSES[predict(z[None])[0]]
    assert decision.annotation.score == pytest.approx(scores(z[None]).max(), abs=1e-9)


@given(rows)
def test_an_accepted_part_carries_the_accepted_class(z):
    """With one accepted class: accept_at is at least 0, so that class has more than half of the probability."""
    decision = decider(CLASSES, ("good",), POINT)(z)
    if decision.verdict == "accept":
        assert decision.annotation.category == "good"
        assert decision.annotation.score >= 0.5


def test_two_good_classes_share_their_probability():
    """Neither is first, but together they are likely: the part may pass, whatever it is called."""
    z = np.log(np.array([0.36, 0.32, 0.31, 0.01])).astype(np.float32)
    decision = decider(
        CLASSES, ACCEPT, choose(np.array([-3.0, 0.1, 1.0]), np.array([False, False, True]), max_escape=0.5)
    )(z)
    assert decision.annotation.category == "bad"
    assert decision.margin == pytest.approx(math.log(0.63 / 0.37), abs=1e-6)


def test_reasons():
    decide = decider(("bad", "good"), ("good",), choose(np.array([-5.0, 4.0]), np.array([False, True]), max_escape=0.5))
    point = choose(np.array([-5.0, 4.0]), np.array([False, True]), max_escape=0.5)
    assert point.reject_below == point.accept_at
    assert decide(np.array([0, 9.0])).reason == "at or above accept"
    assert decide(np.array([9.0, 0])).reason == "below reject"
    overlap = choose(np.array([5.0, 1.0, 8.0]), np.array([False, True, True]), max_escape=0.5)
    assert decider(("bad", "good"), ("good",), overlap)(np.array([0, 4.0])) == Decision(
        Annotation("good", pytest.approx(0.982, abs=1e-3)), 4.0, "hold", "between reject and accept"
    )


def test_a_bundle_that_only_sorts_accepts_nothing():
    decision = decider(CLASSES, (), None)(np.array([0, 50.0, 0, 0]))
    assert decision == Decision(Annotation("good", pytest.approx(1.0)), None, "hold", "sorts only")
    assert decider(CLASSES, (), None)(np.array([np.nan, 0, 0, 0])).verdict == "reject"


def test_many_classes_take_the_array_path():
    names = tuple(map(str, range(300)))
    z = np.random.default_rng(0).normal(0, 4, 300).astype(np.float32)
    decision = decider(names, ("7", "70"), POINT)(z)
    assert decision.margin == pytest.approx(float(margin(z[None], [7, 70])[0]), abs=1e-9)


@pytest.mark.parametrize(
    ("accept", "point", "said"),
    [
        (("god",), POINT, "accepted class 'god' is not one of the classes: bad, good"),
        ((), POINT, "accepted classes and an operating point, or neither"),
        (("good",), None, "accepted classes and an operating point, or neither"),
        (CLASSES, POINT, "every class is accepted: nothing could be rejected"),
    ],
)
def test_what_can_not_decide_is_refused(accept, point, said):
    with pytest.raises(ValueError, match=said):
        decider(CLASSES, accept, point)


def test_a_wrong_number_of_logits_is_refused():
    with pytest.raises(ValueError, match=r"expected 4 logits, one for each class, got an array of shape \(3,\)"):
        decider(CLASSES, ACCEPT, POINT)(np.zeros(3))


def test_margin_without_accepted_classes_is_refused():
    with pytest.raises(ValueError, match="no class is accepted: the bundle only sorts"):
        margin(np.zeros((2, 3)), [])
    with pytest.raises(ValueError, match="every class is accepted"):
        margin(np.zeros((2, 3)), [0, 1, 2])


def test_no_rows():
    assert margin(np.empty((0, 3)), [0]).shape == (0,)
    assert predict(np.empty((0, 3))).shape == (0,)
    assert scores(np.empty((0, 3))).shape == (0, 3)
