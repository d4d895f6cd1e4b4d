"""Which pictures a bundle has already seen: what it does with those says nothing about what it can do. And which of its
test pictures are tied: they are one witness together.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lineside.bundle.folder import Bundle
from lineside.bundle.made_from import SPLIT, split_of
from lineside.errors import LineError


@dataclass(frozen=True)
class Known:
    learnt: frozenset[str]  # the sha256 of every picture that made the bundle what it is: train and calibrate
    lots: Mapping[str, str]  # by sha256, of test pictures that come in lots or as near duplicates: which


def known_to(bundle: Bundle) -> Known:
    """What the bundle's split.csv says of pictures, by content. LineError where it has none."""
    if SPLIT not in bundle.names:
        raise LineError(
            f"{bundle.path}: holds no {SPLIT}, so nobody can tell which pictures it has learnt; train it again"
        )
    split = split_of(bundle)
    rows = list(zip(split.pictures, split.sha256, split.part, strict=True))
    return Known(
        frozenset(sha256 for _, sha256, part in rows if part != "test"),
        {sha256: picture.group for picture, sha256, part in rows if part == "test" and picture.group},
    )
