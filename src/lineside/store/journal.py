"""The journal: what was decided, in memory that outlives the process, until the store has it.

A verdict leaves before the disk has it (recorder.py), so who kills the process would take with it what waits for its
commit. Therefore every verdict, and every event, is first appended here, to a file in a file system that is memory
(tmpfs): that waits for no disk, as a file beside the store might, and it belongs to the kernel, not to the process. The
next line on the same store takes over what a dead one has left (takeover.py). A power cut takes the journal with it:
what that costs is what the last commit did not have.

One file a run, NAME-RUN.journal: a header, then a record a line, as JSON. Its lock says that its line is alive. What is
committed is dropped by writing the rest to a new file when the old one has grown; at the end an empty journal is
removed, and one that still holds something is left for the next line.
"""

import fcntl
import hashlib
import json
import os
import stat
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import Engine

from lineside.store.open import identity
from lineside.store.outbox import Box
from lineside.store.records import Event, Given, Inspection

FORMAT = 1
GROWN = 2**18  # bytes; so much is written before what is committed is dropped
TIMES = ("decided", "at")
KINDS: Mapping[type[Given] | type[Event], str] = {Given: "given", Event: "event"}
NAMES = {kind: tuple(field.name for field in fields(kind)) for kind in KINDS}


@dataclass(frozen=True, slots=True)
class Left:
    """What a dead line's journal holds."""

    path: Path
    run_id: str
    boxes: tuple[Box, ...]
    records: tuple[Inspection | Event, ...]  # in the order in which they were decided
    torn: int  # lines that can not be read: the last one, if the line died while it wrote


def memory(environment: Mapping[str, str]) -> Path:
    """Where journals are: the service manager's folder for this line, or that of POSIX' shared memory."""
    named = environment.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    shared = Path("/dev/shm")
    return Path(named) if named else shared if shared.is_dir() else Path(tempfile.gettempdir())


class Journal:
    """Of one run: write a record before it is told, drop it when it is stored, close. Used by several threads. Final.

    Where it can not be written, `failed` is told once with a sentence, and the line goes on without it.
    """

    def __init__(
        self, folder: Path, store: Engine, run_id: str, boxes: Sequence[Box], failed: Callable[[str], None]
    ) -> None:
        self._path, self._failed = folder / f"{_name(store)}-{run_id}.journal", failed
        self._header = _line({"format": FORMAT, "run": run_id, "boxes": [asdict(box) for box in boxes]})
        self._open: dict[str, bytes] = {}  # what the store does not have yet, in order
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        try:
            self._file = self._begin(self._path)
        except OSError as error:
            self._fail(error)

    def write(self, record: Given | Event) -> None:
        """Keep it. Takes some microseconds and never waits for a disk."""
        kind = type(record)
        line = _line({KINDS[kind]: {name: getattr(record, name) for name in NAMES[kind]}})
        with self._lock:
            self._open[record.id] = line
            self._append(line)

    def drop(self, records: Iterable[Inspection | Event]) -> None:
        """The store has them."""
        with self._lock:
            for record in records:
                self._open.pop(record.id, None)
            if self._file and self._file.tell() > GROWN + 2 * sum(map(len, self._open.values())):
                try:
                    self._shrink()
                except OSError as error:
                    self._fail(error)

    def close(self) -> str:
        """Remove it, if the store has everything. Else where the rest is kept."""
        with self._lock:
            if self._file is None:
                return ""
            if not self._open:
                self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None
            return str(self._path) if self._open else ""

    def _begin(self, path: Path) -> BinaryIO:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_APPEND, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            begun = os.fdopen(file, "ab", buffering=0)
        except OSError:
            os.close(file)
            raise
        begun.write(self._header)
        return begun

    def _append(self, line: bytes) -> None:
        if self._file is None:
            return
        try:
            if self._file.write(line) != len(line):
                raise OSError("no space left there")
        except OSError as error:
            self._fail(error)

    def _shrink(self) -> None:
        new = self._path.with_suffix(".new")
        file = self._begin(new)
        try:
            file.write(b"".join(self._open.values()))
            os.rename(new, self._path)
        except OSError:
            file.close()
            new.unlink(missing_ok=True)
            raise
        if self._file:
            self._file.close()
        self._file = file

    def _fail(self, error: OSError) -> None:
        if self._file:
            self._file.close()
            self._file = None
        self._failed(
            f"{self._path}: the journal can not be written ({error.strerror or error}): if the line were killed, its "
            "last results would be missing in the store; look at the space and permissions there"
        )


def left(folder: Path, store: Engine) -> Iterator[Left]:
    """What dead lines on this store have left in this folder. What somebody else has put there is not touched.

    Each is held until the next is asked for: another line that starts at the same time does not get it.
    """
    for path in sorted(folder.glob(f"{_name(store)}-*.journal")):
        if file := _claimed(path):
            with file:
                yield _read(path, file)


def remove(one: Left) -> None:
    """The store has all of it."""
    one.path.with_suffix(".new").unlink(missing_ok=True)
    one.path.unlink(missing_ok=True)


def _claimed(path: Path) -> BinaryIO | None:
    """The open file, if it is ours and its line is dead."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    file = os.fdopen(descriptor, "rb")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_it, there = os.fstat(descriptor), os.stat(path, follow_symlinks=False)
        ours = stat.S_ISREG(is_it.st_mode) and is_it.st_uid == os.geteuid() and not is_it.st_mode & 0o022
        if ours and (is_it.st_dev, is_it.st_ino) == (there.st_dev, there.st_ino):  # not one that was shrunk meanwhile
            return file
    except OSError:
        pass  # its line is alive, or another one has just taken it over
    file.close()
    return None


def _read(path: Path, file: BinaryIO) -> Left:
    run_id, boxes, torn = "", (), 0
    records: list[Inspection | Event] = []
    for number, line in enumerate(file):
        try:
            said = json.loads(line) if line.endswith(b"\n") else {}
            if number == 0:
                run_id, boxes = said["run"], tuple(Box(**box) for box in said["boxes"])
            else:
                records.append(_record(said))
        except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
            torn += 1
    return Left(path, run_id, boxes, tuple(records), torn)


def _record(said: Any) -> Inspection | Event:
    ((said_kind, values),) = said.items()
    kind = next(kind for kind, name in KINDS.items() if name == said_kind)
    times = {name: datetime.fromisoformat(values[name]) for name in TIMES if name in values}
    found = kind(**values | times)
    return found.inspection() if isinstance(found, Given) else found


def _line(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said, separators=(",", ":"), default=datetime.isoformat).encode() + b"\n"


def _name(store: Engine) -> str:
    return f"lineside-{hashlib.sha256(identity(store).encode()).hexdigest()[:16]}"
