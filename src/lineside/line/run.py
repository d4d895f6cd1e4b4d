"""The line: source → engine → station → verdict, and beside it the store and the sinks.

Four threads, and one a durable sink, one job each; only the first knows the station:
    main      takes messages from one inbox in their order: station, verdicts, deadlines (line/control.py)
    camera    lets frames in (line/camera.py)
    engine    decodes, infers, decides, one part at a time (line/decide.py); then looks for drift (line/drift.py)
    recorder  commits results and outbox entries in groups, then tells the sinks (store/recorder.py)
    courier   sends what its sink's outbox holds until the consumer acknowledges it (line/courier.py)
and with a gate two more, which tell the PLC and watch the time that takes (line/gate/gate.py)

Triggers   without max_fps the next part comes when the one before has its verdict; with it, part k comes k / max_fps
           after the first, whether or not the line is ready (a conveyor does not wait). Its deadline and latency count
           from then, so falling behind shows as latency and misses, not as a slower conveyor.
           A camera with a software trigger is asked for a picture then; without max_fps, after each verdict. One that
           runs by itself, or by a signal of its own, sets the pace: max_fps is refused, several parts are in flight.
Verdicts   leave before anything is written. A hung engine does not delay the reject of a part whose deadline passes,
           nor does a store or sink that hangs, while there is room for results that wait for it. A part that is due by
           the clock and finds no room until its deadline stops the line with a fault.
Stopping   on request (Ctrl-C, SIGTERM) the part in flight gets its verdict and is stored. On a fault everything in
           flight is rejected, and the run ends with the fault in its summary.
"""

import itertools
import queue
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from lineside import __version__
from lineside.bundle.model import Model
from lineside.errors import SettingsError
from lineside.evidence.drift import Detector
from lineside.line import station as st
from lineside.line.camera import Room, take
from lineside.line.control import Actuator, Drifted, Inbox, Line, Lost, no_actuator
from lineside.line.decide import answerer, compare_rounded, warm_up
from lineside.line.drift import watcher
from lineside.line.gate.gate import Gate
from lineside.line.row import Flight, inspection, stages_ms
from lineside.line.sink.durable import Durable
from lineside.line.sink.sink import Sink
from lineside.line.source.frame import Frame, Source
from lineside.line.summary import Summary, Tally
from lineside.progress import Progress, silent
from lineside.store.records import Inspection, Run, printable

if TYPE_CHECKING:  # SQLAlchemy takes 0.4 s to import: only a line that really runs pays it
    from sqlalchemy import Engine

IN_FLIGHT = 16  # parts between trigger and verdict, where triggers do not wait for verdicts
ROOM, ROOM_BYTES = 256, 256 * 2**20  # at most so many inspections, and bytes of their pictures, wait for the disk
PROGRESS_EVERY_S = 0.2
CLOSE_S = 60.0  # for the store and the sinks to take the last results


def unheard(sentence: str) -> None:
    """Nobody is told while the line runs; the summary has it."""


