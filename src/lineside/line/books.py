"""The books of a line: what it remembers, writes down, counts and tells of its parts, and of what else happens.

remember   a verdict, before it leaves: in memory that outlives the process (store/journal.py)
record     a part, after its verdict has left: counts, store, pictures; the sinks are told when the store has it
note       what is no part: a state, an order, drift (line/note.py)

All of it returns at once. Beside the line's threads work those of the recorder, which commits results and outbox
entries in groups, of the keeper of pictures, and of a courier for each sink with an outbox.
"""

import shlex
import socket
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from lineside import __version__
from lineside.line import note
from lineside.line.courier import Courier
from lineside.line.events import Changed, Result
from lineside.line.keeper import Pictures, open_keeper
from lineside.line.pace import Pace
from lineside.line.row import Flight, given, inspection, stages_ms
from lineside.line.said import Said, Say
from lineside.line.sink.durable import Durable, apart
from lineside.line.sink.sink import Sink, Standing
from lineside.line.source.frame import Frame
from lineside.line.summary import Tally
from lineside.line.view import UNNAMED, View
from lineside.store.journal import Journal
from lineside.store.open import identity, where
from lineside.store.outbox import Box
from lineside.store.recorder import Recorder
from lineside.store.records import Event, Inspection, Run, printable
from lineside.store.release import deserted
from lineside.store.takeover import take_over

ROOM, ROOM_BYTES = 256, 256 * 2**20  # at most so many inspections, and bytes of their pictures, wait for the disk
CLOSE_S = 60.0  # for the store and the sinks to take the last results


