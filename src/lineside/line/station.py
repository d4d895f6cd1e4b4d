"""The station: which verdict leaves, when, and why. Pure: no socket, thread, disk or clock in it.

    state, actions = step(state, event)

Events   Triggered (a part is here) · Answered (the model has spoken) · Failed (no picture, no answer) · Tick (time
         passes) · Fault (the store, a sink or the source is lost) · Stop (the shift ends)
Actions  Actuate (this verdict, now, to this part) · Record (this result, into the store)

What it promises, whatever the order of events (tests/line/test_station.py):
  - every triggered part gets exactly one verdict, at the latest at Stop or Fault;
  - verdicts leave in the order of the triggers: an answer that overtakes another waits for it;
  - a part is accepted only by a finite answer that says so, and only while its deadline has not passed;
  - time never runs backwards in here: an event with an older time counts as happening now.

Times are nanoseconds of one monotonic clock. A part is its sequence number; its part id is what people and PLCs say.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, Protocol

Verdict = Literal["accept", "hold", "reject"]
Mode = Literal["running", "fault", "stopped"]

# Why a part got its verdict. The first is the model's own word; every other is a reject that nobody had to ask for.
DECIDED = "decided"  # the model answered in time; accept, hold or reject by the operating point
DEADLINE = "deadline"  # no answer in time, or it came too late
NOT_FINITE = "not-finite"  # the answer holds NaN or infinity
UNREADABLE = "unreadable"  # there is no picture: not acquired, not decodable, or refused
ENGINE = "engine"  # the engine raised an error
FAULT = "fault"  # the store, a sink or the source failed; the station is in its safe state
STOPPED = "stopped"  # the line stopped before the answer came
REASONS = (DECIDED, DEADLINE, NOT_FINITE, UNREADABLE, ENGINE, FAULT, STOPPED)


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


@dataclass(frozen=True, slots=True)
class Answered:
    part: Part
    decision: Decision
    time_ns: int


@dataclass(frozen=True, slots=True)
class Failed:
    part: Part
    reason: str  # UNREADABLE or ENGINE
    detail: str  # the sentence for people
    time_ns: int


@dataclass(frozen=True, slots=True)
class Tick:
    time_ns: int


@dataclass(frozen=True, slots=True)
class Fault:
    detail: str
    time_ns: int


@dataclass(frozen=True, slots=True)
class Stop:
    time_ns: int


Event = Triggered | Answered | Failed | Tick | Fault | Stop


@dataclass(frozen=True, slots=True)
class Result:
    """One part's verdict, and how it came about."""

    part: Part
    verdict: Verdict
    reason: str
    detail: str
    decision: Decision | None  # kept for the record even where it came too late to count
    triggered_ns: int
    decided_ns: int


@dataclass(frozen=True, slots=True)
class Actuate:
    part: Part
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Record:
    result: Result


Action = Actuate | Record


@dataclass(frozen=True, slots=True)
class Waiting:
    """A part between its trigger and its verdict. verdict is None while nobody has spoken."""

    part: Part
    triggered_ns: int
    verdict: Verdict | None = None
    reason: str = ""
    detail: str = ""
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Station:
    deadline_ns: int | None = None  # from trigger to verdict; None: a part waits as long as it takes
    mode: Mode = "running"
    detail: str = ""  # why the station is not running
    now_ns: int = -(2**63)
    last_sequence: int = 0
    waiting: tuple[Waiting, ...] = ()  # in the order of the triggers; the head leaves first
    ignored: int = 0  # answers nobody waits for: late, twice, unknown; and triggers that repeat a sequence number


def step(station: Station, event: Event) -> tuple[Station, tuple[Action, ...]]:
    """The station after an event, and what is to be done now, in this order."""
    station = replace(station, now_ns=max(station.now_ns, event.time_ns))
    match event:
        case Triggered():
            station = _trigger(station, event)
        case Answered():
            verdict, reason = _judge(event.decision)
            station = _speak(station, event.part, verdict, reason, "", event.decision)
        case Failed():
            station = _speak(station, event.part, "reject", event.reason, event.detail, None)
        case Fault():
            station = _reject_all(replace(station, mode="fault", detail=event.detail), FAULT, event.detail)
        case Stop():
            station = station if station.mode == "fault" else replace(station, mode="stopped")
            station = _reject_all(station, STOPPED, "the line stopped before the answer came", silent_only=True)
        case Tick():
            pass
    return _release(_expire(station))


def next_deadline_ns(station: Station) -> int | None:
    """When the next Tick is due: one nanosecond after the head's deadline. None: nothing to wait for."""
    if station.deadline_ns is None or not station.waiting:
        return None
    return min(w.triggered_ns for w in station.waiting) + station.deadline_ns + 1


def _trigger(station: Station, event: Triggered) -> Station:
    if event.part.sequence <= station.last_sequence:
        return replace(station, ignored=station.ignored + 1)
    waiting = Waiting(event.part, event.time_ns)
    if station.mode == "fault":
        waiting = replace(waiting, verdict="reject", reason=FAULT, detail=station.detail)
    elif station.mode == "stopped":
        waiting = replace(waiting, verdict="reject", reason=STOPPED, detail="the line had stopped")
    return replace(station, last_sequence=event.part.sequence, waiting=(*station.waiting, waiting))


def _judge(decision: Decision) -> tuple[Verdict, str]:
    if decision.margin is None or not math.isfinite(decision.margin):
        return "reject", NOT_FINITE
    # Whatever is not clearly one of the other two is a reject.
    return ("accept" if decision.verdict == "accept" else "hold" if decision.verdict == "hold" else "reject"), DECIDED


def _speak(
    station: Station, part: Part, verdict: Verdict, reason: str, detail: str, decision: Decision | None
) -> Station:
    """The first word about a waiting part counts; any other is counted as ignored."""
    for i, w in enumerate(station.waiting):
        if w.part == part and w.verdict is None:
            spoken = Waiting(part, w.triggered_ns, verdict, reason, detail, decision)
            return replace(station, waiting=(*station.waiting[:i], spoken, *station.waiting[i + 1 :]))
    return replace(station, ignored=station.ignored + 1)


def _reject_all(station: Station, reason: str, detail: str, silent_only: bool = False) -> Station:
    return replace(
        station,
        waiting=tuple(
            w if silent_only and w.verdict else replace(w, verdict="reject", reason=reason, detail=detail)
            for w in station.waiting
        ),
    )


def _expire(station: Station) -> Station:
    """A verdict that could leave only after its deadline is worth nothing at the gate, whatever it was."""
    if station.deadline_ns is None:
        return station
    latest = station.now_ns - station.deadline_ns  # triggered before this: too late
    if all(w.triggered_ns >= latest for w in station.waiting):
        return station
    return replace(
        station,
        waiting=tuple(
            w
            if w.triggered_ns >= latest or w.reason in (FAULT, STOPPED)
            else replace(w, verdict="reject", reason=DEADLINE, detail=w.detail)
            for w in station.waiting
        ),
    )


def _release(station: Station) -> tuple[Station, tuple[Action, ...]]:
    actions: list[Action] = []
    left = 0
    for w in station.waiting:
        if w.verdict is None:
            break
        left += 1
        actions.append(Actuate(w.part, w.verdict, w.reason))
        actions.append(
            Record(Result(w.part, w.verdict, w.reason, w.detail, w.decision, w.triggered_ns, station.now_ns))
        )
    return (replace(station, waiting=station.waiting[left:]) if left else station), tuple(actions)
