"""The line: cameras → engine → station → verdict, and beside it the store and the sinks.

Threads, one job each; only the first knows the station:
    main      takes messages from one inbox in their order: station, verdicts, deadlines (line/control.py)
    camera    lets frames in; one a camera (line/camera.py)
    engine    decodes, infers, decides, one picture at a time (line/decide.py); then looks for drift (line/drift.py)
    recorder  commits results and outbox entries in groups, then tells the sinks (store/recorder.py)
    courier   sends what its sink's outbox holds until the consumer acknowledges it; one a sink (line/courier.py)
and with a gate two more, which tell the PLC and watch the time that takes (line/gate/gate.py)

Triggers   without max_fps the next part comes when the one before has its verdict; with it, part k comes k / max_fps
           after the first, whether or not the line is ready (a conveyor does not wait). Its deadline and latency count
           from then, so falling behind shows as latency and misses, not as a slower conveyor.
           A camera with a software trigger is asked for a picture then; without max_fps, after each verdict. One that
           runs by itself, or by a signal of its own, sets the pace: max_fps is refused, several parts are in flight.
Views      frame k of every camera shows part k; the part is accepted when every camera's model says so.
Products   every product's models are loaded at the start; a part is judged by those of the product that was prepared
           when it was triggered.
Verdicts   are remembered in memory that outlives the process (store/journal.py), and leave before anything is written
           to a disk. A hung engine does not delay the reject of a part whose deadline passes, nor does a store or sink
           that hangs, while there is room for results that wait for it. A part that is due by the clock and finds no
           room until its deadline stops the line with a fault.
Stopping   on request (Ctrl-C, SIGTERM) the part in flight gets its verdict and is stored. On a fault everything in
           flight is rejected, and the run ends with the fault in its summary.
"""

import itertools
import queue
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lineside import __version__
from lineside.errors import SettingsError
from lineside.line import note, said, snapshot
from lineside.line.camera import Conveyor, Door, Room, take
from lineside.line.control import Actuator, Asked, Drifted, Inbox, Line, Lost, no_actuator
from lineside.line.decide import answerer, compare_rounded, warm_up
from lineside.line.drift import watcher
from lineside.line.events import Changed, Result
from lineside.line.gate.gate import Gate
from lineside.line.halted import Reminder
from lineside.line.row import Flight, given, inspection, stages_ms
from lineside.line.sink.durable import Durable
from lineside.line.sink.sink import Sink, Standing
from lineside.line.source.frame import Frame, Source
from lineside.line.station import Station
from lineside.line.summary import Summary, Tally
from lineside.line.systemd import NOBODY, Service
from lineside.line.view import PRODUCT, View
from lineside.progress import Progress, silent
from lineside.store.records import Inspection, Run, printable

if TYPE_CHECKING:  # SQLAlchemy takes 0.4 s to import: only a line that really runs pays it
    from sqlalchemy import Engine

    from lineside.line.keeper import Pictures

IN_FLIGHT = 16  # parts between trigger and verdict, where triggers do not wait for verdicts
ROOM, ROOM_BYTES = 256, 256 * 2**20  # at most so many inspections, and bytes of their pictures, wait for the disk
PROGRESS_EVERY_S = 0.2
ENGINE_S = 2.0  # for the engine to come back from its last picture
HANGS = "the engine has not come back from a picture; start the line again, and look at the bundle with lineside verify"
CLOSE_S = 60.0  # for the store and the sinks to take the last results


@dataclass(frozen=True, slots=True)
class Pace:
    """When parts come, and what is asked of the time. None: not limited, not watched."""

    deadline_ms: float | None = None  # from trigger to verdict
    max_fps: float | None = None  # triggers by the clock; None: one after another
    together_ms: float | None = 20.0  # several cameras: pictures of one part are taken within so long
    halt_after: int | None = None  # rejects in a row
    watchdog_s: float | None = None  # no part for so long is a fault
    parts: int | None = None  # stop after so many

    def __post_init__(self) -> None:
        least = {"deadline_ms": 1e-3, "max_fps": 1e-3, "together_ms": 1e-3, "halt_after": 1, "watchdog_s": 1e-3}
        for name, least_of_it in (least | {"parts": 1}).items():
            value = getattr(self, name)
            if value is not None and not least_of_it <= value < float("inf"):
                raise SettingsError(f"{name}: expected a number of at least {least_of_it:g}, got {value}")


