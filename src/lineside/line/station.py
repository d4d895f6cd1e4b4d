"""The station: which verdict leaves, when, and why. Pure: no socket, thread, disk or clock in it.

    state, actions = step(state, event)

Events   Triggered (a part is here) · Answered (the model has spoken of one camera's view of it) · Failed (no picture,
         no answer) · Tick (time passes) · Ordered (a person or a PLC wants something) · Fault (the store, a sink or a
         camera is lost) · End (the shift ends)
Actions  Actuate (this verdict, now, to this part) · Record (this result, into the store) · Changed (the station is in
         another state, or has another product) · Refused (an order that can't be followed)

What it promises, whatever the order of events (tests/line/test_station.py):
  - every triggered part gets exactly one verdict, at the latest at End or Fault;
  - verdicts leave in the order of the triggers: an answer that overtakes another waits for it;
  - a part is accepted only while the station executes, only by finite answers of every camera that all say so, and
    only while its deadline has not passed;
  - a part is of the product that was prepared when it was triggered, however late the trigger is told;
  - a master part is never passed: the next ones after `calibrate`, by their triggers too;
  - time never runs backwards in here: an event with an older time counts as happening now.

States and orders are those of states.py. Times are nanoseconds of one monotonic clock. A part is its sequence number;
its part id is what people and PLCs say.
"""

import math
from dataclasses import dataclass, replace

from lineside.line.events import (
    CALIBRATION,
    DEADLINE,
    DECIDED,
    FAULT,
    HALTED,
    NOT_FINITE,
    NOT_THE_PART,
    STOPPED,
    UNREADABLE,
    WORST_LAST,
    Action,
    Actuate,
    Answered,
    Changed,
    Decision,
    End,
    Event,
    Failed,
    Fault,
    Ordered,
    Part,
    Record,
    Refused,
    Result,
    Tick,
    Triggered,
    Verdict,
    Word,
)
from lineside.line.states import EXECUTING, LEADS, State, refusal

FORMER = 16  # changes of product that are remembered
NAMED = ("unprepare", "start", "start-single")  # orders that may name the product which they are about


@dataclass(frozen=True, slots=True)
class Waiting:
    """A part between its trigger and its verdict."""

    part: Part
    triggered_ns: int
    product: str
    words: tuple[Word, ...] = ()
    ruled: tuple[str, str] | None = None  # (reason, detail) of a reject that no answer can change any more
    expected: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Station:
    deadline_ns: int | None = None  # from trigger to verdict; None: a part waits as long as it takes
    cameras: tuple[str, ...] = ("",)  # every one of them must say accept
    products: tuple[str, ...] = ("",)  # that can be prepared
    halt_after: int | None = None  # rejects in a row
    watchdog_ns: int | None = None  # no part for so long while inspecting is a fault
    state: State = "preoperational"
    product: str = ""  # that is prepared, or was at last
    prepared: bool = False
    former: tuple[tuple[int, str], ...] = ()  # until when what was prepared, oldest first; "": nothing, or not known
    detail: str = ""  # why the station halted or is in error
    now_ns: int = -(2**63)
    last_sequence: int = 0
    began_ns: int = -(2**63)  # when inspecting began, the last time
    seen_ns: int = 0  # when the last part came, or inspecting began
    waiting: tuple[Waiting, ...] = ()  # in the order of the triggers; the head leaves first
    finishing: bool = False  # no more parts are inspected; ready as soon as nothing waits
    expect: tuple[Verdict, ...] = ()  # of the master parts that are still to come
    calibrated_ns: int = -(2**63)  # when that was ordered: what was triggered before is no master part
    in_a_row: int = 0  # rejects
    ignored: int = 0  # answers nobody waits for: late, twice, unknown; and triggers that repeat a sequence number


def step(station: Station, event: Event) -> tuple[Station, tuple[Action, ...]]:
    """The station after an event, and what is to be done now, in this order."""
    station = replace(station, now_ns=max(station.now_ns, event.time_ns))
    said: tuple[Action, ...] = ()
    match event:
        case Triggered():
            station = _trigger(station, event)
        case Answered():
            verdict, reason = _judge(event.decision)
            station = _speak(station, event.part, Word(event.camera, verdict, reason, "", event.decision))
        case Failed():
            station = _speak(station, event.part, Word(event.camera, "reject", event.reason, event.detail, None))
        case Ordered():
            station, said = _order(station, event)
        case Fault():
            station, said = _fault(station, event.detail)
        case End():
            station = _reject(station, STOPPED, "the line stopped before the answer came", silent_only=True)
            if station.state not in ("error", "halted"):
                ended = replace(station, finishing=False, expect=(), detail="the line has ended")
                station, said = _go(ended, ("halted",), "the line ends")
        case Tick():
            pass
    station, bitten = _watch(station)
    station, told = _release(_expire(station))
    station, after = _settle(station)
    # A verdict leaves before anything is said about the station.
    return station, (*told, *said, *bitten, *after)


