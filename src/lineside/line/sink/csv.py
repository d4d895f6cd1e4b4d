"""csv:PATH, one row per result, appended: RFC 4180 (comma, CRLF, quotes doubled), UTF-8, one header.

An existing file goes on if its header is ours and its last row is whole. Each group is one write at the end of the
file; a lock keeps a second line out. Numbers have a point, times are UTC, scores and views are JSON in one field,
unknown is empty.

A text that begins with = + - @ or a tab gets an apostrophe in front: a spreadsheet would run it as a formula, and part
ids and file names come from outside (OWASP, "CSV injection"). The store and stdout: hold every text as it is.
"""

import csv
import fcntl
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lineside.bundle.folder import outside
from lineside.errors import LineError
from lineside.line.sink.plant import Plant
from lineside.line.sink.sink import COLUMNS, Sink, written
from lineside.store.records import Inspection

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def connect(url: str, where: str, bundle: Path | None, plant: Plant) -> Sink:
    file = _open(url, where, bundle, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    try:
        _claim(file, url)
        if _needs_header(file, url):
            _write(file, line(COLUMNS), url)
    except LineError:
        os.close(file)
        raise

    def tell(group: Sequence[Inspection]) -> None:
        _write(file, b"".join(line([field(value) for value in written(one).values()]) for one in group), url)

    return Sink(url, tell, lambda: os.close(file))


def probe(url: str, where: str, bundle: Path | None) -> str:
    """Whether rows can be appended there; nothing is made or written."""
    if not os.path.lexists(where):
        folder = os.path.dirname(where) or "."
        if not os.access(folder, os.W_OK | os.X_OK):
            raise LineError(f"{url}: the folder {folder} is not there, or not ours to write; name a writable folder")
        if bundle:
            outside(bundle, where)
        return "a new file"
    file = _open(url, where, bundle, os.O_RDWR | os.O_APPEND)
    try:
        _claim(file, url)
        _needs_header(file, url)
        return f"goes on with a file of {os.fstat(file).st_size:,} bytes"
    finally:
        os.close(file)


def _open(url: str, where: str, bundle: Path | None, flags: int) -> int:
    if bundle:
        outside(bundle, where)
    try:
        return os.open(where, flags, 0o644)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        why = getattr(error, "strerror", None) or error
        raise LineError(f"{url}: can not be opened ({why}); name a file in a writable folder") from None


def line(values: Sequence[Any]) -> bytes:
    """One record of RFC 4180, with its line end."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(values)
    return text.getvalue().encode()


def field(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, allow_nan=False)
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _claim(file: int, url: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LineError(f"{url}: another line writes to this file; give each line its own") from None
    except OSError:
        pass  # a file system without locks (or a pipe): nothing to claim


def _needs_header(file: int, url: str) -> bool:
    size, header = os.fstat(file).st_size, line(COLUMNS)
    if size == 0:
        return True
    if os.pread(file, len(header), 0) != header:
        raise LineError(
            f"{url}: has another header than Lineside's results; name a new file (older versions wrote fewer columns)"
        )
    if os.pread(file, 2, size - 2) != b"\r\n":
        raise LineError(
            f"{url}: ends in the middle of a row, as a killed program or a full disk leaves it; the store has the "
            "whole result: finish or remove that row, or name a new file"
        )
    return False


def _write(file: int, data: bytes, url: str) -> None:
    while data:
        try:
            data = data[os.write(file, data) :]
        except OSError as error:
            raise LineError(
                f"{url}: can not be written ({error.strerror}); the results are in the store; free space, or name "
                "another file"
            ) from None