def run(
    views: Sequence[View],
    sinks: Sequence[Sink | Durable],
    store: "Engine",
    *,
    pace: Pace = Pace(),
    product: str | None = None,
    autostart: bool = True,
    resettable: bool = False,
    actuate: Actuator = no_actuator,
    gate: Gate | None = None,
    inbox: Inbox | None = None,
    service: Service = NOBODY,
    pictures: "Pictures | None" = None,
    journal: Path | None = None,
    say: said.Say = said.unheard,
    window: snapshot.Window | None = None,
    progress: Progress = silent,
    now_ns: Callable[[], int] = time.monotonic_ns,
) -> Summary:
    """Run parts through the station until the cameras end, `pace.parts` have come, or Finish is put into the inbox.

    views: one a camera, all with the same products. product: is prepared at the start; None: the first. autostart: and
    inspected at once; if not, an order (control.Asked) in the inbox starts it. resettable: such orders can come; a
    station that halts by itself waits for one instead of ending the run. actuate is called for each part, in order, as
    soon as its verdict is known; it must return at once, the next verdict waits for it. gate: an opened one is told
    instead, and closed at the end; a source that came to its end is not closed. service, a manager of services, hears
    that the line is ready, alive, stopping. pictures: which are kept, and where. journal: the folder for what is
    decided and not stored yet (store/journal.py), and of what a line that was killed has left there; None: neither.
    Drift stops nothing. say is told what happens, in any thread, and must return at once (line/log.py); window is where
    others look in while the line runs (line/snapshot.py). The summary's `fault` says why the line stopped by itself.
    SettingsError for a bundle that can accept nothing, and for max_fps of a camera that sets its own pace; LineError
    where engine, store or gate does not start, or a rounded model answers otherwise than it did.
    """
    from lineside.line.courier import Courier
    from lineside.line.keeper import open_keeper
    from lineside.store.journal import Journal
    from lineside.store.open import identity
    from lineside.store.outbox import Box
    from lineside.store.recorder import Recorder
    from lineside.store.takeover import take_over

    names = tuple(view.name for view in views)
    products = tuple(views[0].models)
    product = products[0] if product is None else product
    _check(views, products, product, pace)
    answers = {(v.name, p): answerer(model, now_ns, v.name) for v in views for p, model in v.models.items()}
    classes = {p: {v.name: v.models[p].manifest.classes for v in views} for p in products}
    frames = {view.name: itertools.islice(view.source.frames, pace.parts) for view in views}
    first: dict[str, Frame | None] = {}
    for view in views:  # a camera is started when the line is ready, not before
        first[view.name] = next(frames[view.name], None) if view.source.trigger == "recorded" else None
        for model in view.models.values():
            compare_rounded(model)
            warm_up(model, first[view.name] if view.source.trigger == "recorded" else _blank(view.source))

    inbox = queue.SimpleQueue() if inbox is None else inbox
    row = _run_row(views, product, pace, sinks, gate)
    say(said.started(row))
    for view in views:
        view.source.listen(say)

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

    def warn(sentence: str) -> None:
        say(said.Said("note", sentence, "warning"))

    if journal:
        for sentence in take_over(store, journal, datetime.now(UTC)):
            warn(sentence)
    if gate:
        gate.start(lambda sentence: inbox.put(Lost(sentence)), say)
    kept = _room([first[view.name] or _blank(view.source) for view in views])
    boxes = [Box(sink.key, sink.limit, sink.events) for sink in durable]
    recorder = Recorder(
        store,
        row,
        tell=tell,
        failed=lambda sentence: inbox.put(Lost(sentence)),
        room=kept,
        boxes=boxes,
        journal=Journal(journal, store, row.id, boxes, warn) if journal else None,
    )
    keeper = open_keeper(pictures, store, row.id, [sink.key for sink in durable if sink.events], say)
    tally = Tally({p: (views[0].models[p].manifest.classes, views[0].models[p].manifest.accept) for p in products})
    room = Room(min(_in_flight(view.source, pace) for view in views))
    verdicts_ns: deque[int] = deque(maxlen=2 * ROOM)  # when the last ones left
    halt = threading.Event()
    deadline_ns = _ns(pace.deadline_ms, 1e6)
    todo: queue.SimpleQueue[tuple[str, str, Frame] | None] = queue.SimpleQueue()
    total = min((n for n in (*(view.source.total for view in views), pace.parts) if n is not None), default=None)

    def engine() -> None:
        watched = ((v.name, p, detector) for v in views for p, detector in v.drifts.items())
        see = {(name, p): watcher(detector, lambda: not todo.empty()) for name, p, detector in watched if detector}
        while (job := todo.get()) is not None:
            camera, made, frame = job
            spoken = answers[camera, made](frame)
            inbox.put(replace(spoken, picture=None))
            if (look := see.get((camera, made))) and (alarm := look(spoken)):
                inbox.put(Drifted(alarm, camera))
                recorder.note(note.drift(row.id, datetime.now(UTC), alarm, camera))
                say(said.drifted(alarm, camera if len(views) > 1 else "", frame.part_id))

    conveyor = None if pace.max_fps is None else Conveyor(round(1e9 / pace.max_fps))
    store_door = Door(recorder.enter)
    door = Door(room.enter)

    def camera(view: View) -> None:
        before = first[view.name]
        chained = frames[view.name] if before is None else itertools.chain([before], frames[view.name])
        own = conveyor is not None or view.source.trigger in ("free", "hardware")  # parts come whatever the line does
        take(
            chained,
            inbox.put,
            enter_store=store_door.enter,
            # Asked again when there is room: by then the part before may have been the last one to be inspected.
            enter=lambda k, s: (
                (own or line.inspecting.wait(s)) and door.enter(k, s) and (own or line.inspecting.is_set())
            ),
            conveyor=conveyor,
            deadline_ns=deadline_ns,
            now_ns=now_ns,
            halt=halt,
            fires=view.source.trigger == "software",
            camera=view.name,
        )

    def remember(result: Result, flight: Flight, total_ms: float) -> None:
        recorder.remember(given(row.id, result, flight, datetime.now(UTC), total_ms, told_product(flight)))

    def told_product(flight: Flight) -> str | None:
        return None if products == (PRODUCT,) else flight.product

    def record(result: Result, flight: Flight, total_ms: float) -> None:
        wall = datetime.now(UTC)

        def make() -> Inspection:
            made = inspection(row.id, classes[flight.product], result, flight, wall, total_ms, told_product(flight))
            return keeper.offer(made, *flight.frames.values()) if keeper else made

        recorder.put(make)
        if result.expected:
            recorder.note(note.calibration(row.id, wall, result))
        verdicts_ns.append(line.last_ns)
        tally.add(flight.product, result.verdict, result.reason, flight.frame, stages_ms(flight, total_ms))
        room.leave()
        draw(PROGRESS_EVERY_S)

    def changed(change: Changed, who: str) -> None:
        recorder.note(note.state(row.id, datetime.now(UTC), change, who))
        say(said.changed(change, who, line.over))
        reminder.changed(change, tally.verdicts["reject"])
        if change.state == "halted" and line.over:  # not by an order or by rejects: then nothing on the belt passes
            farewell.append(change)  # when the last results were told, and the last parts are at the gate
        else:
            announce(change)
            if gate:
                gate.tell_state(change.state)

    def announce(change: Changed) -> None:
        for sink in immediate:
            sink.state(Standing(change.state, change.product, change.why, row.id))

    farewell: list[Changed] = []
    reminder = Reminder(say, now_ns)

    def obeyed(asked: Asked, refused: str) -> None:
        recorder.note(note.command(row.id, datetime.now(UTC), asked, refused))
        say(said.obeyed(asked, refused))

    def draw(every_s: float) -> None:
        nonlocal drawn_ns
        if now_ns() - drawn_ns >= every_s * 1e9:
            drawn_ns = now_ns()
            progress(tally.parts, total or tally.parts, f"{tally.verdicts['reject']:,} rejected")

    line = Line(
        Station(
            deadline_ns,
            cameras=names,
            products=products,
            halt_after=pace.halt_after,
            watchdog_ns=_ns(pace.watchdog_s, 1e9),
        ),
        actuate=gate.actuate if gate else actuate,
        infer=lambda camera, made, frame: todo.put((camera, made, frame)),
        remember=remember,
        record=record,
        halt=halt,
        now_ns=now_ns,
        changed=changed,
        obeyed=obeyed,
        together_ns=_ns(pace.together_ms, 1e6),
        resettable=resettable,
    )
    threads = [threading.Thread(target=engine, name="engine", daemon=True)]
    threads += [threading.Thread(target=camera, args=(v,), name=f"camera {v.name}", daemon=True) for v in views]
    # A camera may take seconds to let go.
    leaving = [threading.Thread(target=v.source.close, name=f"closer {v.name}", daemon=True) for v in views]
    started_ns = drawn_ns = now_ns()
    if window:
        look = snapshot.taker(row.id, views, pace.deadline_ms, tally, line, recorder, kept, verdicts_ns, gate, now_ns)
        window.open(look, couriers)
    try:
        line.begin(product, autostart)
        for thread in (*threads, *couriers):
            thread.start()
        service.ready()
        while not line.done:
            try:
                line.handle(inbox.get(timeout=reminder.patience_s(service.patience_s(line.patience_s()))))
            except queue.Empty:
                line.wake()
            service.alive()
            reminder.look(tally.verdicts["reject"])
            if halt.is_set() and leaving[0].ident is None:
                for thread in leaving:
                    thread.start()  # or nobody would leave before the next part comes
        line.end()
    finally:
        service.stopping()
        halt.set()
        todo.put(None)
        if gate:
            gate.close("fault" if line.fault else "stopped")
        try:
            if kept_in := recorder.close(datetime.now(UTC), CLOSE_S):
                warn(f"what the store has not taken is in {kept_in}: the next line on this store takes it over")
        finally:
            for courier in couriers:
                courier.close()
            if keeper:
                keeper.close(CLOSE_S)
        for change in [Changed("error", product, recorder.error)] if recorder.error and not line.fault else farewell:
            announce(change)
    draw(0)
    if window:
        window.close()
    threads[0].join(ENGINE_S)
    hangs = threads[0].is_alive()

    summary = tally.summary(
        run_id=row.id,
        deadline_ms=pace.deadline_ms,
        max_behind_ms=None if pace.max_fps is None else line.max_behind_ms,
        seconds=(line.last_ns - started_ns) / 1e9 if tally.parts else 0.0,
        ignored=line.state.ignored,
        stored=recorder.committed,
        lost=recorder.lost,
        interrupted=line.finishing,
        fault=line.fault or (gate.error if gate else "") or recorder.error or (HANGS if hangs else ""),
        hangs=hangs,
        pictures=keeper.kept() if keeper else None,
        alarms=tuple(one.alarm for one in line.alarms),
        wire=gate.latency() if gate else None,
        outboxes=tuple(courier.sent() for courier in couriers),
        source=_fates(views),
        end=gate.ends.latency() if gate else None,
        passed_by=gate.passed_by if gate else 0,
    )
    say(said.stopped(summary))
    return summary


