"""The recorder: puts inspections into the store, in order, in a thread of its own, and only then lets others be told.

`put` returns at once and never waits for the disk. The thread gathers a group (GATHER_S), commits it, and calls
tell(group). In the same transaction every inspection is chained (chain.py) and put into the outbox of every sink that
has one (outbox.py): nobody is told what is not stored, and what is stored is not forgotten. At most `room` inspections
may be under way: `enter` is where the line waits, before it takes a part, so a slow disk slows the trigger and never a
verdict.

Events (`note`) go the same way, in order with the inspections around them; they take no room, for they are few.

`remember` is for the moment before a verdict leaves: it puts the result into the journal, where it outlives the
process.

When a commit fails, the line is told, and the same group is tried again and again, until the end of `close`: a database
that restarts, or a disk that is cleared, gets all that was decided meanwhile. A commit whose answer was lost may have
happened: before the next try the store is asked whether it has the group. `lost` counts what did not reach the store in
the end; it stays in the journal (journal.py), for the next line. When a telling fails, nobody is told any more; an
outbox that is fuller than it may be is a fault too. In both everything still goes into the store: that the line stops
must not lose what it has decided. `failed(sentence)` is called once for each.
"""

import math
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from lineside.errors import LineError, LinesideError
from lineside.store import outbox
from lineside.store.chain import Link, append, run_hash, run_of
from lineside.store.journal import Journal
from lineside.store.open import where, why
from lineside.store.records import Event, Given, Inspection, Run
from lineside.store.tables import EVENT, INSPECTION, RUN

GATHER_S = (
    0.05  # how long the first of a group waits for company: forcing a commit to the disk costs as much as many rows
)
RETRY_S = 0.5  # between tries of a store that does not take a group
TRYING_SHARE = 0.9  # of the time that `close` has: so long it is tried
Make = Callable[[], Inspection]  # called in the recorder's thread: hashing and formatting cost the part no time
NAMES = {cls: tuple(field.name for field in fields(cls)) for cls in (Inspection, Event)}


