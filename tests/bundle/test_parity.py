"""Parity: the same answers pass; a moved score, a flipped decision, a new escape or too few pictures do not."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineside.bundle import parity
from lineside.bundle.parity import Reference
from lineside.errors import BundleError, ParityError
from lineside.evidence.operating import choose, zones
from lineside.tasks.classify.decode import margin

N = 400
RNG = np.random.default_rng(0)
GOOD = np.arange(N) % 2 == 0
LOGITS = np.c_[np.zeros(N), np.where(GOOD, 4.0, -4.0) + RNG.normal(0, 0.5, N)].astype(np.float32)
TRUTH = Reference(
    tuple(f"{i}.png" for i in range(N)), tuple("good" if g else "bad" for g in GOOD), ("bad", "good"), ("good",), LOGITS
)
POINT = choose(margin(LOGITS, [1]), GOOD, max_escape=0.05)
MS = np.full(N, 2.0)


def decide(logits):
    return zones(margin(logits, [1]), POINT)


def row(logits, precision="float32", truth=TRUTH, decide=decide):
    return parity.compare(truth, np.asarray(logits, np.float32), MS, decide, engine="openvino", precision=precision)


def moved(change: dict[int, float]) -> np.ndarray:
    logits = LOGITS.copy()
    for i, value in change.items():
        logits[i, 1] = value
    return logits


def test_the_same_answers_pass_in_every_precision():
    for precision in ("float32", "bfloat16", "int8"):
        found = row(LOGITS, precision)
        parity.refuse(found, POINT, "b")
        assert (found.logit_max, found.score_max, found.label_flips, found.verdict_flips, found.new_escapes) == (0,) * 5
        assert (found.paired is None) == (precision == "float32")


def test_a_moved_score_is_refused_in_float32_and_named():
    found = row(moved({7: LOGITS[7, 1] + 0.1}))
    assert found.verdict_flips == 0
    with pytest.raises(
        ParityError, match=r"b: openvino float32 may not answer .* a score moved by \S+ \(allowed: 0.0001\)"
    ):
        parity.refuse(found, POINT, "b")
    assert found.worst[0].name == "7.png"
    parity.refuse(row(moved({7: LOGITS[7, 1] + 0.1}), "int8"), POINT, "b")


def test_a_flipped_verdict_is_refused_in_float32_and_the_table_names_the_picture():
    found = row(moved({10: -4.0}))
    with pytest.raises(ParityError, match="1 labels and 1 verdicts of 400 changed") as refusal:
        parity.refuse(found, POINT, "b")
    assert "10.png (good): good accept → bad reject" in str(refusal.value)
    assert "The bundle is unchanged" in str(refusal.value)


def test_a_new_escape_is_refused_in_int8_even_if_the_paired_test_would_hold():
    found = row(moved({11: 4.0}), "int8")
    assert found.new_escapes == 1
    assert found.paired is not None
    assert found.paired.shown
    with pytest.raises(ParityError, match="1 bad parts would escape that were not accepted before"):
        parity.refuse(found, POINT, "b")


def test_a_broken_promise_is_refused():
    many = dict.fromkeys(range(1, 60, 2), 4.0)
    with pytest.raises(
        ParityError, match=r"the promise \(escape ≤ 5 %\) would no longer hold: 3\d bad calibrate parts"
    ):
        parity.refuse(row(moved(many), "int8"), POINT, "b")


def test_lost_good_parts_are_refused_by_the_paired_test_and_won_ones_are_not():
    few, many = moved({0: -4.0}), moved(dict.fromkeys(range(0, 24, 2), -4.0))
    parity.refuse(row(few, "int8"), POINT, "b")
    with pytest.raises(ParityError, match="not shown to be as good: 12 of 400 pictures lost, 0 won"):
        parity.refuse(row(many, "int8"), POINT, "b")
    worse = replace(TRUTH, logits=many)
    parity.refuse(row(LOGITS, "int8", worse), POINT, "b")


def test_pictures_of_one_lot_are_no_independent_witnesses():
    """Four near duplicates each: 100 lots, and 149 witnesses without a loss would show it."""
    rng = np.random.default_rng(0)
    lead = np.repeat(rng.normal(3, 1, 100), 4)
    logits = np.stack([-lead / 2, lead / 2], 1).astype(np.float32)
    logits[::8] *= -1  # bad parts, in lots of good ones
    alike = replace(TRUTH, labels=tuple("bad" if i % 8 == 0 else "good" for i in range(400)), logits=logits)
    tied = replace(alike, groups=tuple(f"lot {i // 4}" for i in range(400)))
    rounded = (logits + rng.normal(0, 0.01, logits.shape)).astype(np.float32)
    found = row(rounded, "int8", tied)
    with pytest.raises(ParityError, match=r"0 of 400 .*\(in lots or near duplicates, so worth 1\d\d"):
        parity.refuse(found, POINT, "b")
    parity.refuse(row(rounded, "int8", alike), POINT, "b")
    parity.refuse(row(rounded, "int8", replace(alike, groups=(None,) * 400)), POINT, "b")
    parity.refuse(row(logits, "float32", tied), POINT, "b")
    assert parity.read_rows(parity.write_rows([found]), "p") == (found,)


def test_lots_that_have_nothing_in_common_are_no_hindrance():
    rng = np.random.default_rng(1)
    rounded = (LOGITS + rng.normal(0, 1e-4, LOGITS.shape)).astype(np.float32)
    found = row(rounded, "int8", replace(TRUTH, groups=tuple(f"shift {i // 40}" for i in range(400))))
    assert found.paired is not None
    assert found.paired.n_effective is None or found.paired.n_effective > 149
    parity.refuse(found, POINT, "b")


def test_lots_that_are_moved_alike_count_as_few():
    rng = np.random.default_rng(2)
    moved_alike = np.repeat(rng.normal(0, 0.01, 100), 4)[:, None] * [1, -1]
    shuffled = rng.permutation(400)
    where = tuple(f"lot {i // 4}" for i in range(400))
    truth = replace(TRUTH, logits=LOGITS[shuffled], labels=tuple(TRUTH.labels[i] for i in shuffled), groups=where)
    found = row((truth.logits + moved_alike).astype(np.float32), "int8", truth)
    assert found.paired is not None
    assert found.paired.n_effective is not None
    assert 90 <= found.paired.n_effective <= 110


def test_too_few_pictures_show_nothing():
    small = replace(TRUTH, names=TRUTH.names[:50], labels=TRUTH.labels[:50], logits=LOGITS[:50])
    found = parity.compare(small, LOGITS[:50], MS[:50], decide, engine="onnxruntime", precision="int8")
    with pytest.raises(ParityError, match="about 149 pictures would show it"):
        parity.refuse(found, POINT, "b")


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_not_finite_is_refused(precision, value):
    found = row(moved({4: value}), precision)
    assert found.score_max is None
    assert found.worst[0].name == "4.png"
    assert "no finite answer reject" in found.worst[0].now
    with pytest.raises(ParityError, match="an answer is not finite"):
        parity.refuse(found, POINT, "b")
    json.loads(parity.write_rows([found]), parse_constant=lambda text: pytest.fail(text))


def test_a_class_called_accept_is_no_accepted_part():
    sorts = replace(TRUTH, accept=())
    found = row(LOGITS, "float32", sorts, lambda x: np.full(len(x), "accept"))
    assert (found.escapes, found.new_escapes) == (0, 0)


def test_a_bundle_that_only_sorts_is_judged_by_its_labels():
    sorts = replace(TRUTH, accept=())
    found = row(moved({i: -LOGITS[i, 1] for i in range(20)}), "int8", sorts, lambda x: np.full(len(x), "hold"))
    assert found.paired is not None
    assert (found.paired.b, found.new_escapes) == (20, 0)
    with pytest.raises(ParityError, match="20 of 400 pictures lost"):
        parity.refuse(found, None, "b")


def test_rows_come_back():
    rows = [row(LOGITS), row(moved({3: 1.0, 10: -1.0}), "int8")]
    assert parity.read_rows(parity.write_rows(rows), "p") == tuple(rows)
    for broken in (b"", b"{}x", b"[1]", b'[{"engine": 1}]', b"3"):
        with pytest.raises(BundleError, match="p: not a parity table"):
            parity.read_rows(broken, "p")


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(deadline=None)  # no timed assertions
@given(st.lists(st.tuples(names, finite, finite), min_size=1, max_size=5))
def test_the_reference_comes_back_bit_for_bit(rows):
    logits = np.array([row[1:] for row in rows], np.float32).reshape(len(rows), 2)
    truth = Reference(tuple(r[0] for r in rows), ("good",) * len(rows), ("bad, really", "good"), ("good",), logits)
    again = parity.read_reference(parity.write_reference(truth), truth.classes, truth.accept, "c")
    assert (again.names, again.labels) == (truth.names, truth.labels)
    assert np.array_equal(again.logits, logits)


HEAD = b"name,label,logit bad,logit good\r\n"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not enough values"),
        (b"name,label\r\n", "its columns are"),
        (HEAD + b"a,bad,1\r\n", "cannot reshape"),
        (b"\xff", "can't decode"),
        (HEAD, "it holds no picture"),
        (HEAD + b"a,fair,1,2\r\n", "its label 'fair' is not one of the bundle's classes"),
        (HEAD + b"a,bad,1,nan\r\n", "a logit is not finite"),
    ],
)
def test_what_is_no_reference_is_refused(data, why):
    with pytest.raises(BundleError, match=f"c: not a table of calibrate answers: .*{why}"):
        parity.read_reference(data, ("bad", "good"), ("good",), "c")


def test_the_reference_is_plain_csv():
    head = next(csv.reader(io.StringIO(parity.write_reference(TRUTH).decode())))
    assert head == ["name", "label", "logit bad", "logit good"]
