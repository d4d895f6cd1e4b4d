"""A camera as live.py needs it: what each vendor's library is brought down to.

All calls but the opening come from one thread. Whatever a device raises means that the camera is lost; a LineError's
text is taken as it is.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Grab:
    """What came from the camera for one exposure."""

    picture: np.ndarray | None  # (H, W, 3) uint8 RGB
    arrived_ns: int  # the line's monotonic clock, when it was whole on this machine
    error: str = ""  # why there is no picture though something came: a part of it is missing
    frame_id: int | None = None  # the camera's own count, one more each time; None: it has none
    camera_ns: int | None = None
    skipped: int = 0  # exposures before this one that the driver threw away for want of a buffer, where it counts them


class Device(Protocol):
    """An open camera with its settings made. close may come after a failure of any other call."""

    @property
    def name(self) -> str: ...  # model and serial number, for people
    @property
    def shape(self) -> tuple[int, int, int]: ...  # of its pictures
    @property
    def notes(self) -> tuple[str, ...]: ...  # what the user should know
    @property
    def ids(self) -> int: ...  # frame ids begin anew after so many (2**16 in GigE Vision 1); 0: never
    def start(self) -> None: ...  # from now on exposures count; nothing of before is delivered
    def fire(self) -> None: ...  # the software trigger
    def grab(self, timeout_s: float) -> Grab | None: ...  # None: nothing came in that time
    def alive(self) -> str: ...  # asks the camera itself; "" or why it does not answer
    def stop(self) -> None: ...
    def close(self) -> None: ...
