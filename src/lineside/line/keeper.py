"""Which parts' pictures are kept, and a thread that keeps them while the line runs.

none      of no part          rejects   of every part that was rejected or held          all   of every part
and of one in `every` of the others.

Nothing here can delay a verdict or a result: what the thread can not take in time is dropped and counted, and so is
what finds no room, because the quota is full of pictures that nobody has acknowledged or because the disk is full. That
is told as an event ("pictures") when it begins and when it is over; the line goes on.
"""

import queue
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from lineside.errors import LineError, SettingsError
from lineside.line.events import HALTED, STOPPED
from lineside.line.said import Said, Say
from lineside.line.source.frame import Frame
from lineside.store.events import write
from lineside.store.open import where, why
from lineside.store.pictures import Content, Folder, open_folder
from lineside.store.png import encode
from lineside.store.records import Event, Inspection

POLICIES = ("none", "rejects", "all")
ROOM, ROOM_BYTES = 64, 128 * 2**20  # pictures that may wait for the disk
RETRY_S = 10.0  # after trouble: how long nothing is tried
SWEEP_S = 60.0  # how often to look for pictures that nobody speaks of any more
BEHIND_S = 60.0  # at most so often it is told that the thread can not follow
SUFFIX = re.compile(r".*\.([A-Za-z0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Policy:
    pictures: Literal["none", "rejects", "all"]
    every: int | None = None  # and of one in so many of the others
    quota_bytes: int = 50 * 10**9

    def __post_init__(self):
        if self.pictures not in POLICIES:
            raise SettingsError(f"pictures: expected one of {', '.join(POLICIES)}, got {self.pictures!r}")
        if (self.every is not None and self.every < 1) or self.quota_bytes < 1:
            raise SettingsError(f"every and quota: expected 1 or more, got {self.every} and {self.quota_bytes}")

    def always(self, verdict: str, reason: str) -> bool:
        """Whether every part with this verdict is kept; what nobody has judged, for the station was halted or stopped,
        is no reject to look at, and a night of it would take the place of those that are."""
        if self.pictures == "rejects":
            return verdict != "accept" and reason not in (HALTED, STOPPED)
        return self.pictures == "all"


@dataclass(frozen=True, slots=True)
class Pictures:
    """Which pictures a line keeps, and where."""

    folder: Path
    policy: Policy


@dataclass(frozen=True, slots=True)
class Kept:
    """What a keeper did in this run."""

    kept: int  # pictures that are in the folder now, those that were there already among them
    dropped: int  # wanted, and not kept: the thread could not follow
    refused: int  # wanted, and not kept: no room, or disk or store did not take them
    bytes: int  # of the whole folder
    trouble: str  # why nothing is kept at the moment; "" if nothing is wrong


def open_keeper(
    pictures: Pictures | None, store: Engine, run_id: str, keys: Sequence[str], say: Say
) -> "Keeper | None":
    """The keeper of a run that keeps pictures. LineError says why the folder can't be used."""
    if pictures is None:
        return None
    folder = open_folder(store, pictures.folder, host=socket.gethostname(), new_id=uuid.uuid4().hex)

    def tell(sentence: str) -> None:
        say(Said("note", sentence, "warning"))

    return Keeper(store, folder, pictures.policy, run_id, keys=keys, say=tell)


class Keeper:
    """Open it when the run is in the store, offer it every inspection, close it after the recorder. Final."""

    def __init__(
        self,
        engine: Engine,
        folder: Folder,
        policy: Policy,
        run_id: str,
        *,
        keys: Sequence[str] = (),
        say: Callable[[str], None] = lambda sentence: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ):
        """keys: of the durable sinks of this run that want events. The folder is closed with the keeper."""
        self._engine, self._folder, self._policy, self._run_id = engine, folder, policy, run_id
        self._keys, self._say, self._now, self._monotonic = keys, say, now, monotonic
        self._queue: queue.SimpleQueue[tuple[str, list[Frame]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = self._waiting_bytes = 0
        self._others = 0  # parts with a picture that the policy does not keep always
        self._kept = self._dropped = self._refused = 0
        self._told_dropped, self._told_at = 0, -BEHIND_S
        self._trouble, self._retry_at = "", 0.0
        self._before = 0  # refused, when the trouble began
        self._swept_at = -SWEEP_S
        self._thread = threading.Thread(target=self._work, name="keeper", daemon=True)
        self._thread.start()

    def offer(self, inspection: Inspection, *frames: Frame) -> Inspection:
        """Keep the part's pictures if the policy wants them; returns the inspection, at once. For one thread."""
        shown = [frame for frame in frames if frame.size_bytes]
        if not shown or not self._wants(inspection):
            return inspection
        size = sum(frame.size_bytes for frame in shown)
        with self._lock:
            if self._waiting and (self._waiting >= ROOM or self._waiting_bytes + size > ROOM_BYTES):
                self._dropped += len(shown)
                return inspection
            self._waiting += 1
            self._waiting_bytes += size
        self._queue.put((inspection.id, shown))
        return inspection

    def close(self, timeout_s: float) -> None:
        """Keep what waits, for at most so long."""
        self._queue.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._say(f"{self._folder.path}: {self._waiting} parts' pictures were not kept within {timeout_s:.0f} s")

    def kept(self) -> Kept:
        """As it is now."""
        return Kept(self._kept, self._dropped, self._refused, self._folder.bytes, self._trouble)

    def _wants(self, inspection: Inspection) -> bool:
        if self._policy.always(inspection.verdict, inspection.reason):
            return True
        self._others += 1
        return self._policy.every is not None and self._others % self._policy.every == 0

    def _work(self) -> None:
        try:
            more = True
            while more:
                try:
                    found = self._queue.get(timeout=SWEEP_S)
                except queue.Empty:
                    self._sweep()
                    continue
                if more := found is not None:
                    self._keep(*found)
                    self._sweep()
                self._tell_behind(last=not more)
        finally:
            self._folder.close()

    def _keep(self, id: str, frames: Sequence[Frame]) -> None:
        for frame in frames:
            if self._trouble and self._monotonic() < self._retry_at:
                self._refused += 1
                continue
            try:
                sentence = self._one(id, frame)
            except Exception as error:  # whatever it was, the line does not care; the next one is tried later
                sentence = self._sentence(error)
            if sentence:
                self._refused += 1
                self._fail(sentence)
            else:
                self._kept += 1
                self._well()
        with self._lock:
            self._waiting -= 1
            self._waiting_bytes -= sum(frame.size_bytes for frame in frames)

    def _one(self, id: str, frame: Frame) -> str:
        """Keep one picture; a sentence where there is no room for it."""
        now = self._now()
        content = _content(frame)
        room = 0 if self._folder.has(content.sha256) else len(content.data)
        if room and not self._folder.make_room(self._policy.quota_bytes, room, now):
            return (
                f"{self._folder.path}: no room for {room:,} bytes more: the quota of {self._policy.quota_bytes:,} bytes"
                " is full of pictures whose results a sink has not acknowledged, or smaller than one picture; look at "
                "the sinks, or give a larger quota"
            )
        self._folder.keep(content, [id], now)
        return ""

    def _sweep(self) -> None:
        if self._monotonic() - self._swept_at < SWEEP_S:
            return
        self._swept_at = self._monotonic()
        try:
            self._folder.sweep()
        except Exception as error:
            self._fail(self._sentence(error))

    def _sentence(self, error: Exception) -> str:
        if isinstance(error, LineError):
            return str(error)
        if isinstance(error, DBAPIError):
            return why(error, where(self._engine))
        said = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        return f"{self._folder.path}: a picture can not be kept ({said}); look at the disk and the folder"

    def _fail(self, sentence: str) -> None:
        if not self._trouble:
            self._before = self._refused - 1
            self._tell({"state": "stopped", "why": sentence})
            self._say(f"{sentence}; pictures are not kept, the line goes on")
        self._trouble, self._retry_at = sentence, self._monotonic() + RETRY_S

    def _well(self) -> None:
        if self._trouble:
            self._trouble = ""
            self._tell({"state": "goes on", "not_kept": self._refused - self._before})
            self._say(f"{self._folder.path}: pictures are kept again; {self._refused - self._before:,} were not")

    def _tell_behind(self, *, last: bool) -> None:
        dropped = self._dropped - self._told_dropped
        if dropped and (last or self._monotonic() - self._told_at >= BEHIND_S):
            self._told_dropped, self._told_at = self._told_dropped + dropped, self._monotonic()
            self._tell({"state": "behind", "not_kept": dropped})
            self._say(
                f"{self._folder.path}: {dropped:,} pictures were not kept, they came faster than the disk takes them"
            )

    def _tell(self, detail: dict[str, Any]) -> None:
        event = Event(uuid.uuid4().hex, self._run_id, self._now(), "pictures", "keeper", str(self._folder.path), detail)
        try:
            with self._engine.begin() as connection:
                write(connection, event, self._keys)
        except DBAPIError as error:  # then the recorder has failed too, and the line stops with that
            self._say(f"{why(error, where(self._engine))}: this is in no event: {detail}")


def _content(frame: Frame) -> Content:
    if frame.data is not None:
        found = SUFFIX.fullmatch(frame.name)
        return Content(frame.sha256(), "file", found[1].lower() if found else "bin", frame.data)
    assert frame.picture is not None  # offer leaves out what has neither
    return Content(frame.sha256(), "pixels", "png", encode(np.ascontiguousarray(frame.picture)))
