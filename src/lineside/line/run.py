"""The line: source → engine → station → verdict, and beside it the store and the sinks.

Four threads, one job each; only the first knows the station:
    main      takes events from one inbox in their order, steps the station, gives verdicts, watches deadlines
    camera    lets frames in (line/camera.py)
    engine    decodes, infers, decides, one part at a time (line/decide.py)
    recorder  commits results in groups, then tells the sinks (store/recorder.py)

Triggers   without max_fps the next part comes when the one before has its verdict; with it, part k comes k / max_fps
           after the first, whether or not the line is ready (a conveyor does not wait). Its deadline and latency count
           from then, so falling behind shows as latency and misses, not as a slower conveyor.
Verdicts   leave before anything is written. A hung engine, store or sink does not delay the reject of a part whose
           deadline passes.
Stopping   on request (Ctrl-C, SIGTERM) the part in flight gets its verdict and is stored. On a fault everything in
           flight is rejected, and the run ends with the fault in its summary.
"""

import itertools
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from lineside import __version__
from lineside.bundle.model import Model
from lineside.errors import SettingsError
from lineside.line import station as st
from lineside.line.camera import Room, SourceEnd, Taken, take
from lineside.line.decide import Answer, answerer, warm_up
from lineside.line.row import Flight, inspection, stages_ms
from lineside.line.sink.sink import Sink
from lineside.line.source.frame import Frame, Source
from lineside.line.summary import Summary, Tally
from lineside.progress import Progress, silent
from lineside.store.records import Inspection, Run, printable

if TYPE_CHECKING:  # SQLAlchemy takes 0.4 s to import: only a line that really runs pays it
    from sqlalchemy import Engine

IN_FLIGHT = 16  # parts between trigger and verdict, where triggers do not wait for verdicts
GRACE_S = 10.0  # for the part in flight, after a request to stop
PROGRESS_EVERY_S = 0.2
CLOSE_S = 60.0  # for the store and the sinks to take the last results


