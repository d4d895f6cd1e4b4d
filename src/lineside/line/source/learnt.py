"""Which pictures a bundle has already seen: what it does with those says nothing about what it can do."""

from lineside.bundle.folder import Bundle
from lineside.bundle.made_from import SPLIT, split_of
from lineside.errors import LineError


def learnt_by(bundle: Bundle) -> frozenset[str]:
    """The sha256 of every picture that made the bundle what it is: train and calibrate of its split.csv."""
    if SPLIT not in bundle.names:
        raise LineError(
            f"{bundle.path}: holds no {SPLIT}, so nobody can tell which pictures it has learnt; train it again"
        )
    split = split_of(bundle)
    return frozenset(sha256 for sha256, part in zip(split.sha256, split.part, strict=True) if part != "test")