def next_deadline_ns(station: Station) -> int | None:
    """When the next Tick is due: one nanosecond after the first deadline or the watchdog. None: nothing to wait for."""
    due = []
    if station.deadline_ns is not None and station.waiting:
        due.append(min(w.triggered_ns for w in station.waiting) + station.deadline_ns + 1)
    if station.watchdog_ns is not None and station.state in EXECUTING and not station.finishing:
        due.append(station.seen_ns + station.watchdog_ns + 1)
    return min(due, default=None)


def product_at(station: Station, time_ns: int) -> str:
    """The product that was prepared then; "": none was, or so many changes ago that nobody knows any more."""
    return next((product for until_ns, product in station.former if time_ns < until_ns), station.product)


def _trigger(station: Station, event: Triggered) -> Station:
    if event.part.sequence <= station.last_sequence:
        return replace(station, ignored=station.ignored + 1)
    made = product_at(station, event.time_ns)
    waiting = Waiting(event.part, event.time_ns, made or station.product)
    left, single = station.expect, False
    if station.state == "error":
        waiting = replace(waiting, ruled=(FAULT, station.detail))
    elif station.state == "halted":
        waiting = replace(waiting, ruled=(HALTED, station.detail))
    elif station.state not in EXECUTING or station.finishing:
        waiting = replace(waiting, ruled=(STOPPED, f"the station was not inspecting: {station.state}"))
    else:
        late = event.time_ns < station.began_ns  # its picture; what was done with the part meanwhile nobody knows
        single = station.state == "single" and not late
        if left and not late and event.time_ns >= station.calibrated_ns:
            waiting, left = replace(waiting, expected=left[0]), left[1:]
        if event.lost:
            waiting = replace(waiting, ruled=(UNREADABLE, event.lost))
        elif late:
            waiting = replace(waiting, ruled=(STOPPED, "it was triggered before the station began to inspect"))
        elif not made and station.former:
            waiting = replace(
                waiting, ruled=(STOPPED, "which product was prepared at its trigger is not known, or none")
            )
    return replace(
        station,
        last_sequence=event.part.sequence,
        waiting=(*station.waiting, waiting),
        expect=left,
        seen_ns=station.now_ns,
        finishing=station.finishing or single,
    )


def _judge(decision: Decision) -> tuple[Verdict, str]:
    if decision.margin is None or not math.isfinite(decision.margin):
        return "reject", NOT_FINITE
    # Whatever is not clearly one of the other two is a reject.
    return ("accept" if decision.verdict == "accept" else "hold" if decision.verdict == "hold" else "reject"), DECIDED


def _speak(station: Station, part: Part, word: Word) -> Station:
    """The first word about each view of a waiting part counts; any other is counted as ignored."""
    for i, w in enumerate(station.waiting):
        if w.part == part and word.camera in station.cameras and all(one.camera != word.camera for one in w.words):
            if w.ruled:
                break
            spoken = replace(w, words=(*w.words, word))
            return replace(station, waiting=(*station.waiting[:i], spoken, *station.waiting[i + 1 :]))
    return replace(station, ignored=station.ignored + 1)


def _verdict(station: Station, w: Waiting) -> tuple[Verdict, str, str] | None:
    """(verdict, reason, detail) of a part, as soon as every camera's view was spoken of; the worst word counts."""
    if w.ruled:
        return "reject", *w.ruled
    if len(w.words) < len(station.cameras):
        return None
    worst = max(w.words, key=lambda one: (WORST_LAST.index(one.verdict), one.reason != DECIDED))
    detail = f"{worst.camera}: {worst.detail}" if worst.detail and len(station.cameras) > 1 else worst.detail
    if w.expected and worst.reason == DECIDED:
        return "reject", CALIBRATION, f"a master part to {w.expected}; the station said {worst.verdict}"
    return worst.verdict, worst.reason, detail


def _reject(station: Station, reason: str, detail: str, silent_only: bool = False) -> Station:
    return replace(
        station,
        waiting=tuple(
            w if w.ruled or (silent_only and _verdict(station, w)) else replace(w, ruled=(reason, detail))
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
            w if w.triggered_ns >= latest or w.ruled else replace(w, ruled=(DEADLINE, _silent(station, w)))
            for w in station.waiting
        ),
    )


def _silent(station: Station, w: Waiting) -> str:
    """Who did not speak in time, where that is a question; else what the camera that spoke had to say."""
    spoken = {word.camera for word in w.words}
    missing = [name for name in station.cameras if name not in spoken]
    if len(station.cameras) > 1 and missing:
        return f"no answer about {', '.join(missing)}"
    return next((word.detail for word in w.words if word.detail), "")


