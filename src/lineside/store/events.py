"""Events that no recorder writes: of a person at another program, or after the run has ended; and all events, read.

A line notes its own events through its recorder (recorder.py), in order with its inspections. Both ways end in the same
chain and the same outboxes.
"""

from collections.abc import Generator, Sequence
from datetime import datetime

from sqlalchemy import Connection, Engine, insert, select

from lineside.store import outbox
from lineside.store.chain import Link, append, run_of
from lineside.store.lines import runs_of
from lineside.store.paging import in_order
from lineside.store.recorder import NAMES, row
from lineside.store.records import Event
from lineside.store.tables import CHAIN, EVENT


def write(connection: Connection, event: Event, keys: Sequence[str] = ()) -> None:
    """Store and chain one event in this transaction, and put it into the outboxes of these sinks."""
    link = Link(Event, run_of(connection, event.run_id), row(event))
    connection.execute(insert(EVENT), [link.row])
    append(connection, [link])
    for key in keys:
        outbox.add(connection, key, [link])


def events(
    engine: Engine,
    *,
    since: datetime | None = None,
    kind: str | None = None,
    line: str | None = None,
    limit: int | None = None,
) -> Generator[Event]:
    """The events that are asked for, in the order of the store. None: no matter which; line: the name of the one in
    whose runs they happened; limit: the newest so many."""
    query = select(EVENT).join(CHAIN, CHAIN.c.event_id == EVENT.c.id)
    if since is not None:
        query = query.where(EVENT.c.at >= since)
    if kind is not None:
        query = query.where(EVENT.c.kind == kind)
    if line is not None:
        query = query.where(EVENT.c.run_id.in_(runs_of(engine, line)))
    for found in in_order(engine, query, limit):
        yield Event(**{name: found[name] for name in NAMES[Event]})