def _run_row(
    views: Sequence[View], product: str, pace: Pace, sinks: Sequence[Sink | Durable], gate: Gate | None
) -> Run:
    """Of several cameras or products: the first one's bundle by name, every one's in the settings."""
    model = views[0].models[product]
    settings: dict[str, Any] = {
        "deadline_ms": pace.deadline_ms,
        "max_fps": pace.max_fps,
        "parts": pace.parts,
        "sinks": [sink.url for sink in sinks],
        "gate": gate.url if gate else None,
        "engine": model.served.engine,
        "precision": model.served.precision,
    }
    if len(views) > 1 or len(views[0].models) > 1:
        settings["product"] = product
        settings["cameras"] = {view.name: printable(view.source.url) for view in views}
        settings["products"] = {p: {v.name: v.models[p].sha256 for v in views} for p in views[0].models}
    return Run(
        id=uuid.uuid4().hex,
        started=datetime.now(UTC),
        bundle_sha256=model.sha256,
        bundle=printable(str(model.path)),
        source=printable(" ".join(view.source.url for view in views)),
        lineside=__version__,
        settings=settings,
    )


def _room(frames: Sequence[Frame | None]) -> int:
    """Inspections between trigger and commit: they hold their pictures, and a slow disk must not eat the memory."""
    size = sum(frame.size_bytes for frame in frames if frame)
    return max(8, min(ROOM, ROOM_BYTES // max(1, size)))


def _in_flight(source: Source, pace: Pace) -> int:
    if source.trigger == "software" and pace.max_fps is None:
        return 1  # the next is triggered when this one has its verdict
    if source.trigger == "recorded" and pace.max_fps is None:
        return 2  # one in flight, one that is ready to follow
    return IN_FLIGHT


def _blank(source: Source) -> Frame | None:
    """A black frame of the camera's size: what an engine allocates depends on it."""
    return None if source.shape is None else Frame("", 0, "blank", picture=np.zeros(source.shape, np.uint8))


def _fates(views: Sequence[View]) -> dict[str, int]:
    """What became of the frames, of all cameras together."""
    counts = [view.source.counts.by_name() for view in views]
    return {name: sum(one[name] for one in counts) for name in counts[0]}


def _ns(value: float | None, unit: float) -> int | None:
    return None if value is None else round(value * unit)


def _check(views: Sequence[View], products: tuple[str, ...], product: str, pace: Pace) -> None:
    if product not in products:
        raise SettingsError(f"no product {product!r}; there are: {', '.join(products)}")
    paces = {view.source.trigger in ("free", "hardware") for view in views}
    if len(paces) > 1:
        raise SettingsError(
            "some cameras set the pace by themselves and some wait for the line's trigger ("
            + ", ".join(f"{view.name}: {view.source.trigger}" for view in views)
            + "); the cameras of one line need one kind of trigger"
        )
    for view in views:
        if pace.max_fps is not None and view.source.trigger in ("free", "hardware"):
            raise SettingsError(
                f"max_fps: {view.source.url} sets the pace by itself (trigger {view.source.trigger}); leave --max-fps "
                "out, or trigger by software where the camera can: #trigger=software"
            )
