"""The station among its neighbours: what each message does, and how long to wait for the next one.

Messages come from the camera (Taken, SourceEnd), the engine (Answer, Drifted), the recorder (Lost) and from outside
(Finish).
Here they become events of the station, and its actions become calls: actuate first, then record. All of it runs in the
main thread, and none of it waits.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from lineside.evidence.drift import Alarm
from lineside.line import station as st
from lineside.line.camera import SourceEnd, Taken
from lineside.line.decide import Answer
from lineside.line.row import Flight
from lineside.line.source.frame import Frame

MAX_WAIT_S = 3600.0  # to wake once too often is harmless; to ask a lock for a thousand years is an error
GRACE_S = 10.0  # for the part in flight, after a request to stop or a fault


@dataclass(frozen=True, slots=True)
class Lost:
    """From the recorder: the store or a sink has failed."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Finish:
    """From outside: stop after the part in flight."""


@dataclass(frozen=True, slots=True)
class Drifted:
    """From the engine's thread: parts or pictures are no longer calibrate's."""

    alarm: Alarm


Message = Taken | Answer | SourceEnd | Lost | Drifted | Finish
Inbox = queue.SimpleQueue[Message]  # its put may be called in a signal handler
Actuator = Callable[[st.Part, st.Verdict, str, int], None]  # the last: when the part was triggered, ns


def no_actuator(part: st.Part, verdict: st.Verdict, reason: str, triggered_ns: int) -> None:
    """No gate is connected: verdicts go to the store and the sinks only."""


class Line:
    """The station among its neighbours: what to do with each message, and how long to wait for the next. Final."""

    def __init__(
        self,
        state: st.Station,
        *,
        actuate: Actuator,
        infer: Callable[[Frame], None],
        record: Callable[[st.Result, Flight, float], None],
        halt: threading.Event,
        now_ns: Callable[[], int],
    ):
        self._actuate, self._infer, self._record, self._halt, self._now_ns = actuate, infer, record, halt, now_ns
        self._flights: dict[int, Flight] = {}
        self._triggered_ns: dict[int, int] = {}
        self._ready: deque[Frame] = deque()  # to be triggered as soon as nothing is in flight
        self._waiting: deque[Frame] = deque()  # triggered, not yet at the engine
        self._engine_busy = self._ended = False
        self._give_up_ns: int | None = None  # when nothing is waited for any more
        self.state = state
        self.finishing = False
        self.last_ns = now_ns()  # of the last verdict
        self.max_behind_ms = 0.0
        self.alarms: list[Alarm] = []

    @property
    def done(self) -> bool:
        return self._ended and not self.state.waiting and not self._ready

    def patience_s(self) -> float | None:
        """How long nothing may happen before `wake`; None: for ever."""
        due = [ns for ns in (st.next_deadline_ns(self.state), self._give_up_ns) if ns is not None]
        return min(max(0, min(due) - self._now_ns()) / 1e9, MAX_WAIT_S) if due else None

    def wake(self) -> None:
        """A deadline has passed, or the patience after a request to stop."""
        now = self._now_ns()
        if self._give_up_ns is not None and now >= self._give_up_ns:
            self._ended = True
            self._step(st.Stop(now))
        else:
            self._step(st.Tick(now))
        self._feed()

    def handle(self, message: Message) -> None:
        match message:
            case Taken(frame, None, _):
                if not self._halt.is_set():
                    self._ready.append(frame)
            case Taken(frame, int(time_ns), behind_ms):
                self.max_behind_ms = max(self.max_behind_ms, behind_ms)
                self._trigger(frame, time_ns)
            case Answer(event):
                self._engine_busy = False
                if flight := self._flights.get(event.part.sequence):
                    flight.answer = message
                self._step(replace(event, time_ns=self._now_ns()))  # the gate acts now, not when the engine answered
            case SourceEnd(sentence):
                self._ended = True
                if sentence:
                    self._fault(sentence)
            case Lost(sentence):
                self._fault(sentence)
            case Drifted(alarm):
                self.alarms.append(alarm)
            case Finish():
                self.finishing = True
                self._leave()
        self._feed()

    def _feed(self) -> None:
        """Keep the engine busy: after a verdict, never before it."""
        if self._ready and not self.state.waiting:
            self._trigger(self._ready.popleft(), self._now_ns())
        while self._waiting and self._waiting[0].sequence not in self._flights:
            self._waiting.popleft()  # its verdict has left already: not worth an inference, nor its memory
        if self._waiting and not self._engine_busy:
            self._engine_busy = True
            self._infer(self._waiting.popleft())

    def _trigger(self, frame: Frame, time_ns: int) -> None:
        self._flights[frame.sequence] = Flight(frame)
        self._triggered_ns.setdefault(frame.sequence, time_ns)
        self._waiting.append(frame)
        self._step(st.Triggered(st.Part(frame.part_id, frame.sequence), time_ns))
        self._step(st.Tick(self._now_ns()))  # it may have been let in after its deadline

    def _step(self, event: st.Event) -> None:
        self.state, actions = st.step(self.state, event)
        failure = ""
        for action in actions:
            match action:
                case st.Actuate(part, verdict, reason):
                    try:
                        self._actuate(part, verdict, reason, self._triggered_ns.pop(part.sequence))
                    except Exception as error:
                        failure = f"the actuator failed at part {part.part_id}: {type(error).__name__}: {error}"
                    self.last_ns = self._now_ns()
                case st.Record(result):
                    flight = self._flights.pop(result.part.sequence)
                    self._record(result, flight, (self.last_ns - result.triggered_ns) / 1e6)
        if failure and self.state.mode != "fault":
            self._fault(failure)

    def _fault(self, sentence: str) -> None:
        self._step(st.Fault(sentence, self._now_ns()))
        self._leave()

    def _leave(self) -> None:
        self._halt.set()
        self._ready.clear()  # not triggered: no parts yet
        if self._give_up_ns is None:
            self._give_up_ns = self._now_ns() + round(GRACE_S * 1e9)
