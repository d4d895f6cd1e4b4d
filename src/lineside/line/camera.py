"""The camera's thread: lets frames in one by one, when they are due and when there is room.

It works ahead: while the engine is busy with one part, the next file is read (or the next exposure drawn). With a
period the schedule is absolute, start + k × period, so it does not drift; a frame that is let in late keeps the time at
which it was due.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lineside.errors import LinesideError
from lineside.line.source.frame import Frame

POLL_S = 0.1  # how soon a halt is noticed while waiting for room


@dataclass(frozen=True, slots=True)
class Taken:
    """A part is here."""

    frame: Frame
    time_ns: int | None  # its trigger, by the clock or the camera; None: whenever the line is ready for it
    behind_ms: float  # how much later than its trigger it was let in


@dataclass(frozen=True, slots=True)
class SourceEnd:
    fault: str  # "" where the source simply has no more


class Room:
    """How many parts may be between trigger and verdict. Final."""

    def __init__(self, parts: int):
        self._free = threading.Semaphore(parts)

    def enter(self, timeout_s: float) -> bool:
        return self._free.acquire(timeout=timeout_s)

    def leave(self) -> None:
        self._free.release()


def take(
    frames: Iterator[Frame],
    put: Callable[[Taken | SourceEnd], None],
    *,
    enter: tuple[Callable[[float], bool], ...],  # each waits for room of its own kind: enter(timeout_s) -> there is
    period_ns: int | None,
    now_ns: Callable[[], int],
    halt: threading.Event,
) -> None:
    """Let frames in until there are no more, or halt is set; ends with a SourceEnd."""
    start: int | None = None
    try:
        for k, frame in enumerate(frames):
            start = now_ns() if start is None else start
            due_ns = None if period_ns is None else start + k * period_ns
            if due_ns is not None:
                halt.wait(max(0, due_ns - now_ns()) / 1e9)
            for one in enter:
                while not halt.is_set() and not one(POLL_S):
                    pass
            if halt.is_set():
                break
            at = due_ns if frame.captured_ns is None else frame.captured_ns
            put(Taken(frame, at, 0.0 if at is None else max(0, now_ns() - at) / 1e6))
        put(SourceEnd(""))
    except LinesideError as error:
        put(SourceEnd(str(error)))
    except Exception as error:  # a lost source must stop the line with a sentence, not leave it waiting
        put(SourceEnd(f"the source failed: {type(error).__name__}: {error}"))
