"""watch:PATH, the pictures that come into a folder from now on: cameras and programs that deliver files.

A file is a part as soon as it is whole. PNG, JPEG and WebP say themselves where they end, so a file that is renamed
into the folder is taken at once, and one that is still being written is not; other formats are taken when they have
not changed for SETTLE_S. What is not whole timeout_s after its last change is a part without a picture, and so is
what is gone before it could be read. A file that is written anew under its old name is a new part, and the one before
keeps its own picture: what was read to see that a file is whole waits for the line, up to HELD_BYTES of all that wait.
Above that a file is read at its turn, and is a part without a picture where another lies there by then.

Files that are there at the start are no parts: folder:PATH plays those. The system wakes us for each change
(watchfiles), and every RESCAN_S the whole folder is looked through, as such messages may be lost.
"""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lineside.bundle.folder import Bundle
from lineside.data.picture import HEAD_BYTES, open_picture, sniff
from lineside.data.read import PICTURE_EXTENSIONS
from lineside.errors import LineError, MissingExtra, PictureError
from lineside.line.source.folder import Identity, frame_of, identity, names_in, read_file
from lineside.line.source.frame import MAX_FILE_BYTES, Counts, Fate, Frame, Source
from lineside.line.source.learnt import known_to
from lineside.line.source.settings import Camera, refuse, with_tail

SETTLE_S = 0.3
RESCAN_S = 2.0
WAKE_MS = 50
HELD_BYTES = MAX_FILE_BYTES  # of files that wait for the line


@dataclass(frozen=True, slots=True)
class _Whole:
    name: str
    fate: Fate
    error: str
    seen_ns: int
    identity: Identity | None
    data: bytes | None  # None: to be read at its turn, unless error says that there is nothing to read


def connect(url: str, where: str, bundle: Bundle, camera: Camera) -> Source:
    address, camera = with_tail(url, where, camera)
    refuse(f"watch:{address}", camera, "a watched folder", ("timeout_s",))
    try:
        from watchfiles import watch
    except ImportError:
        raise MissingExtra(url, "watchfiles", "watch") from None
    root = Path(address)
    names, _ = names_in(root)
    watcher = _Watcher(root, names, camera.timeout_s, watch, time.monotonic_ns)
    classes, known = frozenset(bundle.manifest.classes), known_to(bundle)

    def frames() -> Iterator[Frame]:
        for sequence, whole in enumerate(watcher.wholes(), 1):
            data, error = whole.data, whole.error
            if data is None and not error:
                data, error = read_file(root / whole.name, whole.identity)
            frame = frame_of(whole.name, sequence, data, error, classes, known, whole.seen_ns)
            watcher.counts.add("lost" if frame.error and whole.fate == "delivered" else whole.fate)
            yield frame

    notes = (f"watch:{address}: what comes into {root} from now on; {len(names)} pictures that are there are no parts",)
    return Source(f"watch:{address}", frames(), None, notes, watcher.close, watcher.counts, "free")


