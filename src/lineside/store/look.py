"""What is where the store is to be, without making, changing or upgrading anything: for `lineside run --check`."""

import os
import sqlite3
from pathlib import Path

from lineside.errors import LineError
from lineside.store.open import APPLICATION_ID, is_url, why
from lineside.store.tables import VERSION

TIMEOUT_S = 5.0


def look(place: Path | str) -> str:
    """A sentence of what was found. LineError, SettingsError or MissingExtra where no store can be there."""
    if is_url(place):
        from lineside.store.postgresql import version_at

        name, version = version_at(str(place))
        return _of_version(name, version, "a database without Lineside's tables; they are made")
    path = Path(place)
    if not path.parent.is_dir():
        raise LineError(f"{path}: the folder {path.parent} does not exist; make it, or name another file")
    if not path.exists():
        _writable(path.parent)
        return "no store yet; it is made at the first start"
    _writable(path.parent)
    _writable(path)
    try:
        with path.open("rb") as file:
            if file.read(16) not in (b"", b"SQLite format 3\0"):
                raise LineError(why(LineError("file is not a database"), path))
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=TIMEOUT_S)
        try:
            (ours,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
        finally:
            connection.close()
    except OSError as error:
        raise LineError(f"{path}: can not be read ({error.strerror}); name another file") from None
    except sqlite3.Error as error:
        raise LineError(why(error, path)) from None
    if ours not in (0, APPLICATION_ID) or (ours == 0 and version):
        raise LineError(f"{path}: this SQLite file belongs to another program; name another file")
    return _of_version(str(path), version, "an empty file; the tables are made")


def _of_version(place: str, version: int, none: str) -> str:
    if version > VERSION:
        raise LineError(
            f"{place}: the store has version {version}, this program knows {VERSION}; update it with: "
            "pip install --upgrade lineside"
        )
    if version == VERSION:
        return f"a store of version {version}, as this program's"
    return f"a store of version {version}; it is brought to {VERSION}" if version else f"{none} at the first start"


def _writable(path: Path) -> None:
    if not os.access(path, os.W_OK | (os.X_OK if path.is_dir() else 0)):
        raise LineError(f"{path}: can not be written by this user; name another file or folder")
