"""The station among its neighbours: what each message does, and how long to wait for the next one.

Messages (messages.py) come from the cameras (Taken, SourceEnd), the engine (Answer, Drifted), the recorder and the gate
(Lost), from people and PLCs (Asked) and from outside (Finish). Here they become events of the station, and its actions
become calls: remember (in memory), then actuate, then the engine gets its next picture, then record. All of it runs in
the main thread, and none of it waits.

A part that several cameras see is triggered by the first of its frames; frames of one number belong to one part, and
cameras that are out of step are a fault (together.py).
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from lineside.line import station as st
from lineside.line.camera import SourceEnd, Taken
from lineside.line.decide import Answer
from lineside.line.events import (
    UNREADABLE,
    Actuate,
    Changed,
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
)
from lineside.line.messages import STATUS, Asked, Drifted, Finish, Lost, Message, Reply
from lineside.line.row import Flight
from lineside.line.source.frame import Frame
from lineside.line.states import EXECUTING, NEVER_LATE
from lineside.line.together import Together

MAX_WAIT_S = 3600.0  # to wake once too often is harmless; to ask a lock for a thousand years is an error
AHEAD = 2  # pictures at the engine: one that it works on, one that it finds when it comes back
GRACE_S = 10.0  # for the part in flight, after a request to stop or a fault


Actuator = Callable[[Part, Verdict, str, int], None]  # part, verdict, reason, when it was triggered


def no_actuator(part: Part, verdict: Verdict, reason: str, triggered_ns: int) -> None:
    """No gate is connected: verdicts go to the store and the sinks only."""


class Line:
    """The station among its neighbours: what to do with each message, and how long to wait for the next. Final."""

    def __init__(
        self,
        state: st.Station,
        *,
        actuate: Actuator,
        infer: Callable[[str, str, Frame], None],  # camera, product, frame
        remember: Callable[[Result, Flight, float], None],
        record: Callable[[Result, Flight, float], None],
        halt: threading.Event,
        now_ns: Callable[[], int],
        changed: Callable[[Changed, str], None] = lambda change, who: None,
        obeyed: Callable[[Asked, str], None] = lambda asked, refused: None,
        together_ns: int | None = None,
        resettable: bool = False,
    ):
        """remember is called before a verdict leaves, record after it, both with the ms since the part was triggered.
        changed is told of every state the station goes through, and by whom; obeyed of every order. resettable:
        somebody may order a halted station to go on; if not, a station that halts by itself ends the line."""
        self._actuate, self._infer, self._halt, self._now_ns = actuate, infer, halt, now_ns
        self._remember, self._record = remember, record
        self._changed, self._obeyed = changed, obeyed
        self._together, self._resettable = Together(together_ns), resettable
        self._flights: dict[int, Flight] = {}
        self._ready: dict[int, dict[str, Frame]] = {}  # to be triggered as soon as nothing is in flight; by camera
        self._waiting: deque[tuple[str, Frame]] = deque()  # triggered, not yet at the engine
        self._open = set(state.cameras)
        self._at_engine = 0  # pictures that it has not answered
        self._left: deque[tuple[Result, Flight, float]] = deque()  # verdicts that are to be recorded
        self._over = False
        self._who = ""  # has ordered what is being done
        self._give_up_ns: int | None = None  # when nothing is waited for any more
        self.state = state
        self.inspecting = threading.Event()  # whether parts are let in, where the line sets the pace
        self.finishing = False
        self.fault = ""  # why the line stopped by itself
        self.halted = False  # that is: the station halted, and nobody can reset it
        self.last_ns = now_ns()  # of the last verdict
        self.max_behind_ms = 0.0
        self.alarms: list[Drifted] = []

    @property
    def over(self) -> bool:
        """Whether the station comes to its end because the run does."""
        return self._over

    @property
    def done(self) -> bool:
        return self._over or (not self._open and not self.state.waiting and not self._ready)

    def begin(self, product: str, start: bool) -> None:
        """From preoperational to ready, and on to inspecting every part."""
        for order in ("reset", "prepare", *(("start",) if start else ())):
            self._step(Ordered(order, self._now_ns(), product))

    def end(self) -> None:
        """Nothing is waited for any more."""
        self._over = True
        self._step(End(self._now_ns()))
        self._write_down()

    def patience_s(self) -> float | None:
        """How long nothing may happen before `wake`; None: for ever."""
        due = [ns for ns in (st.next_deadline_ns(self.state), self._give_up_ns) if ns is not None]
        return min(max(0, min(due) - self._now_ns()) / 1e9, MAX_WAIT_S) if due else None

    def wake(self) -> None:
        """A deadline has passed, or the patience after a request to stop."""
        now = self._now_ns()
        if self._give_up_ns is not None and now >= self._give_up_ns:
            self._over = True
            self._step(End(now))
        else:
            self._step(Tick(now))
        self._feed()
        self._write_down()

    def handle(self, message: Message) -> None:
        match message:
            case Taken(frame, None, _, camera):
                if not self._halt.is_set():
                    self._ready.setdefault(frame.sequence, {})[camera] = frame
            case Taken(frame, int(time_ns), behind_ms, camera):
                self.max_behind_ms = max(self.max_behind_ms, behind_ms)
                self._take(camera, frame, time_ns)
                self._miss()
            case Answer(event):
                self._at_engine -= 1
                if flight := self._flights.get(event.part.sequence):
                    flight.answers[event.camera] = message
                self._step(replace(event, time_ns=self._now_ns()))  # the gate acts now, not when the engine answered
            case SourceEnd(sentence, camera):
                self._open.discard(camera)
                if sentence:
                    self._fault(sentence)
                self._miss()
            case Lost(sentence):
                self._fault(sentence)
            case Drifted():
                self.alarms.append(message)
            case Asked():
                self._obey(message)
            case Finish():
                self.finishing = True
                self._leave()
        self._feed()
        self._write_down()

    def _feed(self) -> None:
        """Keep the engine busy: after a verdict, never before it."""
        if self._ready and not self.state.waiting and self.inspecting.is_set():
            number = min(self._ready)
            if self._open <= self._ready[number].keys():  # all that still can come
                for camera, frame in self._ready.pop(number).items():
                    self._take(camera, frame, self._now_ns())
                self._miss()
        while self._waiting:
            camera, frame = self._waiting[0]
            flight = self._flights.get(frame.sequence)
            if flight and self._at_engine >= AHEAD:
                break
            self._waiting.popleft()
            if flight:  # else its verdict has left already: not worth an inference, nor its memory
                self._at_engine += 1
                self._infer(camera, flight.product, frame)

    def _take(self, camera: str, frame: Frame, time_ns: int) -> None:
        """One camera's frame: it triggers its part, or joins the others of it."""
        self._together.see(camera, frame)
        flight = self._flights.get(frame.sequence)
        if flight:
            if apart := self._together.apart(flight.frames, camera, frame):
                return self._fault(apart)
            flight.frames[camera] = frame
            self._waiting.append((camera, frame))
        elif frame.sequence > self.state.last_sequence:
            product = st.product_at(self.state, time_ns) or self.state.product  # as the station has it
            self._flights[frame.sequence] = Flight(product, {camera: frame})
            self._waiting.append((camera, frame))
            self._step(Triggered(Part(frame.part_id, frame.sequence), time_ns, self._lost(frame, time_ns)))
            self._step(Tick(self._now_ns()))  # it may have been let in after its deadline
        return None

    def _lost(self, frame: Frame, time_ns: int) -> str:
        """Why a part that no answer can save any more has no picture: the camera was away, and no answer was late."""
        deadline_ns = self.state.deadline_ns
        late = deadline_ns is not None and self._now_ns() - time_ns > deadline_ns
        return f"not-acquired: {frame.error}" if frame.error and (late or time_ns < self.state.began_ns) else ""

    def _miss(self) -> None:
        """Parts that a camera which has ended will never show."""
        ended = set(self.state.cameras) - self._open
        for w in self.state.waiting if ended else ():
            flight = self._flights.get(w.part.sequence)  # none: one before it was all that it waited for
            for camera in ended - flight.frames.keys() if flight else ():
                if all(word.camera != camera for word in w.words):
                    detail = f"not-acquired: camera {camera} has no picture of this part: it has come to its end"
                    self._step(Failed(w.part, UNREADABLE, detail, self._now_ns(), camera))

    def _obey(self, asked: Asked) -> None:
        refused, stands = "", asked.claim()
        if asked.order != STATUS and (stands or asked.order in NEVER_LATE):
            self._who = asked.who
            refused = self._step(Ordered(asked.order, self._now_ns(), asked.product, asked.expect, asked.why))
            self._who = ""
        elif not stands:
            refused = "it came to the station too late: who ordered it had been told that the line does not answer"
        self._write_down()
        if asked.order != STATUS:
            self._obeyed(asked, refused)
        asked.reply(Reply(refused, self.state.state, self.state.product, self.state.detail))

    def _step(self, event: Event) -> str:
        """Let the station take one step, and do what it says; why an order was refused."""
        self.state, actions = st.step(self.state, event)
        if self.state.state not in EXECUTING:
            self.inspecting.clear()  # before room is given back: a camera that is triggered by us would take it
        failure = refused = ""
        for action in actions:
            if isinstance(action, Record):
                failure = self._keep(action.result) or failure
        for action in actions:
            match action:
                case Actuate(part, verdict, reason, triggered_ns):
                    try:
                        self._actuate(part, verdict, reason, triggered_ns)
                    except Exception as error:
                        failure = f"the actuator failed at part {part.part_id}: {type(error).__name__}: {error}"
                    self.last_ns = self._now_ns()
                case Record(result):
                    flight = self._flights.pop(result.part.sequence)
                    self._left.append((result, flight, (self.last_ns - result.triggered_ns) / 1e6))
                case Changed():
                    self._write_down()  # first what came before it
                    self._follow(action)
                case Refused(_, why):
                    refused = why
        if failure and self.state.state != "error":
            self._fault(failure)
        return refused

    def _write_down(self) -> None:
        """Record the verdicts that have left: beside the engine's work, not before it."""
        while self._left:
            self._record(*self._left.popleft())

    def _keep(self, result: Result) -> str:
        """A result, before its verdict leaves; what went wrong."""
        try:
            ms = (self._now_ns() - result.triggered_ns) / 1e6
            self._remember(result, self._flights[result.part.sequence], ms)
        except Exception as error:
            return f"the result of part {result.part.part_id} can not be remembered: {type(error).__name__}: {error}"
        return ""

    def _follow(self, change: Changed) -> None:
        """What the line does when its station is in another state."""
        if change.state in EXECUTING:
            self.inspecting.set()
        else:
            self.inspecting.clear()
        self._changed(change, self._who)
        # By rejects in a row; the watchdog's is an error.
        for_good = change.state == "halted" and not (self._who or self._resettable or self._over)
        if change.state == "error" or for_good:
            self.halted = self.halted or (for_good and not self.fault)
            self.fault = self.fault or change.why
            self._leave()

    def _fault(self, sentence: str) -> None:
        self._step(Fault(sentence, self._now_ns()))
        self._leave()

    def _leave(self) -> None:
        self._halt.set()
        self._ready.clear()  # not triggered: no parts yet
        if self._give_up_ns is None:
            self._give_up_ns = self._now_ns() + round(GRACE_S * 1e9)
