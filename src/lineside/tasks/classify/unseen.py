"""Which pictures of a data set a bundle may be tested on: those that nothing in it was decided by.

Content decides, by the sha256 of the file's bytes that split.csv lists, not names or folders. What training saw is left
out and counted, what calibrate saw too; everything else is test. A near duplicate of a left-out picture, and a picture
of its lot, is left out with it, unless split.csv itself says that it is test (the split looked at both then). Not
caught: a picture of the training data that was saved again in another format, where the data set at hand does not hold
the original.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lineside.data.doctor import Checkup
from lineside.data.split import Split
from lineside.data.union import unite
from lineside.errors import DataError

NOT_ABOUT_A_TEST = ("one-class", "class-not-in-train")  # errors of data that is to be trained on, not measured


@dataclass(frozen=True)
class Unseen:
    """Rows of a check-up that are test, and how many are not."""

    rows: np.ndarray  # (N,) into checkup.pictures
    groups: np.ndarray | None  # (N,) same number = tied (lot, or nearly the same picture); None where nothing is tied
    trained_on: int
    calibrated_on: int
    nearly_seen: tuple[str, ...]  # names left out as near duplicates of those, or as parts of their lots
    new: int  # test pictures that the bundle's split does not list


def unseen(checkup: Checkup, split: Split, classes: Sequence[str]) -> Unseen:
    """The test pictures of a checked data set. DataError: errors in the data, a class the bundle lacks, none left."""
    where = checkup.dataset.root
    if errors := [f for f in checkup.errors if f.code not in NOT_ABOUT_A_TEST]:
        raise DataError(
            f"{where}: {len(errors)} errors, so a number measured on it would not be true; first: {errors[0].message}. "
            f"See all with: lineside check {where}; leave pictures out with --quarantine"
        )
    if unknown := sorted({p.label for p in checkup.pictures} - set(classes)):
        count = sum(p.label in unknown for p in checkup.pictures)
        raise DataError(
            f"{where}: {count} pictures have a class that the bundle does not know: {', '.join(map(repr, unknown))}; "
            f"it knows {', '.join(map(repr, classes))}. Rename the class or leave its pictures out"
        )
    seen = dict(zip(split.sha256, split.part, strict=True))
    part = [seen.get(sha) for sha in checkup.sha256]
    trained_on, calibrated_on = part.count("train"), part.count("calibrate")
    unit = unite(checkup.cluster, [p.group for p in checkup.pictures])
    touched = {int(u) for u, own in zip(unit, part, strict=True) if own in ("train", "calibrate")}
    near = [own is None and int(u) in touched for u, own in zip(unit, part, strict=True)]
    rows = np.array([i for i, own in enumerate(part) if own in (None, "test") and not near[i]], np.int64)
    nearly_seen = tuple(p.name for p, is_near in zip(checkup.pictures, near, strict=True) if is_near)
    if not len(rows):
        raise DataError(
            f"{where}: none of its {len(checkup.pictures)} pictures is new to the bundle: {trained_on} trained it, "
            f"{calibrated_on} calibrated it, {len(nearly_seen)} are nearly the same as those; measured on them every "
            "number would be too good. Give pictures that it has not seen"
        )
    units = unite(checkup.cluster[rows], [checkup.pictures[i].group for i in rows])
    tied = units if len(np.unique(units)) < len(rows) else None
    return Unseen(rows, tied, trained_on, calibrated_on, nearly_seen, sum(part[i] is None for i in rows))