@dataclass(frozen=True, slots=True)
class Lost:
    """From the recorder: the store or a sink has failed."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Finish:
    """From outside: stop after the part in flight."""


Inbox: TypeAlias = "queue.SimpleQueue[Taken | Answer | SourceEnd | Lost | Finish]"  # put is safe in a signal handler
Actuator = Callable[[st.Part, st.Verdict, str], None]


def no_actuator(part: st.Part, verdict: st.Verdict, reason: str) -> None:
    """No gate is connected: verdicts go to the store and the sinks only."""


def run(
    model: Model,
    source: Source,
    sinks: Sequence[Sink],
    store: "Engine",
    *,
    deadline_ms: float | None = None,
    max_fps: float | None = None,
    parts: int | None = None,
    actuate: Actuator = no_actuator,
    inbox: Inbox | None = None,
    progress: Progress = silent,
    now_ns: Callable[[], int] = time.monotonic_ns,
) -> Summary:
    """Run parts through the station until the source ends, `parts` have come, or Finish is put into the inbox.

    deadline_ms: from trigger to verdict; None: none. max_fps: triggers by the clock; None: one after another. actuate
    is called for each part, in order, as soon as its verdict is known. The summary's `fault` says why the line stopped
    by itself. SettingsError for a bundle that can accept nothing; LineError where engine or store does not start.
    """
    from lineside.store.recorder import Recorder

    _check(deadline_ms, max_fps, parts)
    answer = answerer(model, now_ns)
    frames = itertools.islice(source.frames, parts)
    first = next(frames, None)
    warm_up(model, first)

    inbox = queue.SimpleQueue() if inbox is None else inbox
    settings = {"deadline_ms": deadline_ms, "max_fps": max_fps, "parts": parts, "sinks": [s.url for s in sinks]}
    row = _run_row(model, source, settings)

    def tell(group: Sequence[Inspection]) -> None:
        for sink in sinks:
            sink.tell(group)

    recorder = Recorder(
        store,
        row,
        tell=tell,
        failed=lambda sentence: inbox.put(Lost(sentence)),
    )
    classes = model.manifest.classes
    tally = Tally(classes, model.manifest.accept)
    room = Room(1 if max_fps is None else IN_FLIGHT)
    halt = threading.Event()
    todo: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
    total = min((n for n in (source.total, parts) if n is not None), default=None)

    def engine() -> None:
        while (frame := todo.get()) is not None:
            inbox.put(answer(frame))

    def camera() -> None:
        chained = frames if first is None else itertools.chain([first], frames)
        period_ns = None if max_fps is None else round(1e9 / max_fps)
        enter = (recorder.enter, room.enter)
        take(chained, inbox.put, enter=enter, period_ns=period_ns, now_ns=now_ns, halt=halt)

    def record(result: st.Result, flight: Flight, total_ms: float) -> None:
        wall = datetime.now(UTC)
        recorder.put(lambda: inspection(row.id, classes, result, flight, wall, total_ms))
        tally.add(result.verdict, result.reason, flight.frame.truth, stages_ms(flight.answer, total_ms))
        room.leave()
        draw(PROGRESS_EVERY_S)

    def draw(every_s: float) -> None:
        nonlocal drawn_ns
        if now_ns() - drawn_ns >= every_s * 1e9:
            drawn_ns = now_ns()
            progress(tally.parts, total or tally.parts, f"{tally.verdicts['reject']:,} rejected")

    threads = [threading.Thread(target=job, name=job.__name__, daemon=True) for job in (engine, camera)]
    for thread in threads:
        thread.start()
    state = st.Station(None if deadline_ms is None else round(deadline_ms * 1e6))
    line = Line(state, actuate=actuate, infer=todo.put, record=record, halt=halt, now_ns=now_ns)
    started_ns = drawn_ns = now_ns()
    try:
        while not line.done:
            try:
                line.handle(inbox.get(timeout=line.patience_s()))
            except queue.Empty:
                line.wake()
    finally:
        halt.set()
        todo.put(None)
        recorder.close(datetime.now(UTC), CLOSE_S)
    draw(0)

    return tally.summary(
        run_id=row.id,
        deadline_ms=deadline_ms,
        max_behind_ms=None if max_fps is None else line.max_behind_ms,
        seconds=(line.last_ns - started_ns) / 1e9 if tally.parts else 0.0,
        ignored=line.state.ignored,
        stored=recorder.committed,
        lost=recorder.lost,
        interrupted=line.finishing,
        fault=line.state.detail or recorder.error,
    )


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
        self._waiting: deque[Frame] = deque()  # let in, not yet at the engine
        self._engine_busy = self._ended = False
        self._give_up_ns: int | None = None  # when nothing is waited for any more
        self.state = state
        self.finishing = False
        self.last_ns = now_ns()  # of the last verdict
        self.max_behind_ms = 0.0

    @property
    def done(self) -> bool:
        return self._ended and not self.state.waiting

    def patience_s(self) -> float | None:
        """How long nothing may happen before `wake`; None: for ever."""
        due = [ns for ns in (st.next_deadline_ns(self.state), self._give_up_ns) if ns is not None]
        return max(0, min(due) - self._now_ns()) / 1e9 if due else None

    def wake(self) -> None:
        """A deadline has passed, or the patience after a request to stop."""
        now = self._now_ns()
        if self._give_up_ns is not None and now >= self._give_up_ns:
            self._ended = True
            self._step(st.Stop(now))
        else:
            self._step(st.Tick(now))

    def handle(self, message: "Taken | Answer | SourceEnd | Lost | Finish") -> None:
        match message:
            case Taken(frame, time_ns, behind_ms):
                self.max_behind_ms = max(self.max_behind_ms, behind_ms)
                self._flights[frame.sequence] = Flight(frame)
                self._waiting.append(frame)
                self._step(st.Triggered(st.Part(frame.part_id, frame.sequence), time_ns))
                self._step(st.Tick(self._now_ns()))  # let in after its deadline: not worth an inference
            case Answer(event):
                self._engine_busy = False
                if flight := self._flights.get(event.part.sequence):
                    flight.answer = message
                self._step(event)
            case SourceEnd(sentence):
                self._ended = True
                if sentence:
                    self._fault(sentence)
            case Lost(sentence):
                self._fault(sentence)
            case Finish():
                self.finishing = True
                self._leave()
        while self._waiting and not self._engine_busy:
            if (frame := self._waiting.popleft()).sequence in self._flights:  # else its verdict has left already
                self._engine_busy = True
                self._infer(frame)

    def _step(self, event: st.Event) -> None:
        self.state, actions = st.step(self.state, event)
        failure = ""
        for action in actions:
            match action:
                case st.Actuate(part, verdict, reason):
                    try:
                        self._actuate(part, verdict, reason)
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
        if self._give_up_ns is None:
            self._give_up_ns = self._now_ns() + round(GRACE_S * 1e9)


def _run_row(model: Model, source: Source, settings: dict[str, Any]) -> Run:
    return Run(
        id=uuid.uuid4().hex,
        started=datetime.now(UTC),
        bundle_sha256=model.sha256,
        bundle=printable(str(model.path)),
        source=printable(source.url),
        lineside=__version__,
        settings=settings | {"engine": model.served.engine, "precision": model.served.precision},
    )


def _check(deadline_ms: float | None, max_fps: float | None, parts: int | None) -> None:
    for name, value in (("deadline_ms", deadline_ms), ("max_fps", max_fps), ("parts", parts)):
        if value is not None and not 0 < value < float("inf"):
            raise SettingsError(f"{name}: expected a number above 0, got {value}")
