"""What happens to a station and what it does about it: the words that the line's main thread and the station share.

Events go in, actions come out (station.py). A part is its sequence number; its part id is what people and PLCs say.
Times are nanoseconds of one monotonic clock.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from lineside.line.states import State

Verdict = Literal["accept", "hold", "reject"]
WORST_LAST: tuple[Verdict, ...] = ("accept", "hold", "reject")

# Why a part got its verdict. The first is the model's own word; every other is a reject that nobody had to ask for.
DECIDED = "decided"  # the model answered in time; accept, hold or reject by the operating point
DEADLINE = "deadline"  # no answer in time, or it came too late
NOT_FINITE = "not-finite"  # the answer holds NaN or infinity
UNREADABLE = "unreadable"  # there is no picture: not acquired, not decodable, or refused
ENGINE = "engine"  # the engine raised an error
FAULT = "fault"  # the store, a sink or the source failed; the station is in its safe state
STOPPED = "stopped"  # the station was not inspecting, or stopped before the answer came
HALTED = "halted"  # by order, or after too many rejects in a row
CALIBRATION = "calibration"  # a master part, sent through to see what the station says of it; never passed
REASONS = (DECIDED, DEADLINE, NOT_FINITE, UNREADABLE, ENGINE, FAULT, STOPPED, HALTED, CALIBRATION)
NOT_THE_PART = (STOPPED, HALTED, CALIBRATION)  # rejects that say nothing about what the process makes


@dataclass(frozen=True, slots=True)
class Part:
    part_id: str
    sequence: int  # 1, 2, 3, …: its identity within a run


class Decision(Protocol):
    """What the station needs of a task's decision."""

    @property
    def verdict(self) -> str: ...
    @property
    def margin(self) -> float | None: ...  # None or not finite: the answer is no number, and the part is rejected


@dataclass(frozen=True, slots=True)
class Triggered:
    part: Part
    time_ns: int  # when the part was there; its deadline counts from here
    lost: str = ""  # why there will be no picture of it, where nobody is to wait for the other cameras either


@dataclass(frozen=True, slots=True)
class Answered:
    part: Part
    decision: Decision
    time_ns: int
    camera: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    part: Part
    reason: str  # UNREADABLE or ENGINE
    detail: str  # the sentence for people
    time_ns: int
    camera: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    time_ns: int


@dataclass(frozen=True, slots=True)
class Ordered:
    """An order of states.py. product: for prepare; for station.NAMED "" or the one that is prepared. expect: for
    calibrate, one for each master part to come."""

    order: str
    time_ns: int
    product: str = ""
    expect: tuple[Verdict, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    detail: str
    time_ns: int


@dataclass(frozen=True, slots=True)
class End:
    time_ns: int


Event = Triggered | Answered | Failed | Tick | Ordered | Fault | End


@dataclass(frozen=True, slots=True)
class Word:
    """What was said of one camera's view of a part."""

    camera: str
    verdict: Verdict
    reason: str
    detail: str
    decision: Decision | None


@dataclass(frozen=True, slots=True)
class Result:
    """One part's verdict, and how it came about."""

    part: Part
    verdict: Verdict
    reason: str
    detail: str
    words: tuple[Word, ...]  # by camera; kept for the record even where they came too late to count
    triggered_ns: int
    decided_ns: int
    product: str = ""
    expected: Verdict | None = None  # of a master part


@dataclass(frozen=True, slots=True)
class Actuate:
    part: Part
    verdict: Verdict
    reason: str
    triggered_ns: int


@dataclass(frozen=True, slots=True)
class Record:
    result: Result


@dataclass(frozen=True, slots=True)
class Changed:
    state: State
    product: str
    why: str


@dataclass(frozen=True, slots=True)
class Refused:
    order: str
    why: str


Action = Actuate | Record | Changed | Refused
