"""The folder of one training run, beside its bundle: what was asked, what was decided, how far it got.

asked.json      the recipe and flags as the user gave them: the run's identity
decided.json    the recipe with every "auto" decided, and why; the data as it was found
split.csv       which picture went to train, calibrate, test
history.jsonl   one row an epoch; events/ holds the same for TensorBoard
cache/          features below the frozen stage, memory-mapped; safe to delete when the run has ended
checkpoint.safetensors   where training stands; the same `lineside train` again goes on from here
ended.json      how it ended, and the seconds of each step; absent while the run can go on
"""

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lineside.errors import SettingsError, TrainError
from lineside.learn.recipe import Recipe
from lineside.settings import plain, read_json


@dataclass(frozen=True)
class Decided:
    """A run with nothing left to decide."""

    recipe: Recipe
    why: tuple[str, ...]  # a sentence for each "auto"
    root: str  # folder that the names in split.csv are relative to
    data_sha256: str  # the split's fingerprint
    seen_width_px: tuple[int, int]  # smallest and largest
    seen_height_px: tuple[int, int]


@dataclass(frozen=True)
class RunFolder:
    path: Path

    @property
    def split(self) -> Path:
        return self.path / "split.csv"

    @property
    def cache(self) -> Path:
        return self.path / "cache"

    @property
    def events(self) -> Path:
        return self.path / "events"

    @property
    def history(self) -> Path:
        return self.path / "history.jsonl"

    def decided(self) -> Decided | None:
        """What an earlier start of this run decided; None if it did not come that far."""
        where = self.path / "decided.json"
        return read_json(Decided, where.read_bytes(), str(where)) if where.is_file() else None

    def decide(self, decided: Decided) -> None:
        """Keep the decisions, so that a resumed run makes none anew."""
        _write(self.path / "decided.json", plain(decided))

    def end(self, facts: dict[str, Any]) -> None:
        """The run is over and its bundle written."""
        _write(self.path / "ended.json", facts)


def beside(bundle: Path) -> RunFolder:
    """The run folder of a bundle. SettingsError: the path has no name that one could stand beside ("." or "/")."""
    if not bundle.name:
        raise SettingsError(f"-o {bundle}: names no new folder; give the bundle a name, such as -o parts.bundle")
    return RunFolder(bundle.with_name(bundle.name + ".run"))


def open_run(bundle: Path, asked: dict[str, Any]) -> RunFolder:
    """The bundle's run folder: the unfinished run of the same flags to go on with, or an empty one in its place.

    TrainError: the place can not be written, or holds something that is no run folder.
    """
    folder = beside(bundle)
    identity = folder.path / "asked.json"
    text = _text(asked)
    try:
        if folder.path.exists() and not identity.is_file() and any(folder.path.iterdir()):
            raise TrainError(
                f"{folder.path}: exists and is no run folder of Lineside; choose another -o, or move it away"
            )
        if identity.is_file() and (identity.read_text() != text or (folder.path / "ended.json").exists()):
            _put_aside(folder)
        for part in (folder.path, folder.cache, folder.events):
            part.mkdir(parents=True, exist_ok=True)
        (folder.path / "README.txt").write_text(__doc__ or "")
        identity.write_text(text)
    except OSError as error:
        raise TrainError(f"{folder.path}: can not be written ({error.strerror}); choose another -o") from None
    return folder


@contextmanager
def alone(bundle: Path) -> Iterator[None]:
    """One training at a time for a bundle: two in one run folder would write each other's checkpoints and decisions.

    TrainError where another process is at it. A killed one leaves an empty file and no lock.
    """
    folder = beside(bundle).path
    lock = folder.with_name(f".{folder.name}.lock")
    busy = TrainError(f"{folder}: another process is training there; wait until it has ended, or choose another -o")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    except OSError as error:
        raise TrainError(f"{folder}: can not be written ({error.strerror}); choose another -o") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise busy from None  # else a network file system without locks
        if not lock.exists() or not os.path.samestat(os.fstat(file.fileno()), lock.stat()):
            raise busy  # it was just ended, and the file taken away, while we opened it
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _put_aside(folder: RunFolder) -> None:
    """Make room for another run: an ended one goes; an unfinished one stays, as BUNDLE.run.old."""
    old = folder.path.with_name(folder.path.name + ".old")
    if not (folder.path / "ended.json").exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.path.rename(old)
        return
    gone = folder.path.with_name(folder.path.name + ".gone")  # renamed first: a kill leaves no half of a run folder
    shutil.rmtree(gone, ignore_errors=True)
    folder.path.rename(gone)
    shutil.rmtree(gone)


def _text(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _write(path: Path, value: Any) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(_text(value))
    partial.replace(path)
