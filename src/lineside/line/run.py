"""The line: cameras → engine → station → verdict, and beside it the store and the sinks.

Threads, one job each; only the first knows the station:
    main      takes messages from one inbox in their order: station, verdicts, deadlines (line/control.py)
    camera    lets frames in; one a camera (line/camera.py)
    engine    decodes, infers, decides, one picture at a time; then looks for drift (line/engine.py)
    recorder  commits results and outbox entries in groups, then tells the sinks (store/recorder.py, line/books.py)
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
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from sqlalchemy import Engine as Store

from lineside.errors import SettingsError
from lineside.evidence.drift import Alarm
from lineside.line import note, said, snapshot
from lineside.line import pace as paces
from lineside.line.books import Books, room_for, run_row
from lineside.line.camera import Conveyor, Door, Room, take
from lineside.line.control import Actuator, Line, no_actuator
from lineside.line.decide import compare_rounded, warm_up
from lineside.line.engine import Engine
from lineside.line.events import Changed, Result
from lineside.line.gate.gate import Gate
from lineside.line.halted import Reminder
from lineside.line.keeper import Pictures
from lineside.line.messages import Asked, Drifted, Inbox, Lost
from lineside.line.pace import AFTER_EACH_OTHER, Pace
from lineside.line.row import Flight
from lineside.line.sink.durable import Durable
from lineside.line.sink.sink import Sink
from lineside.line.source.frame import Frame
from lineside.line.station import Station
from lineside.line.summary import Summary
from lineside.line.systemd import NOBODY, Service
from lineside.line.view import View
from lineside.progress import Progress, silent

PROGRESS_EVERY_S = 0.2
ENGINE_S = 2.0  # for the engine to come back from its last picture
HANGS = "the engine has not come back from a picture; start the line again, and look at the bundle with lineside verify"


def run(
    views: Sequence[View],
    sinks: Sequence[Sink | Durable],
    store: Store,
    *,
    name: str = "line",
    pace: Pace = AFTER_EACH_OTHER,
    product: str | None = None,
    autostart: bool = True,
    resettable: bool = False,
    actuate: Actuator = no_actuator,
    gate: Gate | None = None,
    inbox: Inbox | None = None,
    service: Service = NOBODY,
    pictures: Pictures | None = None,
    journal: Path | None = None,
    say: said.Say = said.unheard,
    window: snapshot.Window | None = None,
    progress: Progress = silent,
    now_ns: Callable[[], int] = time.monotonic_ns,
) -> Summary:
    """Run parts through the station until the cameras end, `pace.parts` have come, or Finish is put into the inbox.

    views: one a camera, all with the same products. name: of this line, in the store. product: is prepared at the
    start; None: the first. autostart: and inspected at once; if not, an order (messages.Asked) in the inbox starts it.
    resettable: such orders can come; a station that halts by itself waits for one instead of ending the run. actuate is
    called for each part, in order, as soon as its verdict is known; it must return at once, the next verdict waits for
    it. gate: an opened one is told instead, and closed at the end; a source that came to its end is not closed.
    service, a manager of services, hears the line's state, and that it is ready, alive, stopping. pictures: which are
    kept, and where. journal: the folder for what is decided and not stored yet (store/journal.py), and of what a line
    that was killed has left there; None: neither.
    Drift stops nothing. say is told what happens, in any thread, and must return at once (line/log.py); window is where
    others look in while the line runs (line/snapshot.py). The summary's `fault` says why the line stopped by itself.
    SettingsError for a bundle that can accept nothing, and for max_fps of a camera that sets its own pace; LineError
    where engine, store or gate does not start, or a rounded model answers otherwise than it did.
    """
    products = tuple(views[0].models)
    product = products[0] if product is None else product
    if product not in products:
        raise SettingsError(f"no product {product!r}; there are: {', '.join(products)}")
    paces.check(views, pace)
    inbox = queue.SimpleQueue() if inbox is None else inbox

    def drifted(alarm: Alarm, camera: str, part_id: str) -> None:
        inbox.put(Drifted(alarm, camera))
        books.note(note.drift, alarm, camera)
        say(said.drifted(alarm, camera if len(views) > 1 else "", part_id))

    def lost(sentence: str) -> None:
        inbox.put(Lost(sentence))

    engine = Engine(views, told=inbox.put, drifted=drifted, now_ns=now_ns)
    frames = {view.name: itertools.islice(view.source.frames, pace.parts) for view in views}
    first = {view.name: _first(view, frames[view.name]) for view in views}

    row = run_row(name, views, product, pace, sinks, gate.url if gate else None)
    say(said.started(row))
    for view in views:
        # By the clock the next part comes in any case; else the line would ask a camera that is away again and again.
        view.source.listen(say, None if pace.max_fps is None or pace.deadline_ms is None else pace.deadline_ms / 1e3)
    books = Books(row, views, sinks, store, journal=journal, say=say)
    if gate:
        gate.start(lost, say)
    books.open(room_for([first[view.name] or _blank(view) for view in views]), pictures, lost)
    tally = books.tally
    total = min((n for n in (*(view.source.total for view in views), pace.parts) if n is not None), default=None)
    flights = Room(min(paces.in_flight(view.source, pace) for view in views))
    halt = threading.Event()
    deadline_ns = _ns(pace.deadline_ms, 1e6)
    conveyor = None if pace.max_fps is None else Conveyor(round(1e9 / pace.max_fps))
    store_door, door = Door(books.recorder.enter), Door(flights.enter)

    def camera(view: View) -> None:
        before = first[view.name]
        own = conveyor is not None or view.source.trigger in paces.OWN  # parts come whatever the line does
        take(
            frames[view.name] if before is None else itertools.chain([before], frames[view.name]),
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
            together_ns=_ns(pace.together_ms, 1e6) if len(views) > 1 else None,
            camera=view.name,
        )

    def record(result: Result, flight: Flight, total_ms: float) -> None:
        books.record(result, flight, total_ms, line.last_ns)
        flights.leave()
        draw(PROGRESS_EVERY_S)

    farewell: list[Changed] = []
    reminder = Reminder(say, now_ns)

    def changed(change: Changed, who: str) -> None:
        books.note(note.state, change, who)
        one = said.changed(change, who, line.over)
        say(one)
        service.state(one.sentence)
        reminder.changed(change, tally.verdicts["reject"])
        if change.state == "halted" and line.over:  # not by an order or by rejects: then nothing on the belt passes
            farewell.append(change)  # when the last results were told, and the last parts are at the gate
        else:
            books.announce(change)
            if gate:
                gate.tell_state(change.state)

    def obeyed(asked: Asked, refused: str) -> None:
        books.note(note.command, asked, refused)
        say(said.obeyed(asked, refused))

    def draw(every_s: float) -> None:
        nonlocal drawn_ns
        if now_ns() - drawn_ns >= every_s * 1e9:
            drawn_ns = now_ns()
            progress(tally.parts, total or tally.parts, f"{tally.verdicts['reject']:,} rejected")

    line = Line(
        Station(
            deadline_ns,
            cameras=tuple(view.name for view in views),
            products=products,
            halt_after=pace.halt_after,
            watchdog_ns=_ns(pace.watchdog_s, 1e9),
        ),
        actuate=gate.actuate if gate else actuate,
        infer=engine.infer,
        remember=books.remember,
        record=record,
        halt=halt,
        now_ns=now_ns,
        changed=changed,
        obeyed=obeyed,
        together_ns=_ns(pace.together_ms, 1e6),
        resettable=resettable,
    )
    cameras = [threading.Thread(target=camera, args=(v,), name=f"camera {v.name}", daemon=True) for v in views]
    # A camera may take seconds to let go.
    leaving = [threading.Thread(target=v.source.close, name=f"closer {v.name}", daemon=True) for v in views]
    started_ns = drawn_ns = now_ns()
    if window:
        window.open(snapshot.taker(views, pace.deadline_ms, line, books, gate, now_ns), books.couriers)
    try:
        line.begin(product, autostart)
        for thread in (engine, *cameras, *books.couriers):
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
        engine.end()
        if gate:
            gate.close("fault" if line.fault else "stopped")
        books.close()
        if books.recorder.error and not line.fault:
            farewell = [Changed("error", product, books.recorder.error)]
        for change in farewell:
            books.announce(change)
    draw(0)
    if window:
        window.close()
    hangs = engine.hangs(ENGINE_S)

    summary = tally.summary(
        run_id=row.id,
        deadline_ms=pace.deadline_ms,
        max_behind_ms=None if pace.max_fps is None else line.max_behind_ms,
        seconds=(line.last_ns - started_ns) / 1e9 if tally.parts else 0.0,
        ignored=line.state.ignored,
        stored=books.recorder.committed,
        lost=books.recorder.lost,
        interrupted=line.finishing,
        fault=line.fault or (gate.error if gate else "") or books.recorder.error or (HANGS if hangs else ""),
        halted=line.halted,
        hangs=hangs,
        pictures=books.keeper.kept() if books.keeper else None,
        alarms=tuple(one.alarm for one in line.alarms),
        wire=gate.latency() if gate else None,
        outboxes=tuple(courier.sent() for courier in books.couriers),
        source=_fates(views),
        end=gate.ends.latency() if gate else None,
        passed_by=gate.passed_by if gate else 0,
    )
    say(said.stopped(summary))
    return summary


def _first(view: View, frames: Iterator[Frame]) -> Frame | None:
    """Warm the view's models up, and compare what is rounded; the first picture, where it had to be taken for that.

    A camera is started when the line is ready, not before.
    """
    recorded = view.source.trigger == "recorded"
    first = next(frames, None) if recorded else None
    for model in view.models.values():
        compare_rounded(model)
        warm_up(model, first if recorded else _blank(view))
    return first


def _blank(view: View) -> Frame | None:
    """A black frame of the camera's size: what an engine allocates depends on it."""
    shape = view.source.shape
    return None if shape is None else Frame("", 0, "blank", picture=np.zeros(shape, np.uint8))


def _fates(views: Sequence[View]) -> dict[str, int]:
    """What became of the frames, of all cameras together."""
    counts = [view.source.counts.by_name() for view in views]
    return {name: sum(one[name] for one in counts) for name in counts[0]}


def _ns(value: float | None, unit: float) -> int | None:
    return None if value is None else round(value * unit)
