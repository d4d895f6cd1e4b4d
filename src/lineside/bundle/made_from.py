"""The split that a bundle was made from: its split.csv."""

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
