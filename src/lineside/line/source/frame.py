"""A frame: what a source hands over for one part, with or without a picture; and a source: frames, one after another.

A source never leaves a part out. What could not be acquired is a frame with an error, and the line rejects it.
Sources are iterators: asking for the next frame is the trigger. The line asks ahead (while the engine works on the part
before), so that reading a file costs the part no time; `captured_ns` is None until the line lets the frame in.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

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
    digest: str = ""  # what sha256() says, where the source knows it already
    learnt: bool = False  # the bundle was trained or calibrated on this very picture: it proves nothing
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


@dataclass(frozen=True, slots=True)
class Source:
    url: str  # as the user wrote it
    frames: Iterator[Frame]
    total: int | None  # how many frames there are; None: no end
    notes: tuple[str, ...] = ()  # what the user should know before the first part