def _release(station: Station) -> tuple[Station, tuple[Action, ...]]:
    actions: list[Action] = []
    left, in_a_row = 0, station.in_a_row
    for w in station.waiting:
        said = _verdict(station, w)
        if said is None or _enough(station, in_a_row):
            break
        verdict, reason, detail = said
        left += 1
        if verdict == "accept":
            in_a_row = 0
        elif verdict == "reject" and reason not in NOT_THE_PART:
            in_a_row += 1
        actions.append(Actuate(w.part, verdict, reason, w.triggered_ns))
        actions.append(
            Record(
                Result(w.part, verdict, reason, detail, w.words, w.triggered_ns, station.now_ns, w.product, w.expected)
            )
        )
    return (replace(station, waiting=station.waiting[left:], in_a_row=in_a_row) if left else station), tuple(actions)


def _enough(station: Station, in_a_row: int) -> bool:
    """So many rejects in a row that the station halts, before the next verdict leaves."""
    return station.state in EXECUTING and station.halt_after is not None and in_a_row >= station.halt_after


def _order(station: Station, event: Ordered) -> tuple[Station, tuple[Action, ...]]:
    why = refusal(station.state, event.order)
    if not why and event.order == "prepare" and not event.product and "" not in station.products:
        why = f"prepare which product? There are: {', '.join(station.products)}"
    if not why and event.order == "prepare" and event.product not in station.products:
        why = f"no product {event.product!r}; there are: {', '.join(station.products)}"
    if not why and event.order in NAMED and event.product and event.product != station.product:
        why = f"product {event.product!r} is not prepared; {station.product!r} is"
    if not why and event.order == "calibrate" and not event.expect:
        why = "say what is expected of each master part: accept, hold or reject"
    if not why and event.order == "calibrate" and station.expect:
        why = f"{len(station.expect)} master parts are still to come; let them come, or abort"
    if not why and station.finishing and event.order not in ("halt", "abort"):
        why = "the station comes to a stop: parts in flight are waited for"
    if why:
        return station, (Refused(event.order, why),)
    through = LEADS[station.state, event.order]  # pyright: ignore[reportArgumentType]
    match event.order:
        case "halt":
            detail = event.why or "by order"
            station = replace(_reject(station, HALTED, detail, silent_only=True), detail=detail)
        case "abort":
            station = _reject(station, STOPPED, "the station was told to abort", silent_only=True)
        case "prepare":
            station = replace(_turn(station, event.product), product=event.product, prepared=True)
        case "unprepare":
            station = replace(_turn(station, ""), prepared=False)
        case "start" | "start-single":
            station = replace(station, began_ns=station.now_ns, seen_ns=station.now_ns, in_a_row=0)
        case "stop":
            return replace(station, finishing=True), ()
        case "calibrate":
            return replace(station, expect=event.expect, calibrated_ns=station.now_ns), ()
        case _:  # reset: a product that was prepared still is
            station = replace(station, detail="", in_a_row=0)
            through = (*through, "ready") if station.prepared else through
    if through[-1] not in EXECUTING:
        left = station.expect if event.order == "halt" else ()  # after an abort or a reset one begins anew
        station = replace(station, finishing=False, expect=left)
    return _go(station, through, event.why)


def _turn(station: Station, product: str) -> Station:
    """From now on another product is prepared, or none (""): parts that were triggered before are of the one before."""
    before = station.product if station.prepared else ""
    if not station.product or before == product:
        return station
    former = (*station.former, (station.now_ns, before))
    if len(former) > FORMER:
        former = ((former[1][0], ""), *former[2:])
    return replace(station, former=former)


def _fault(station: Station, detail: str) -> tuple[Station, tuple[Action, ...]]:
    if station.state == "error":
        return station, ()
    faulty = replace(station, detail=detail, finishing=False, expect=())
    faulty = replace(faulty, waiting=tuple(replace(w, ruled=(FAULT, detail)) for w in faulty.waiting))
    return _go(faulty, ("error",), detail)


def _go(station: Station, through: tuple[State, ...], why: str) -> tuple[Station, tuple[Action, ...]]:
    return replace(station, state=through[-1]), tuple(Changed(state, station.product, why) for state in through)


def _watch(station: Station) -> tuple[Station, tuple[Action, ...]]:
    if station.watchdog_ns is None or station.state not in EXECUTING or station.finishing:
        return station, ()
    if station.now_ns - station.seen_ns <= station.watchdog_ns:
        return station, ()
    return _fault(station, f"no part has come for {station.watchdog_ns / 1e9:g} s; look at the trigger and the camera")


def _settle(station: Station) -> tuple[Station, tuple[Action, ...]]:
    """After verdicts have left: too many rejects in a row, or the last part of what was to be inspected."""
    if station.state not in EXECUTING:
        return station, ()
    if _enough(station, station.in_a_row):
        rejects = "a reject" if station.in_a_row == 1 else f"{station.in_a_row} rejects in a row"
        detail = f"{rejects}: look at the process before you reset the station"
        halted = replace(_reject(station, HALTED, detail), detail=detail, finishing=False)
        halted, left = _release(halted)
        halted, changed = _go(halted, ("halted",), detail)
        return halted, (*left, *changed)
    if station.finishing and not station.waiting:
        return _go(replace(station, finishing=False), ("ready",), "stopped")
    return station, ()
