"""Train, calibrate, test: who sees which picture.

Content and groups decide, not file names or order. A unit (pictures tied by group or by sameness, directly or through
others) is placed by sha256(seed, its mark). The mark is the hash of its group's name, the smallest where several are
tied; without groups it is the smallest content hash. So the same pictures give the same split on every machine, and a
picture that is added moves few others: its group stays where it was. Within each class units are sorted by that hash
and cut at the shares, so every class is in every part; a unit of several classes is cut with its rarest one.

A split that the data set itself states is kept. What it lacks is cut out of train, never out of val or test:
    train + test          calibrate is cut from train
    train + val           val becomes calibrate, test is cut from train
    train alone           as without a split
"""

import csv
import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lineside import whole
from lineside.data.doctor import Checkup
from lineside.data.read import PARTS, Picture
from lineside.data.union import unite
from lineside.errors import DataError

COLUMNS = ("part", "label", "name", "sha256", "group")
ATTEMPTS = 64  # other hashes tried where groups of several classes leave a class out of a part


@dataclass(frozen=True)
class Split:
    """Rows in the order of the check-up."""

    pictures: tuple[Picture, ...]
    part: tuple[str, ...]  # one of PARTS, per picture
    sha256: tuple[str, ...]  # of the file's bytes, hex, per picture
    seed: int
    how: str  # a sentence for reports

    def of(self, part: str) -> tuple[Picture, ...]:
        """The pictures of one part."""
        return tuple(p for p, own in zip(self.pictures, self.part, strict=True) if own == part)

    @property
    def fingerprint(self) -> str:
        """sha256 over the sorted (content, label, part): the same for the same data under other names."""
        rows = sorted(zip(self.sha256, (p.label for p in self.pictures), self.part, strict=True))
        return hashlib.sha256("\n".join("\t".join(map(repr, row)) for row in rows).encode()).hexdigest()


def split(checkup: Checkup, *, seed: int = 0, shares: tuple[float, float, float] = (0.6, 0.2, 0.2)) -> Split:
    """Place every readable picture; shares are of train, calibrate, test. DataError names the class without a place."""
    if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise DataError(f"shares of train, calibrate, test are {shares}; they must be above 0 and sum to 1")
    pictures = checkup.pictures
    stated = [p.part for p in pictures]
    given = set(stated) - {None}
    if given and "train" not in given:
        raise DataError(
            f"{checkup.dataset.root}: states {', '.join(sorted(map(str, given)))} but no train; add a train part"
        )
    share_of = dict(zip(PARTS, shares, strict=True))
    wanted = [p for p in PARTS if p == "train" or p not in given]  # the parts that train's pictures go to
    part = [p or "train" for p in stated]
    if len(wanted) > 1:
        rows = np.flatnonzero([p == "train" for p in part])
        total = sum(share_of[p] for p in wanted)
        groups = [pictures[i].group for i in rows]
        placed = _cut(
            [pictures[i].label for i in rows],
            unite(checkup.cluster[rows], groups),
            [checkup.sha256[i] for i in rows],
            groups,
            [(p, share_of[p] / total) for p in wanted],
            seed,
        )
        for row, own in zip(rows, placed, strict=True):
            part[row] = own
    kept = [p for p in PARTS if p in given and p != "train"]
    how = (
        f"{', '.join(wanted)} by hash of the content, or of the group's name, seed {seed}; groups and near duplicates "
        "whole; stratified by class"
    )
    if given:
        how = f"as the data set states it ({', '.join(['train', *kept])})" + (
            f"; {' and '.join(wanted[1:])} cut from train: {how}" if len(wanted) > 1 else ""
        )
    return Split(_with_units(checkup), tuple(part), checkup.sha256, seed, how)


def _with_units(checkup: Checkup) -> tuple[Picture, ...]:
    """The pictures, each with its unit as group: what is tied by sameness is one witness, as a stated group is."""
    unit = unite(checkup.cluster, [p.group for p in checkup.pictures])
    members: dict[int, list[int]] = defaultdict(list)
    for row, number in enumerate(unit.tolist()):
        members[number].append(row)
    pictures = list(checkup.pictures)
    for rows in members.values():
        stated = sorted({p.group for row in rows if (p := pictures[row]).group is not None})
        if len(rows) > 1:
            name = stated[0] if stated else f"alike {min(checkup.sha256[row] for row in rows)[:12]}"
            for row in rows:
                pictures[row] = replace(pictures[row], group=name)
    return tuple(pictures)