class _Watcher:
    """The thread that looks at the folder, and its queue of whole files. Final."""

    def __init__(
        self, root: Path, names: list[str], timeout_s: float, watch: Callable[..., Any], now_ns: Callable[[], int]
    ):
        self._root, self._timeout_s, self._watch, self._now_ns = root, timeout_s, watch, now_ns
        self._done: dict[str, Identity | None] = {name: _identity(root / name) for name in names}
        self._open: dict[str, tuple[Identity | None, int]] = {}  # not whole yet: as it was, and since when
        self._queue: queue.SimpleQueue[_Whole | LineError | None] = queue.SimpleQueue()
        self._held = self._handed = 0  # bytes: put into the queue, by the thread that looks; taken out, by the line's
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self.counts = Counts()

    def wholes(self) -> Iterator[_Whole]:
        if self._closing.is_set():
            return
        self._thread = threading.Thread(target=self._run, name=f"watch {self._root}", daemon=True)
        self._thread.start()
        while (item := self._queue.get()) is not None:
            if isinstance(item, LineError):
                raise item
            self._handed += len(item.data or b"")
            yield item

    def close(self) -> None:
        self._closing.set()
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(5)

    def _run(self) -> None:
        scanned_ns = 0
        try:
            changes = self._watch(
                self._root,
                watch_filter=None,
                debounce=WAKE_MS,
                step=5,
                rust_timeout=WAKE_MS,
                yield_on_timeout=True,
                stop_event=self._closing,
                raise_interrupt=False,
            )
            for batch in changes:
                now = self._now_ns()
                names = {os.path.relpath(path, self._root.absolute()) for _, path in batch}
                if now - scanned_ns > RESCAN_S * 1e9:
                    scanned_ns = now
                    names.update(names_in(self._root)[0])
                new = {os.path.relpath(path, self._root.absolute()) for change, path in batch if change.name == "added"}
                self._look(sorted(name for name in names if _is_picture(name)), new, now)
        except LineError as error:
            self._queue.put(error)
        except Exception as error:  # the folder is gone, or the system has no more watches to give
            self._queue.put(LineError(f"watch:{self._root}: can not be watched any more: {error}"))

    def _look(self, names: list[str], new: set[str], now: int) -> None:
        """names: those that may have changed; new: those that were not there before, though they may be gone again."""
        for name in names:
            found = _identity(self._root / name)
            if found == self._done.get(name) and (found is not None or name not in new):
                continue
            if name not in self._open or self._open[name][0] != found:
                self._open[name] = (found, now)
        for name, (found, since_ns) in sorted(self._open.items(), key=lambda item: (item[1][1], item[0])):
            if _identity(self._root / name) != found:  # it is still being written: the clock starts anew
                self._open[name] = (_identity(self._root / name), now)
                continue
            still_s = (now - since_ns) / 1e9
            if found is None:
                if name in self._done:  # taken, and removed by whoever tidies up
                    self._forget(name)
                else:
                    self._take(name, None, "lost", "was gone before it was whole", now)
                continue
            whole, data = self._read(name, found, still_s)
            if whole:
                self._take(name, found, "delivered", "", now, data)
            elif still_s > self._timeout_s:
                what = f"is not whole {self._timeout_s:g} s after its last change (timeout_s)"
                self._take(name, found, "incomplete", what, now)

    def _take(
        self, name: str, found: Identity | None, fate: Fate, error: str, now: int, data: bytes | None = None
    ) -> None:
        self._forget(name)
        if found is not None:
            self._done[name] = found
        if data is not None and self._held - self._handed + len(data) > HELD_BYTES:
            data = None
        self._held += len(data or b"")
        self._queue.put(_Whole(name, fate, f"{self._root / name}: {error}" if error else "", now, found, data))

    def _forget(self, name: str) -> None:
        self._open.pop(name, None)
        self._done.pop(name, None)

    def _read(self, name: str, found: Identity, still_s: float) -> tuple[bool, bytes | None]:
        """Whether it is whole, and its bytes where that took reading them."""
        path = self._root / name
        if not path.is_file() or found[1] > MAX_FILE_BYTES:
            return True, None  # its reader says what is wrong with it
        data, _ = read_file(path, found)
        if data is None:  # it may not be read; or it is another by now, which is looked at the next time
            return still_s > SETTLE_S and _identity(path) == found, None
        return _ends(data, name, still_s), data


def _ends(data: bytes, name: str, still_s: float) -> bool:
    """Whether a file that has not changed for still_s is whole."""
    form = sniff(data[:HEAD_BYTES])
    if form is None:
        return False
    if form == "JPEG":
        return data.rstrip(b"\0").endswith(b"\xff\xd9")
    if form in ("PNG", "WEBP"):
        try:
            open_picture(data, name)
        except PictureError as error:
            return error.code not in ("truncated", "corrupt")
        return True
    return still_s > SETTLE_S


def _identity(path: Path) -> Identity | None:
    try:
        return identity(path.stat())
    except OSError:
        return None


def _is_picture(name: str) -> bool:
    hidden = any(part.startswith(".") for part in name.split(os.sep))
    return not hidden and os.path.splitext(name)[1].lower() in PICTURE_EXTENSIONS
