"""Metrics against sklearn and by hand, with what must be said of pictures that got no answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineside.evidence.intervals import clopper_pearson
from lineside.evidence.operating import choose
from lineside.tasks.classify.decode import margin
from lineside.tasks.classify.score import judge, score, top1_on_calibrate

CLASSES = ("a", "b", "c", "d", "e", "f", "g")


def drawn(n: int, seed: int, classes: int = 7, sure: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    return (rng.normal(size=(n, classes)) + sure * np.eye(classes)[labels]).astype(np.float32), labels


def test_agrees_with_sklearn():
    metrics = pytest.importorskip("sklearn.metrics")
    logits, labels = drawn(500, 0)
    s = score(logits, labels, CLASSES, rng=np.random.default_rng(0))
    called = logits.argmax(axis=1)
    assert s.top1.value == pytest.approx(metrics.accuracy_score(labels, called))
    assert s.top5.value == pytest.approx(metrics.top_k_accuracy_score(labels, logits, k=5))
    assert s.macro_recall.value == pytest.approx(metrics.balanced_accuracy_score(labels, called))
    assert (s.confusion[:, :-1] == metrics.confusion_matrix(labels, called)).all()
    precision, recall, _, support = metrics.precision_recall_fscore_support(labels, called)
    assert [c.precision.value for c in s.per_class] == pytest.approx(precision)
    assert [c.recall.value for c in s.per_class] == pytest.approx(recall)
    assert [c.n for c in s.per_class] == support.tolist()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 60))
def test_verdict_rates_add_up(seed, n):
    logits, labels = drawn(n, seed, classes=4, sure=1.0)
    logits[seed % n] = np.nan
    accept = ("a", "c")
    is_good = np.isin(labels, [0, 2])
    point = choose(margin(logits, [0, 2]), is_good, max_escape=0.2)
    s = score(logits, labels, CLASSES[:4], rng=np.random.default_rng(0), accept=accept, point=point)
    judged = judge(logits, labels, CLASSES[:4], accept, point)
    assert s.escape.n == (~is_good).sum() == sum(e.n for e in s.escape_of.values())
    assert s.overkill.n == is_good.sum()
    assert s.hold.n == n
    for verdict, among, estimate in (
        ("accept", ~judged.is_good, s.escape),
        ("reject", judged.is_good, s.overkill),
        ("hold", np.ones(n, bool), s.hold),
    ):
        expected = (judged.verdicts[among] == verdict).mean() if among.any() else None
        assert estimate.value == (pytest.approx(expected) if expected is not None else None)
    assert s.top5 is None  # four classes: the true one is always among five
    assert s.no_answer == 1
    assert s.confusion.sum() == n
    assert s.confusion[:, -1].sum() == 1


def test_a_picture_without_an_answer_counts_as_wrong_and_as_rejected():
    logits, labels = np.array([[9.0, 0], [np.inf, 0], [9.0, 0]]), np.array([0, 0, 0])
    point = choose(np.array([-4.0, 4.0]), np.array([False, True]), max_escape=0.5)
    s = score(logits, labels, ("good", "bad"), rng=np.random.default_rng(0), accept=("good",), point=point)
    assert s.top1.value == pytest.approx(2 / 3)
    assert s.overkill.value == pytest.approx(1 / 3)
    assert s.ece.n == s.nll.n == s.brier.n == 2


def test_nothing_to_score():
    s = score(np.empty((0, 3)), np.empty(0, int), ("a", "b", "c"), rng=np.random.default_rng(0))
    assert {e.value for e in s.metrics().values()} == {None}


def test_a_class_without_pictures_is_not_measured():
    s = score(np.eye(3)[[0, 1]] * 5, np.array([0, 1]), ("a", "b", "c"), rng=np.random.default_rng(0))
    assert s.per_class[2].recall.value is None
    assert s.per_class[2].precision.value is None
    assert s.macro_recall.value == 1.0


def test_a_bundle_that_only_sorts_has_no_escape():
    logits, labels = drawn(50, 1)
    s = score(logits, labels, CLASSES, rng=np.random.default_rng(0))
    assert s.escape is s.overkill is s.hold is s.good_accepted is None
    assert not any("escape" in name for name in s.metrics())


def test_names_of_metrics():
    logits, labels = drawn(80, 2, classes=3)
    point = choose(margin(logits, [0]), labels == 0, max_escape=0.2)
    s = score(logits, labels, ("ok", "x", "y"), rng=np.random.default_rng(0), accept=("ok",), point=point)
    assert list(s.metrics("test")) == [
        *(f"test {m}" for m in ("top-1", "macro recall", "ECE", "ECE before temperature", "NLL", "Brier score")),
        *(f"test {m}" for m in ("escape", "overkill", "hold", "good accepted")),
        *(f"test {m} of {c}" for c in ("ok", "x", "y") for m in ("recall", "precision")),
        "test escape of x",
        "test escape of y",
    ]


def test_the_temperature_is_undone_for_the_score_before():
    logits, labels = drawn(3000, 3, classes=3, sure=2.0)
    s = score(logits * 8, labels, ("a", "b", "c"), rng=np.random.default_rng(0), temperature=0.25)
    plain = score(logits * 2, labels, ("a", "b", "c"), rng=np.random.default_rng(0))
    assert s.ece_before.value == pytest.approx(plain.ece.value)
    assert s.ece.value > 2 * s.ece_before.value


def test_lots_widen_every_interval_that_they_should():
    rng = np.random.default_rng(4)
    lots = np.repeat(np.arange(15), 20)
    labels = rng.integers(2, size=300)
    right = rng.random(15)[lots] < 0.7
    logits = 4.0 * np.eye(2)[np.where(right, labels, 1 - labels)]
    alone = score(logits, labels, ("a", "b"), rng=np.random.default_rng(0))
    tied = score(logits, labels, ("a", "b"), rng=np.random.default_rng(0), groups=lots)
    for name in ("top1", "macro_recall", "nll", "brier"):
        a, b = getattr(alone, name), getattr(tied, name)
        assert b.high - b.low > 1.5 * (a.high - a.low), name
        assert a.value == b.value


def test_same_seed_same_numbers():
    logits, labels = drawn(60, 5)
    first, again = (score(logits, labels, CLASSES, rng=np.random.default_rng(9)).metrics() for _ in range(2))
    assert first == again


def test_calibrates_top1_heeds_lots():
    labels = np.zeros(200, np.int64)
    logits = np.stack([np.repeat(np.where(np.arange(20) % 4, 1.0, -1.0), 10), np.zeros(200)], axis=1)  # lots of ten
    alone = top1_on_calibrate(logits, labels, [None] * 200)
    tied = top1_on_calibrate(logits, labels, [f"lot {i // 10}" for i in range(200)])
    assert alone == clopper_pearson(150, 200)
    assert tied.value == 0.75
    assert tied.high - tied.low > 2 * (alone.high - alone.low)