def _cut(
    labels: Sequence[str],
    unit: np.ndarray,
    sha256: Sequence[str],
    groups: Sequence[str | None],
    shares: list[tuple[str, float]],
    seed: int,
) -> list[str]:
    """A part name per row; shares: (part, share) that sum to 1. unit: (N,) int64, same number = kept together."""
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row, number in enumerate(unit.tolist()):
        rows_of[number].append(row)
    units = list(rows_of.values())
    marks = [_mark([sha256[row] for row in rows], {groups[row] for row in rows}) for rows in units]
    labels_of = [sorted({labels[row] for row in rows}) for rows in units]
    units_with = Counter(label for own in labels_of for label in own)
    _enough(units_with, Counter(labels), [p for p, _ in shares])
    first_label = [min(own, key=lambda label: (units_with[label], label)) for own in labels_of]
    missing: list[tuple[str, str]] = []
    for attempt in range(ATTEMPTS):
        hashes = [hashlib.sha256(f"{seed} {attempt} {mark}".encode()).digest() for mark in marks]
        strata: dict[str, list[int]] = defaultdict(list)
        for number in sorted(range(len(units)), key=lambda i: hashes[i]):
            strata[first_label[number]].append(number)
        part = [""] * len(labels)
        for numbers in strata.values():
            sizes = np.array([len(units[i]) for i in numbers])
            for i, own in zip(numbers, _parts_in_order(sizes, shares), strict=True):
                for row in units[i]:
                    part[row] = own
        seen = set(zip(labels, part, strict=True))
        missing = [(label, p) for label in units_with for p, _ in shares if (label, p) not in seen]
        if not missing:
            return part
    label, absent = sorted(missing)[0]
    raise DataError(
        f"class {label!r}: no split was found that puts it into {absent}, for its pictures share groups with other "
        "classes; add pictures of other groups, or state the split in the data set"
    )


def _mark(sha256: Sequence[str], groups: set[str | None]) -> str:
    """What a unit is placed by: it stays as long as its groups do, or else its picture of the smallest hash."""
    names = [hashlib.sha256(f"group {name}".encode()).hexdigest() for name in groups if name is not None]
    return min(names or sha256)


def _parts_in_order(sizes: np.ndarray, shares: list[tuple[str, float]]) -> list[str]:
    """Cut a row of units at the shares of pictures; every part gets one where there are enough units."""
    middle = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    ends = np.searchsorted(middle, np.cumsum([share for _, share in shares])[:-1])
    if len(sizes) >= len(shares):  # else a stratum of a rarer label of mixed units; the whole class is looked at after
        for i in range(len(ends)):
            ends[i] = min(max(ends[i], i + 1, ends[i - 1] + 1 if i else 0), len(sizes) - (len(ends) - i))
    bounds = [0, *ends.tolist(), len(sizes)]
    return [part for (part, _), begin, end in zip(shares, bounds, bounds[1:], strict=False) for _ in range(end - begin)]


def _enough(units_with: Counter, pictures_with: Counter, parts: list[str]) -> None:
    for label in sorted(units_with):
        if units_with[label] < len(parts):
            units, pictures = units_with[label], pictures_with[label]
            tied = f" ({pictures} pictures, tied by groups or near duplicates)" if pictures > units else ""
            raise DataError(
                f"class {label!r}: has {units} separate picture{'s' if units > 1 else ''}{tied}; {', '.join(parts)} "
                f"need one each, and dozens to say something; add pictures of it or leave the class out"
            )


def with_names_of(old: Split, now: Split) -> Split:
    """old's rows in old's order, each with the picture that has its content, label and part now: files may have got
    other names since. Both must have one fingerprint."""
    rows = list(zip(old.sha256, (p.label for p in old.pictures), old.part, strict=True))
    here: dict[tuple[str, str, str], list[Picture]] = defaultdict(list)
    for sha256, picture, part in zip(now.sha256, now.pictures, now.part, strict=True):
        here[sha256, picture.label, part].append(picture)
    pictures = [here[row].pop(0) for row in rows]
    return replace(old, pictures=tuple(replace(p, part=part) for p, part in zip(pictures, old.part, strict=True)))


def write_csv(split: Split, path: Path) -> None:
    """One row a picture in the split's order: part,label,name,sha256,group; UTF-8, RFC 4180 quoting."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for part, picture, sha256 in zip(split.part, split.pictures, split.sha256, strict=True):
        writer.writerow((part, picture.label, picture.name, sha256, picture.group or ""))
    whole.write(path, file.getvalue())


def read_csv(path: Path, root: Path | None = None) -> Split:
    """What write_csv wrote; root is the data set's folder, without it paths are the names. DataError names the line."""
    pictures, parts, contents = [], [], []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file, strict=True)
            if (header := tuple(next(reader, ()))) != COLUMNS:
                raise DataError(f"{path}, line 1: has the columns {','.join(header)}; expected {','.join(COLUMNS)}")
            for cells in reader:
                if len(cells) != len(COLUMNS) or cells[0] not in PARTS:
                    raise DataError(f"{path}, up to line {reader.line_num}: {cells} is no row of {','.join(COLUMNS)}")
                part, label, name, sha256, group = cells
                pictures.append(Picture((root or Path()) / name, name, label, part, group or None))
                parts.append(part)
                contents.append(sha256)
    except OSError as error:
        raise DataError(f"{path}: the split can not be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: the split is not a CSV in UTF-8 ({error})") from None
    return Split(tuple(pictures), tuple(parts), tuple(contents), 0, f"as {path.name} lists it")