class Books:
    """Make them, open them before the first part, start the couriers, close the books after the last part. Final."""

    def __init__(
        self,
        row: Run,
        views: Sequence[View],
        sinks: Sequence[Sink | Durable],
        store: Engine,
        *,
        journal: Path | None,
        say: Say,
    ):
        """Takes over what a dead line on this store has left in the journal's folder. SettingsError for two sinks with
        one outbox; LineError where the store does not answer."""
        self.run_id, self._row, self._store, self._journal, self._say = row.id, row, store, journal, say
        products = tuple(views[0].models)
        self._named = products != (UNNAMED,)
        self._classes = {p: {v.name: v.models[p].manifest.classes for v in views} for p in products}
        self._durable = [sink for sink in sinks if isinstance(sink, Durable)]
        apart([sink.key for sink in self._durable])
        self._immediate = [sink for sink in sinks if isinstance(sink, Sink)]
        who = f"{socket.gethostname()} {identity(store)}"
        self.couriers = [Courier(store, sink, who, say=say) for sink in self._durable]
        self.tally = Tally(
            {p: (views[0].models[p].manifest.classes, views[0].models[p].manifest.accept) for p in products}
        )
        self.left_ns: deque[int] = deque(maxlen=2 * ROOM)  # when the last verdicts left
        if journal:
            for sentence in take_over(store, journal, datetime.now(UTC)):
                self._warn(sentence)

    def open(self, room: int, pictures: Pictures | None, failed: Callable[[str], None]) -> None:
        """From now on results are taken. room: for those between trigger and commit. failed is told, in any thread, why
        the store or a sink takes nothing any more. LineError where the store or the pictures' folder can't be used."""
        self.room = room
        boxes = [Box(sink.key, sink.limit, sink.events) for sink in self._durable]
        for key, found in deserted(self._store, [box.key for box in boxes]).items():
            self._warn(
                f"{found.count:,} results and events wait for {key}, and no line sends to it now; start the one that "
                f"does, or if this consumer will not come back: lineside forget {shlex.quote(where(self._store))} "
                f"--sink {shlex.quote(key)} --who NAME --why TEXT"
            )
        self.recorder = Recorder(
            self._store,
            self._row,
            tell=self._tell,
            failed=failed,
            room=room,
            boxes=boxes,
            journal=Journal(self._journal, self._store, self.run_id, boxes, self._warn) if self._journal else None,
        )
        keys = [sink.key for sink in self._durable if sink.events]
        self.keeper = open_keeper(pictures, self._store, self.run_id, keys, self._say)

    def remember(self, result: Result, flight: Flight, total_ms: float) -> None:
        """A verdict, before it leaves."""
        self.recorder.remember(given(self.run_id, result, flight, datetime.now(UTC), total_ms, self._product(flight)))

    def record(self, result: Result, flight: Flight, total_ms: float, left_ns: int) -> None:
        """A part whose verdict has left."""
        wall, classes, product = datetime.now(UTC), self._classes[flight.product], self._product(flight)

        def make() -> Inspection:
            made = inspection(self.run_id, classes, result, flight, wall, total_ms, product)
            return self.keeper.offer(made, *flight.frames.values()) if self.keeper else made

        self.recorder.put(make)
        if result.expected:
            self.recorder.note(note.calibration(self.run_id, wall, result))
        self.left_ns.append(left_ns)
        self.tally.add(flight.product, result.verdict, result.reason, flight.frame, stages_ms(flight, total_ms))

    def note(self, event: Callable[..., Event], *what: Any) -> None:
        """What is no part, as one of the events of line/note.py."""
        self.recorder.note(event(self.run_id, datetime.now(UTC), *what))

    def announce(self, change: Changed) -> None:
        """To the sinks that show how the line stands."""
        for sink in self._immediate:
            sink.state(Standing(change.state, change.product, change.why, self.run_id))

    def close(self) -> None:
        """Wait until the store, the pictures and the sinks have all, for at most CLOSE_S each."""
        try:
            if kept_in := self.recorder.close(datetime.now(UTC), CLOSE_S):
                self._warn(f"what the store has not taken is in {kept_in}: the next line on this store takes it over")
        finally:
            for courier in self.couriers:
                courier.close()
            if self.keeper:
                self.keeper.close(CLOSE_S)

    def _tell(self, group: Sequence[Inspection]) -> None:
        for courier in self.couriers:
            courier.wake()
        for sink in self._immediate if group else ():  # a group of events alone is for the outboxes
            sink.tell(group)

    def _warn(self, sentence: str) -> None:
        self._say(Said("note", sentence, "warning"))

    def _product(self, flight: Flight) -> str | None:
        return flight.product if self._named else None


def run_row(
    line: str, views: Sequence[View], product: str, pace: Pace, sinks: Sequence[Sink | Durable], gate_url: str | None
) -> Run:
    """Of several cameras or products: the first one's bundle by name, every one's in the settings."""
    model = views[0].models[product]
    settings: dict[str, Any] = {
        "line": line,
        "deadline_ms": pace.deadline_ms,
        "max_fps": pace.max_fps,
        "parts": pace.parts,
        "sinks": [sink.url for sink in sinks],
        "gate": gate_url,
        "engine": model.served.engine,
        "precision": model.served.precision,
    }
    if len(views) > 1 or len(views[0].models) > 1:
        settings["product"] = product
        settings["cameras"] = {view.name: printable(view.source.url) for view in views}
        settings["products"] = {p: {v.name: v.models[p].sha256 for v in views} for p in views[0].models}
        settings["bundles"] = {p: {v.name: printable(str(v.models[p].path)) for v in views} for p in views[0].models}
    return Run(
        id=uuid.uuid4().hex,
        started=datetime.now(UTC),
        bundle_sha256=model.sha256,
        bundle=printable(str(model.path)),
        source=printable(" ".join(view.source.url for view in views)),
        lineside=__version__,
        settings=settings,
    )


def room_for(frames: Sequence[Frame | None]) -> int:
    """Inspections between trigger and commit: they hold their pictures, and a slow disk must not eat the memory."""
    size = sum(frame.size_bytes for frame in frames if frame)
    return max(8, min(ROOM, ROOM_BYTES // max(1, size)))
