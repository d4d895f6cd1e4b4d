"""Which pictures a bundle has already seen: what it does with those says nothing about what it can do."""

import csv
import io

from lineside.bundle.folder import Bundle
from lineside.errors import LineError


def learnt_by(bundle: Bundle) -> frozenset[str]:
    """The sha256 of every picture that made the bundle what it is: train and calibrate of its split.csv."""
    if "split.csv" not in bundle.names:
        raise LineError(
            f"{bundle.path}: holds no split.csv, so nobody can tell which pictures it has learnt; train it again"
        )
    rows = csv.DictReader(io.StringIO(bundle.read("split.csv").decode(), newline=""))
    return frozenset(row["sha256"] for row in rows if row["part"] != "test")
