"""The split that a bundle was made from: its split.csv."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from lineside.bundle.folder import Bundle
from lineside.bundle.manifest import AGAIN
from lineside.data.split import Split, read_csv
from lineside.errors import BundleError, DataError

SPLIT = "split.csv"


def split_of(bundle: Bundle, root: Path | None = None) -> Split:
    """split.csv of an open bundle; root is the data set's folder, without it paths are the names."""
    with TemporaryDirectory(prefix="lineside-") as folder:  # read_csv reads files; in a .zip there is none
        path = Path(folder) / SPLIT
        path.write_bytes(bundle.read(SPLIT))
        try:
            return read_csv(path, root)
        except DataError as error:
            raise BundleError(f"{str(error).replace(str(path), f'{bundle.path}: {SPLIT}')}; {AGAIN}") from None


def groups_of(names: Sequence[str], split: Split) -> tuple[str | None, ...] | None:
    """The lot, or tie of near duplicates, of each of these calibrate pictures; None where nothing is tied."""
    group_of = {p.name: p.group for p in split.of("calibrate")}
    groups = tuple(group_of.get(name) for name in names)
    return None if all(g is None for g in groups) else groups
