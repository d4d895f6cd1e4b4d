"""Splits: deterministic, whole units, every class in every part, stated splits kept, CSV there and back."""

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineside.data.read import PARTS, Picture
from lineside.data.split import Split, read_csv, split, write_csv
from lineside.data.union import unite
from lineside.errors import DataError
from tests.data.drawing import checkup


def test_shares_are_kept_in_every_class() -> None:
    labels = ["good"] * 1000 + ["chip"] * 100 + ["burr"] * 5
    made = split(checkup(labels))
    number = Counter(zip(labels, made.part, strict=True))
    for label, count in Counter(labels).items():
        for part, share in zip(PARTS, (0.6, 0.2, 0.2), strict=True):
            assert abs(number[label, part] - share * count) <= 1
    assert sum(len(made.of(part)) for part in PARTS) == 1105


def test_content_decides_not_order_or_name() -> None:
    labels = ["good"] * 60 + ["bad"] * 40
    one = checkup(labels)
    order = np.random.default_rng(0).permutation(100)
    other = replace(
        one,
        pictures=tuple(Picture(Path("/x") / f"{i}.png", f"{i}.png", labels[i]) for i in order),
        sha256=tuple(one.sha256[i] for i in order),
        cluster=one.cluster[order],
    )
    a, b = split(one), split(other)
    assert dict(zip(a.sha256, a.part, strict=True)) == dict(zip(b.sha256, b.part, strict=True))
    assert a.fingerprint == b.fingerprint
    assert split(one).part == a.part
    assert split(one, seed=1).part != a.part
    assert split(one, seed=1).fingerprint != a.fingerprint


def test_a_picture_more_moves_few_others() -> None:
    labels = ["good"] * 500 + ["bad"] * 500
    before, after = split(checkup(labels)), split(checkup([*labels, "good"]))
    moved = sum(a != b for a, b in zip(before.part, after.part, strict=False))
    assert moved <= 2


def test_a_picture_more_in_every_lot_or_set_of_look_alikes_moves_few_others() -> None:
    """40 units of 30, each with one more: no lot moves, look-alikes only where the new one's hash is the smallest."""
    labels, unit = ["good"] * 1240, [*np.repeat(range(40), 30).tolist(), *range(40)]
    lots = [f"lot {i}" for i in unit]
    before, after = (split(checkup(labels[:n], groups=lots[:n])) for n in (1200, 1240))
    assert before.part == after.part[:1200]
    before, after = (split(checkup(labels[:n], cluster=unit[:n])) for n in (1200, 1240))
    assert np.mean([a != b for a, b in zip(before.part, after.part, strict=False)]) < 0.15


def test_a_lot_stays_where_it_is_when_a_look_alike_without_a_lot_joins_it() -> None:
    labels, lots = ["good"] * 1201, [f"lot {i // 30}" for i in range(1200)]
    before = split(checkup(labels[:1200], groups=lots))
    after = split(checkup(labels, groups=[*lots, None], cluster=[*range(1200), 7]))
    assert before.part == after.part[:1200]
    assert after.part[1200] == after.part[7]


def test_a_picture_of_its_own_is_placed_by_its_content_alone() -> None:
    """Pinned: the split of data without groups and near duplicates is the same in every version."""
    made = split(checkup(["good"] * 20))
    assert "".join(part[0] for part in made.part) == "tctttttttttttcttctct"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(30, 120), st.integers(0, 5))
