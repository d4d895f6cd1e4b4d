"""A frame: what a source hands over for one part, with or without a picture; and a source: frames, one after another.

A source never leaves a part out. What could not be acquired is a frame with an error, and the line rejects it.
Sources are iterators, and `trigger` says what asking for the next frame means:

recorded   nothing happens: the line asks ahead (while the engine works on the part before), so that reading a file
           costs the part no time. `captured_ns` is None until the line lets the frame in.
software   it is the trigger. The line asks when the part is there, and when it has room.
free, hardware   the frames come when they come; asking waits for the next one.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Literal, Protocol

import numpy as np

from lineside.line.said import Say

MAX_FILE_BYTES = 256 * 2**20  # a picture file above this is refused unread: it would not leave memory for the line


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One part's picture: `data` (the bytes of a file) or `picture` (pixels), or neither and an `error`."""

    part_id: str
    sequence: int  # 1, 2, 3, … within the run
    name: str  # where the picture comes from: a file relative to the folder, "/"-separated
    data: bytes | None = None
    picture: np.ndarray | None = None  # (H, W, 3) uint8 RGB
    error: str = ""  # why there is neither
    truth: str | None = None  # the class it really is, where the source knows
    captured_ns: int | None = None  # the line's monotonic clock, where the source can tell; None: now
    camera_ns: int | None = None  # the camera's own clock, where it has one: for order and intervals, not for the time
    digest: str = ""  # what sha256() says, where the source knows it already
    learnt: bool = False  # the bundle was trained or calibrated on this very picture: it proves nothing
    lot: str = ""  # pictures of one lot, or nearly the same, are one witness together; "": stands alone
    again: bool = False  # one more exposure of a part that came before in this run: no independent witness

    @property
    def size_bytes(self) -> int:
        return len(self.data) if self.data is not None else self.picture.nbytes if self.picture is not None else 0

    def sha256(self) -> str:
        """Of the file's bytes, or of the pixels in row order; "" where there is neither. About 1 ms per megapixel."""
        if self.digest:
            return self.digest
        content = self.data if self.data is not None else self.picture
        if content is None:
            return ""
        return hashlib.sha256(content if isinstance(content, bytes) else np.ascontiguousarray(content).data).hexdigest()


Fate = Literal["delivered", "lost", "incomplete", "skipped"]


@dataclass(slots=True)
class Counts:
    """What became of the parts. Every frame that is handed over is exactly one of the first four; late and reconnects
    are counted beside them. Grows while the line runs; only the source writes it."""

    delivered: int = 0  # with a picture, or the bytes of one
    lost: int = 0  # no picture: it never arrived, nobody could read it, or the camera was away
    incomplete: int = 0  # a part of the picture is missing: packets were lost, or a file was cut short
    skipped: int = 0  # it arrived, and neither the driver nor the line had room for it
    late: int = 0  # long after its trigger
    reconnects: int = 0

    def add(self, fate: Fate) -> None:
        setattr(self, fate, getattr(self, fate) + 1)

    @property
    def frames(self) -> int:
        return self.delivered + self.lost + self.incomplete + self.skipped

    def by_name(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Source:
    """Frames, and what belongs to them. close may be called by any thread, and twice: frames ends at once, and what
    the source holds (a camera) is free again when close returns."""

    url: str  # as the user wrote it, without passwords
    frames: Iterator[Frame]
    total: int | None  # how many frames there are; None: no end
    notes: tuple[str, ...] = ()  # what the user should know before the first part
    close: Callable[[], None] = lambda: None
    counts: Counts = field(default_factory=Counts)
    trigger: Literal["recorded", "software", "free", "hardware"] = "recorded"
    shape: tuple[int, int, int] | None = None  # of its pictures (H, W, 3), where they all have the same
    listen: "Listen" = lambda say, patience_s=None: None


class Listen(Protocol):
    """Before the first frame. say: who is told, from then on, that a camera is lost or back. patience_s: for how long
    after its trigger a picture is of any use; None: no matter how long."""

    def __call__(self, say: Say, patience_s: float | None = None) -> None: ...


def counted(frames: Iterator[Frame], counts: Counts) -> Iterator[Frame]:
    """The same frames, counted as they are handed over: with an error they are lost."""
    for frame in frames:
        counts.add("lost" if frame.error else "delivered")
        yield frame
