"""What one picture file is, from one decoding: the rows the check-up thinks over.

Many files at once in worker processes: decoding is all the work, so it is spread over cores. Workers are spawned, not
forked (a fork would copy the locks of whatever threads run), ignore Ctrl-C (the parent tells them) and get file names
in small batches, so memory does not grow with the data set. A spawned process imports the main module, so a program
that comes here has its commands below `if __name__ == "__main__":`.
"""

import hashlib
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from PIL import Image

from lineside.data import picture
from lineside.errors import DataError, PictureError

THUMB_PX = 32  # side of the grey thumbnail that near duplicates are judged by
BATCH = 64  # files a worker takes at once
GUARD = (
    "in a Python program of your own the reason is another: each process imports it, so it must be a file, with its "
    'commands below `if __name__ == "__main__":`'
)
IN_PROCESS = 400  # up to this many pictures, starting workers costs more time than it saves


@dataclass(frozen=True, slots=True)
class Facts:
    """One readable picture."""

    sha256: str  # of the file's bytes, hex
    pixels: bytes  # (16) digest of the decoded RGB pixels and their size: the same for the same picture
    width: int
    height: int
    form: str  # "JPEG", "PNG", ...: by content
    marks: tuple[str, ...]  # codes of findings about this file alone: "16-bit", "alpha", ...
    thumb: bytes  # (THUMB_PX · THUMB_PX) uint8 grey, row by row


@dataclass(frozen=True, slots=True)
class Refusal:
    """One file that is no usable picture."""

    code: str
    message: str


def facts(data: bytes, name: str) -> Facts:
    """Decode a file's bytes once and say what it is; PictureError where it can not be used."""
    image = picture.open_picture(data, name)
    form = "JPEG" if image.format == "MPO" else image.format or ""
    marks = [code for code, holds in _marks(image, data, name, form) if holds]
    upright = picture.rgb(image, name)
    pixels = hashlib.sha256(b"%d %d " % upright.size)
    pixels.update(upright.tobytes())
    thumb = np.asarray(upright.convert("L").resize((THUMB_PX, THUMB_PX), Image.Resampling.BILINEAR))
    if int(thumb.max()) - int(thumb.min()) <= 2:
        marks.append("blank")
    if picture.is_see_through(image):
        marks.append("alpha")
    return Facts(
        hashlib.sha256(data).hexdigest(), pixels.digest()[:16], *upright.size, form, tuple(marks), thumb.tobytes()
    )


def _marks(image, data: bytes, name: str, form: str) -> Iterator[tuple[str, bool]]:
    # Before loading: Pillow turns a TIFF while it loads it and then forgets the tag.
    extension = os.path.splitext(name)[1].lower()
    yield "wrong-extension", extension not in picture.EXTENSIONS[form]
    yield "16-bit", picture.is_16_bit(image, data)
    yield "cmyk", image.mode == "CMYK"
    yield "exif-rotated", picture.orientation(image) != 1


def examine(path: str, name: str) -> Facts | Refusal:
    """The facts of one file, or why it has none."""
    try:
        return facts(picture.read_bytes(path, name), name)
    except PictureError as error:
        return Refusal(error.code, str(error))


def examine_all(files: Sequence[tuple[str, str]], workers: int | None = None) -> Iterator[Facts | Refusal]:
    """examine for every (path, name), in their order; workers: processes, by default one a core."""
    workers = workers or os.cpu_count() or 1
    if workers == 1 or len(files) <= IN_PROCESS:
        for path, name in files:
            yield examine(path, name)
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_ignore_ctrl_c)
    waiting: deque[Future[list[Facts | Refusal]]] = deque()
    begun, back = 0, False
    try:
        for begun in range(0, len(files), BATCH):
            with _deaf_from_birth():
                waiting.append(pool.submit(_examine_batch, files[begun : begun + BATCH]))
            if len(waiting) > 4 * workers:
                yield from waiting.popleft().result()
                back = True
        while waiting:
            yield from waiting.popleft().result()
            back = True
    except BrokenProcessPool:
        raise DataError(
            f"a process that decodes pictures died near {files[begun][1]!r}: out of memory, or a file breaks the "
            "decoder; check with --workers 1 to see which" + ("" if back else f"; {GUARD}")
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _examine_batch(batch: Sequence[tuple[str, str]]) -> list[Facts | Refusal]:
    return [examine(path, name) for path, name in batch]


@contextmanager
def _deaf_from_birth() -> Iterator[None]:
    """Processes started in here never hear Ctrl-C, not even while they import; for this one it waits till the end.

    The mask is what they inherit. Here another thread may still be handed the signal, so the handler waits, too.
    """
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
        if heard:
            signal.raise_signal(signal.SIGINT)


def _ignore_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