def test_units_stay_whole_and_classes_are_everywhere(seed: int, count: int, split_seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = [("a", "b", "c")[i] for i in rng.choice(3, count, p=[0.5, 0.3, 0.2])]
    groups = [f"lot {rng.integers(count // 3)}" if rng.random() < 0.5 else None for _ in range(count)]
    cluster = rng.integers(0, count * 2, count).tolist()
    rows = checkup(labels, cluster=cluster, groups=groups)
    try:
        made = split(rows, seed=split_seed)
    except DataError:
        return  # a class of fewer than three units, as the next tests say
    parts_of = defaultdict(set)
    for unit, part in zip(unite(rows.cluster, groups).tolist(), made.part, strict=True):
        parts_of[unit].add(part)
    assert all(len(parts) == 1 for parts in parts_of.values())
    assert set(zip(labels, made.part, strict=True)) == {(label, part) for label in set(labels) for part in PARTS}


def test_three_units_are_enough_for_every_part() -> None:
    made = split(checkup(["good"] * 300 + ["bad"] * 3))
    assert Counter(made.part[300:]) == dict.fromkeys(PARTS, 1)


def test_too_few_units_name_the_class_and_what_to_do() -> None:
    with pytest.raises(DataError, match=r"class 'bad': has 2 separate pictures; train, calibrate, test need one each"):
        split(checkup(["good"] * 30 + ["bad"] * 2))
    with pytest.raises(DataError, match=r"has 1 separate picture \(5 pictures, tied by groups or near duplicates\)"):
        split(checkup(["good"] * 30 + ["bad"] * 5, cluster=[*range(30), *[30] * 5]))


def test_groups_that_hold_a_class_together_are_said() -> None:
    """bad is in 3 groups, but all with good, and every group of it is tied to the next by sameness."""
    labels, groups = ["good", "bad"] * 3 + ["good"] * 9, [*[f"lot {i // 2}" for i in range(6)], *[None] * 9]
    made = split(checkup(labels, groups=groups))
    assert {part for label, part in zip(labels, made.part, strict=True) if label == "bad"} == set(PARTS)
    with pytest.raises(DataError, match="class 'bad': has 1 separate picture"):
        split(checkup(labels, groups=groups, cluster=[0, 1, 1, 2, 2, 3, *range(10, 19)]))


@pytest.mark.parametrize(
    ("stated", "cut"),
    [
        (("train", "calibrate", "test"), set()),
        (("train", "test"), {"calibrate"}),
        (("train", "calibrate"), {"test"}),
        (("train",), {"calibrate", "test"}),
    ],
)
def test_a_stated_split_is_kept_and_completed_from_train(stated: tuple[str, ...], cut: set[str]) -> None:
    parts = [stated[i % len(stated)] for i in range(240)]
    labels = [("good", "bad")[i // 120] for i in range(240)]
    made = split(checkup(labels, parts=parts))
    assert set(made.part) == set(PARTS)
    for was, now in zip(parts, made.part, strict=True):
        assert now == was or (was == "train" and now in cut)
    assert "as the data set states it" in made.how
    assert ("cut from train" in made.how) == bool(cut)
    again = split(checkup(labels, parts=parts), seed=5)
    assert (again.part == made.part) == (not cut)


def test_refusals() -> None:
    with pytest.raises(DataError, match="states test but no train; add a train part"):
        split(checkup(["a", "b"], parts=["test", "test"]))
    with pytest.raises(DataError, match="must be above 0 and sum to 1"):
        split(checkup(["a", "b"]), shares=(0.5, 0.5, 0.0))


NAMES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0/"), min_size=1)


ROWS = st.tuples(NAMES, NAMES, st.sampled_from(PARTS), st.none() | NAMES)


@settings(max_examples=80, deadline=None)
@given(st.lists(ROWS, min_size=1, unique_by=lambda row: row[0]))
def test_csv_there_and_back(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    """Any name, label and group: line ends, quotes, commas, ... come back as they were."""
    rows = sorted(rows)
    pictures = tuple(Picture(Path("/r") / name, name, label, part, group) for name, label, part, group in rows)
    made = Split(pictures, tuple(r[2] for r in rows), tuple(f"{i:064x}" for i in range(len(rows))), 3, "by hand")
    path = tmp_path_factory.mktemp("split") / "split.csv"
    write_csv(made, path)
    back = read_csv(path, Path("/r"))
    assert (back.pictures, back.part, back.sha256) == (made.pictures, made.part, made.sha256)
    assert back.fingerprint == made.fingerprint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\n", "line 1: has the columns name,label; expected part,label,name,sha256,group"),
        ("part,label,name,sha256,group\nlater,a,b,c,\n", "line 2: .* is no row of part,label"),
        ("part,label,name,sha256,group\ntrain,a,b\n", "line 2: .* is no row of part,label"),
    ],
)
def test_csv_refusals(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_csv(tmp_path / "s.csv")
    with pytest.raises(DataError, match="the split can not be read"):
        read_csv(tmp_path / "gone.csv")