class Recorder:
    """Open it with a run, put inspections in the order of their verdicts, note events, close it. Final."""

    def __init__(
        self,
        engine: Engine,
        run: Run,
        *,
        tell: Callable[[Sequence[Inspection]], None],
        failed: Callable[[str], None],
        room: int = 256,
        boxes: Sequence[outbox.Box] = (),
        journal: Journal | None = None,
    ):
        self._engine, self._run_id, self._tell, self._failed, self._boxes = engine, run.id, tell, failed, boxes
        self._journal = journal
        self._where = where(engine)
        self._run_hash = run_hash(asdict(run))
        self._full = self._broken = self._untold = False  # an outbox; the store; who is told at once
        self._odd = False  # something that nobody has thought of
        self._free = threading.Semaphore(room)
        self._queue: queue.SimpleQueue[Make | Event | None] = queue.SimpleQueue()
        self._until = math.inf  # when no more tries are made
        self.error = ""  # the sentence, once something has failed
        self.committed = 0  # inspections
        self.lost = 0
        self.events_lost = 0
        try:
            with engine.begin() as connection:
                connection.execute(insert(RUN), asdict(run))
                for box in boxes:
                    outbox.enlist(connection, box)
                for box in boxes:
                    if dropped := outbox.drop_events(connection, box, run.started):
                        detail = {"dropped": dropped}
                        event = Event(uuid.uuid4().hex, run.id, run.started, "outbox", "line", box.key, detail)
                        insert_all(connection, [self._link(connection, event)], boxes)
        except DBAPIError as error:
            if journal:
                journal.close()
            raise LineError(why(error, self._where)) from None
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def enter(self, timeout_s: float) -> bool:
        """Room for one more inspection; False if there was none in time. Every `put` gives its room back later."""
        return self._free.acquire(timeout=timeout_s)

    def remember(self, given: Given) -> None:
        """Keep a verdict before it leaves; its inspection is `put` when it has left."""
        if self._journal:
            self._journal.write(given)

    def put(self, make: Make) -> None:
        """Hand over one inspection; returns at once."""
        self._queue.put(make)

    def note(self, event: Event) -> None:
        """Hand over one event; returns at once. After `close` it is too late: store/events.py writes one then."""
        if self._journal:
            self._journal.write(event)
        self._queue.put(event)

    def close(self, ended: datetime, timeout_s: float) -> str:
        """Commit and tell what was put; mark the run as ended, if all of it is stored. Where the journal is that holds
        what the store has not taken; "" if there is none. LineError where the store does not come to an end."""
        self._until = time.monotonic() + timeout_s * TRYING_SHARE
        self._queue.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise LineError(
                f"{self._where}: the store or a sink has not taken the last results within {timeout_s:.0f} s; "
                f"{self.committed} are stored; look at the disk and at who reads the sink"
            )
        if not self.lost and not self.events_lost:
            try:
                with self._engine.begin() as connection:
                    connection.execute(update(RUN).where(RUN.c.id == self._run_id).values(ended=ended))
            except DBAPIError as error:
                self.error = self.error or why(error, self._where)
        return self._journal.close() if self._journal else ""

    def _work(self) -> None:
        groups: deque[Sequence[Inspection | Event]] = deque()  # that the store does not have yet
        more, items = True, []
        while more or groups:
            try:
                if more:
                    items, more = self._gather(RETRY_S if groups else None)
                    if group := self._made(items):
                        groups.append(group)
                while groups and self._write(groups[0]):
                    if stored := _inspections(groups.popleft()):  # of events alone: no room was taken
                        self._free.release(stored)
            except Exception as error:  # whatever it was: the line must hear of it, and this thread must not end
                if not self._odd:
                    self._odd = True
                    self._fail(error)
            if groups and not more:  # closing
                if time.monotonic() >= self._until:
                    break
                time.sleep(RETRY_S)
        for group in groups:
            self._lose(group)

    def _gather(self, patience_s: float | None) -> tuple[list[Make | Event], bool]:
        """Everything that comes within GATHER_S of the first; and whether there will be more. patience_s: for that."""
        items: list[Make | Event] = []
        while True:
            try:
                item = self._queue.get(block=not items, timeout=patience_s)
            except queue.Empty:
                return items, True
            if item is None:
                return items, False
            if not items:
                time.sleep(GATHER_S)
            items.append(item)

    def _made(self, items: Sequence[Make | Event]) -> list[Inspection | Event]:
        group: list[Inspection | Event] = []
        for item in items:
            try:
                group.append(item if isinstance(item, Event) else item())
            except Exception as error:
                self.lost += 1
                self._free.release()
                self._fail(error)
        return group

    def _write(self, group: Sequence[Inspection | Event]) -> bool:
        """Commit and tell one group; False where the store did not take it."""
        full: list[str] = []
        try:
            with self._engine.begin() as connection:
                if not (self._broken and has(connection, group[0])):
                    full = insert_all(connection, [self._link(connection, one) for one in group], self._boxes)
        except (OperationalError, InterfaceError) as error:  # a disk or a server: it may come back
            if not self._broken:
                self._broken = True
                self._fail(error)
            return False
        except Exception as error:  # what the store will never take
            self._lose(group)
            self._fail(error)
            return True
        if self._journal:
            self._journal.drop(group)
        inspections = [record for record in group if isinstance(record, Inspection)]
        self.committed += len(inspections)
        if not self._untold:
            try:
                self._tell(inspections)  # also where there are none: who watches an outbox has something to do
            except Exception as error:
                self._untold = True
                self._fail(error)
        if full and not self._full:
            self._full = True
            self._failed(full[0])
        return True

    def _link(self, connection: Connection, record: Inspection | Event) -> Link:
        run = self._run_hash if record.run_id == self._run_id else run_of(connection, record.run_id)
        return Link(type(record), run, row(record))

    def _lose(self, group: Sequence[Inspection | Event]) -> None:
        self.lost += _inspections(group)
        self.events_lost += len(group) - _inspections(group)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, DBAPIError):
            sentence = why(error, self._where)
        else:
            sentence = str(error) if isinstance(error, LinesideError) else f"{type(error).__name__}: {error}"
        self.error = self.error or sentence
        self._failed(sentence)


def _inspections(group: Sequence[Inspection | Event]) -> int:
    return sum(isinstance(record, Inspection) for record in group)


def insert_all(connection: Connection, links: Sequence[Link], boxes: Sequence[outbox.Box]) -> list[str]:
    """Store records in this transaction, chain them, put them into these outboxes; a sentence for each that is full."""
    for cls, table in ((Inspection, INSPECTION), (Event, EVENT)):
        if rows := [link.row for link in links if link.record is cls]:
            connection.execute(insert(table), rows)
    append(connection, links)
    return list(filter(None, [outbox.put(connection, box, links) for box in boxes]))


def has(connection: Connection, record: Inspection | Event) -> bool:
    table = INSPECTION if isinstance(record, Inspection) else EVENT
    return connection.execute(select(table.c.id).where(table.c.id == record.id)).one_or_none() is not None


def row(record: Inspection | Event) -> dict[str, Any]:
    """What the store holds of it, by column."""
    return {name: _storable(getattr(record, name)) for name in NAMES[type(record)]}


def _storable(value: Any) -> Any:
    """NaN and infinity as null: SQLite would make null of NaN, PostgreSQL not, and the chain must fit what is there.
    Inside of JSON it is PostgreSQL that refuses them."""
    if isinstance(value, dict):
        return {key: _storable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
