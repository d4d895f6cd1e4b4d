"""A camera's thread: lets its frames in one by one, when they are due and when there is room.

It works ahead: while the engine is busy with one part, the next file is read (or the next exposure drawn). With a
period the schedule is absolute, start + k × period, so it does not drift; a frame that is let in late keeps the time at
which it was due.

A software trigger is fired when the part is due and there is room for it, not ahead: its picture would be old. Where it
is fired more than a period late, another part stands before the camera by then, and its picture is thrown away.
Frames that come by themselves are taken as they come; how long they waited counts against their deadlines.

A part waits outside while the store or a sink has no room for its result. Once its deadline has passed there, nobody
could reject it in time: that is a fault, and the line goes to its safe state.

Several cameras of one line share the schedule (Conveyor) and the room (Door): frame k of each is a view of part k, and
who comes first takes the room for that part. So a source whose numbers are not 1, 2, 3, … is a fault: which part it
shows, or would have shown, nobody could tell.
"""

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from lineside.errors import LineError, LinesideError
from lineside.line.source.frame import Frame

POLL_S = 0.1  # how soon a halt is noticed while waiting for room
Enter = Callable[[int, float], bool]  # enter(k, timeout_s) -> there is room for part k


@dataclass(frozen=True, slots=True)
class Taken:
    """A part is here."""

    frame: Frame
    time_ns: int | None  # its trigger, by the clock or the camera; None: whenever the line is ready for it
    behind_ms: float  # how much later than its trigger it was let in
    camera: str = ""


@dataclass(frozen=True, slots=True)
class SourceEnd:
    fault: str  # "" where the source simply has no more
    camera: str = ""


class Room:
    """How many parts may be between trigger and verdict. Final."""

    def __init__(self, parts: int):
        self._free = threading.Semaphore(parts)

    def enter(self, timeout_s: float) -> bool:
        return self._free.acquire(timeout=timeout_s)

    def leave(self) -> None:
        self._free.release()


class Door:
    """Room for part after part, taken by the camera that comes first; the others of that part just walk in. Final."""

    def __init__(self, enter: Callable[[float], bool]):
        self._enter, self._lock = enter, threading.Lock()
        self._let_in = 0  # parts

    def enter(self, k: int, timeout_s: float) -> bool:
        if k < self._let_in:
            return True
        with self._lock:
            if k < self._let_in:
                return True
            if not self._enter(timeout_s):
                return False
            self._let_in = k + 1
            return True


class Conveyor:
    """Part k comes k periods after the first, for every camera alike. Final."""

    def __init__(self, period_ns: int):
        self.period_ns = period_ns
        self._start: int | None = None
        self._lock = threading.Lock()

    def due_ns(self, k: int, now: int) -> int:
        with self._lock:
            self._start = now if self._start is None else self._start
            return self._start + k * self.period_ns


def take(
    frames: Iterator[Frame],
    put: Callable[[Taken | SourceEnd], None],
    *,
    enter_store: Enter,  # room for a result
    enter: Enter,  # room for a part between trigger and verdict
    conveyor: Conveyor | None,
    deadline_ns: int | None,
    now_ns: Callable[[], int],
    halt: threading.Event,
    fires: bool = False,  # asking for a frame is the trigger
    together_ns: int | None = None,  # other cameras see the part, too, and fire within so long
    camera: str = "",
) -> None:
    """Let frames in until there are no more, or halt is set; ends with a SourceEnd."""
    try:
        for k in itertools.count():
            frame = None if fires else _next(frames, k)
            if frame is None and not fires:
                break
            due_ns = None if conveyor is None else conveyor.due_ns(k, now_ns())
            if due_ns is not None:
                halt.wait(max(0, due_ns - now_ns()) / 1e9)
            at = due_ns if frame is None or frame.captured_ns is None else frame.captured_ns
            until_ns = _until_ns(at, deadline_ns, now_ns())
            if not _wait(enter_store, k, halt, now_ns, until_ns) and not halt.is_set():
                part = k + 1 if frame is None else frame.part_id
                raise LineError(
                    f"part {part}: its deadline passed while the store and the sinks had no room for one more "
                    "result; look at the disk and at who reads the sinks"
                )
            if not _wait(enter, k, halt, now_ns, None):
                break
            if frame is None:
                if (frame := _next(frames, k)) is None:
                    break
                frame, at = _in_time(frame, due_ns, conveyor, together_ns)
            put(Taken(frame, at, 0.0 if at is None else max(0, now_ns() - at) / 1e6, camera))
        put(SourceEnd("", camera))
    except LinesideError as error:
        put(SourceEnd(str(error), camera))
    except Exception as error:  # a lost source must stop the line with a sentence, not leave it waiting
        put(SourceEnd(f"the source failed: {type(error).__name__}: {error}", camera))


def _next(frames: Iterator[Frame], k: int) -> Frame | None:
    """The frame of part k, or None at the end; LineError where the source counts otherwise."""
    frame = next(frames, None)
    if frame is not None and frame.sequence != k + 1:
        raise LineError(
            f"{frame.name}: the source calls it picture {frame.sequence}, and picture {k + 1} was to come; which part "
            "it shows can not be told. A source must leave none out and give none twice: start the line again, and if "
            "this comes back, report it with the kind of source"
        )
    return frame


def _in_time(
    frame: Frame, due_ns: int | None, conveyor: Conveyor | None, together_ns: int | None
) -> tuple[Frame, int | None]:
    """A frame that was triggered on request, and when its part was there.

    Where several cameras see a part, one that was fired late is of no use beside the others (together.py): that costs
    the part, and does not say that the cameras are out of step.
    """
    fired_ns = frame.captured_ns
    if due_ns is None or conveyor is None or fired_ns is None:
        return frame, fired_ns
    late_ns = fired_ns - due_ns
    most_ns = conveyor.period_ns if together_ns is None else min(together_ns, conveyor.period_ns // 3)
    if late_ns > most_ns and frame.picture is not None:
        another = "another part stood before the camera"
        why = another if late_ns > conveyor.period_ns else "its part was not where the other cameras saw it"
        error = f"{frame.name}: triggered {late_ns / 1e6:.0f} ms late: by then {why}"
        frame = replace(frame, picture=None, data=None, error=error)
    return frame, due_ns


def _until_ns(at: int | None, deadline_ns: int | None, now: int) -> int | None:
    """Until when a part may wait for the store: its deadline; one that comes too late by itself may wait as long."""
    if at is None or deadline_ns is None:
        return None
    return (at if now <= at + deadline_ns else now) + deadline_ns


def _wait(enter: Enter, k: int, halt: threading.Event, now_ns: Callable[[], int], until_ns: int | None) -> bool:
    """Wait for room; False if there was none until then, or the line halts."""
    while not halt.is_set():
        left_s = POLL_S if until_ns is None else max(0, until_ns - now_ns()) / 1e9
        if enter(k, min(POLL_S, left_s)):
            return not halt.is_set()
        if not left_s:
            break
    return False