def run(
    model: Model,
    source: Source,
    sinks: Sequence[Sink | Durable],
    store: "Engine",
    *,
    deadline_ms: float | None = None,
    max_fps: float | None = None,
    parts: int | None = None,
    actuate: Actuator = no_actuator,
    gate: Gate | None = None,
    inbox: Inbox | None = None,
    drift: Detector | None = None,
    say: Callable[[str], None] = unheard,
    progress: Progress = silent,
    now_ns: Callable[[], int] = time.monotonic_ns,
) -> Summary:
    """Run parts through the station until the source ends, `parts` have come, or Finish is put into the inbox.

    deadline_ms: from trigger to verdict; None: none. max_fps: triggers by the clock; None: one after another. actuate
    is called for each part, in order, as soon as its verdict is known; it must return at once, the next verdict waits
    for it. gate: an opened one is told instead, and closed at the end; a source that came to its end is not closed.
    drift watches what was decided on; its alarms stop nothing. say is told of them, and of durable sinks in trouble, at
    once and in another thread. The summary's `fault` says why the line stopped by itself. SettingsError for a bundle
    that can accept nothing, and for max_fps of a camera that sets its own pace; LineError where engine, store or gate
    does not start, or a rounded model answers otherwise than it did.
    """
    from lineside.line.courier import Courier
    from lineside.store.open import identity
    from lineside.store.outbox import Box
    from lineside.store.recorder import Recorder

    _check(deadline_ms, max_fps, parts, source)
    answer = answerer(model, now_ns)
    frames = itertools.islice(source.frames, parts)
    recorded = source.trigger == "recorded"
    first = next(frames, None) if recorded else None  # a camera is started when the line is ready, not before
    compare_rounded(model)
    warm_up(model, first if recorded else _blank(source))

    inbox = queue.SimpleQueue() if inbox is None else inbox
    settings = {"deadline_ms": deadline_ms, "max_fps": max_fps, "parts": parts, "sinks": [s.url for s in sinks]}
    settings["gate"] = gate.url if gate else None
    row = _run_row(model, source, settings)

    durable = [sink for sink in sinks if isinstance(sink, Durable)]
    if len({sink.key for sink in durable}) < len(durable):
        raise SettingsError("two sinks have the same host and topic or path, and so the same outbox; leave one out")
    immediate = [sink for sink in sinks if isinstance(sink, Sink)]
    who = f"{socket.gethostname()} {identity(store)}"
    couriers = [Courier(store, sink, who, say=say) for sink in durable]

    def tell(group: Sequence[Inspection]) -> None:
        for courier in couriers:
            courier.wake()
        for sink in immediate:
            sink.tell(group)

    if gate:
        gate.start(lambda sentence: inbox.put(Lost(sentence)))
    recorder = Recorder(
        store,
        row,
        tell=tell,
        failed=lambda sentence: inbox.put(Lost(sentence)),
        room=_room(first or _blank(source)),
        boxes=[Box(sink.key, sink.limit) for sink in durable],
    )
    classes = model.manifest.classes
    tally = Tally(classes, model.manifest.accept)
    room = Room(_in_flight(source, max_fps))
    halt = threading.Event()
    deadline_ns = None if deadline_ms is None else round(deadline_ms * 1e6)
    todo: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
    total = min((n for n in (source.total, parts) if n is not None), default=None)

    def engine() -> None:
        see = None if drift is None else watcher(drift, lambda: not todo.empty())
        while (frame := todo.get()) is not None:
            said = answer(frame)
            inbox.put(replace(said, picture=None))
            if see and (alarm := see(said)):
                inbox.put(Drifted(alarm))
                say(alarm.sentence())

    def camera() -> None:
        chained = frames if first is None else itertools.chain([first], frames)
        period_ns = None if max_fps is None else round(1e9 / max_fps)
        take(
            chained,
            inbox.put,
            enter_store=recorder.enter,
            enter=room.enter,
            period_ns=period_ns,
            deadline_ns=deadline_ns,
            now_ns=now_ns,
            halt=halt,
            fires=source.trigger == "software",
        )

    def record(result: st.Result, flight: Flight, total_ms: float) -> None:
        wall = datetime.now(UTC)
        recorder.put(lambda: inspection(row.id, classes, result, flight, wall, total_ms))
        tally.add(result.verdict, result.reason, flight.frame, stages_ms(flight.answer, total_ms))
        room.leave()
        draw(PROGRESS_EVERY_S)

    def draw(every_s: float) -> None:
        nonlocal drawn_ns
        if now_ns() - drawn_ns >= every_s * 1e9:
            drawn_ns = now_ns()
            progress(tally.parts, total or tally.parts, f"{tally.verdicts['reject']:,} rejected")

    threads = [threading.Thread(target=job, name=job.__name__, daemon=True) for job in (engine, camera)]
    for thread in (*threads, *couriers):
        thread.start()
    if gate:
        actuate = gate.actuate
    line = Line(st.Station(deadline_ns), actuate=actuate, infer=todo.put, record=record, halt=halt, now_ns=now_ns)
    started_ns = drawn_ns = now_ns()
    leaving = threading.Thread(target=source.close, name="closer", daemon=True)  # a camera may take seconds to let go
    _announce(immediate, "running", "")
    try:
        while not line.done:
            try:
                line.handle(inbox.get(timeout=line.patience_s()))
            except queue.Empty:
                line.wake()
            if gate and line.state.mode == "fault":
                gate.tell_state("fault")
            if halt.is_set() and leaving.ident is None:
                leaving.start()  # or nobody would leave before the next part comes
    finally:
        halt.set()
        todo.put(None)
        if gate:
            gate.close("fault" if line.state.mode == "fault" else "stopped")
        faulty = line.state.mode == "fault"
        if faulty:
            _announce(immediate, "fault", line.state.detail)
        try:
            recorder.close(datetime.now(UTC), CLOSE_S)
        finally:
            for courier in couriers:
                courier.close()
        if not faulty:
            _announce(immediate, "fault" if recorder.error else "stopped", recorder.error)
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
        fault=line.state.detail or (gate.error if gate else "") or recorder.error,
        alarms=tuple(line.alarms),
        wire=gate.latency() if gate else None,
        outboxes=tuple(courier.sent() for courier in couriers),
        source=source.counts.by_name(),
    )


def _announce(sinks: Sequence[Sink], mode: str, detail: str) -> None:
    for sink in sinks:
        sink.mode(mode, detail)


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


def _room(first: Frame | None) -> int:
    """Inspections between trigger and commit: they hold their pictures, and a slow disk must not eat the memory."""
    return max(8, min(ROOM, ROOM_BYTES // max(1, first.size_bytes if first else 1)))


def _in_flight(source: Source, max_fps: float | None) -> int:
    if source.trigger == "software" and max_fps is None:
        return 1  # the next is triggered when this one has its verdict
    if source.trigger == "recorded" and max_fps is None:
        return 2  # one in flight, one that is ready to follow
    return IN_FLIGHT


def _blank(source: Source) -> Frame | None:
    """A black frame of the camera's size: what an engine allocates depends on it."""
    return None if source.shape is None else Frame("", 0, "blank", picture=np.zeros(source.shape, np.uint8))


def _check(deadline_ms: float | None, max_fps: float | None, parts: int | None, source: Source) -> None:
    if max_fps is not None and source.trigger in ("free", "hardware"):
        raise SettingsError(
            f"max_fps: {source.url} sets the pace by itself (trigger {source.trigger}); leave --max-fps out, or "
            "trigger by software where the camera can: #trigger=software"
        )
    for name, value, least in (("deadline_ms", deadline_ms, 1e-3), ("max_fps", max_fps, 1e-3), ("parts", parts, 1)):
        if value is not None and not least <= value < float("inf"):
            raise SettingsError(f"{name}: expected a number of at least {least:g}, got {value}")
