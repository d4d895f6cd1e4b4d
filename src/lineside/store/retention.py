"""`lineside forget`: delete old inspections and events, and nothing that somebody still waits for.

Only a whole beginning of the hash chain can go, or it would not fit any more: from the oldest on, until the first that
is too young or that a consumer has not acknowledged yet. Where the chain begins then is kept in `anchor`, with the hash
of the last that was deleted, so that `lineside verify --store` goes on from there. Runs stay, and say up to where they
were deleted: the journal of a line that was killed may still hold the same, and must not bring it back. SQLite gives
the space of deleted rows to new ones; the file does not shrink. Pictures of which no inspection speaks any more go
after them (pictures.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from lineside.store.chain import one_writer
from lineside.store.open import reading
from lineside.store.tables import ANCHOR, CHAIN, EVENT, INSPECTION, OUTBOX, RUN, SHOWN

BATCH = 2000  # places a transaction: the line that writes meanwhile must not wait for long


@dataclass(frozen=True, slots=True)
class Forgotten:
    inspections: int
    events: int
    waiting: int  # inspections that are old enough too, but kept: not acknowledged, or stored after one that is not


def forget(
    engine: Engine, before: datetime, now: datetime, progress: Callable[[int, int], None] = lambda done, total: None
) -> Forgotten:
    """Delete what was decided or happened before this time (aware), as far as it may go."""
    with reading(engine) as connection:
        old = _old(connection, before)
        last = _last(connection, before)
        first = connection.execute(select(func.min(CHAIN.c.place))).scalar_one() or 1
    total, inspections, events = max(0, last - first + 1), 0, 0
    while (done := inspections + events) < total:
        gone = _batch(engine, min(last, first + done + BATCH - 1), now)
        inspections, events = inspections + gone[0], events + gone[1]
        progress(inspections + events, total)
    return Forgotten(inspections, events, old - inspections)


def _old(connection: Connection, before: datetime) -> int:
    query = select(func.count()).select_from(INSPECTION).where(INSPECTION.c.decided < before)
    return connection.execute(query).scalar_one()


def _last(connection: Connection, before: datetime) -> int:
    """The last place that may go; 0: none."""
    first = select(func.min(CHAIN.c.place))
    stops = (
        first.join(INSPECTION, CHAIN.c.inspection_id == INSPECTION.c.id).where(INSPECTION.c.decided >= before),
        first.join(EVENT, CHAIN.c.event_id == EVENT.c.id).where(EVENT.c.at >= before),
        first.join(OUTBOX, CHAIN.c.inspection_id == OUTBOX.c.inspection_id).where(OUTBOX.c.closed.is_(None)),
        first.join(OUTBOX, CHAIN.c.event_id == OUTBOX.c.event_id).where(OUTBOX.c.closed.is_(None)),
    )
    places = [place for query in stops if (place := connection.execute(query).scalar_one()) is not None]
    return min(places) - 1 if places else connection.execute(select(func.max(CHAIN.c.place))).scalar_one() or 0


def _batch(engine: Engine, last: int, now: datetime) -> tuple[int, int]:
    """How many inspections and events went."""
    with engine.begin() as connection:
        one_writer(connection)
        hashed = connection.execute(select(CHAIN.c.hash).where(CHAIN.c.place == last)).scalar_one()
        links = connection.execute(select(CHAIN.c.inspection_id, CHAIN.c.event_id).where(CHAIN.c.place <= last)).all()
        inspections = [link.inspection_id for link in links if link.inspection_id is not None]
        events = [link.event_id for link in links if link.event_id is not None]
        _say(connection, last)
        # what refers to a row goes first
        connection.execute(delete(OUTBOX).where(OUTBOX.c.inspection_id.in_(inspections)))
        connection.execute(delete(OUTBOX).where(OUTBOX.c.event_id.in_(events)))
        connection.execute(delete(SHOWN).where(SHOWN.c.inspection_id.in_(inspections)))
        connection.execute(delete(CHAIN).where(CHAIN.c.place <= last))
        connection.execute(delete(INSPECTION).where(INSPECTION.c.id.in_(inspections)))
        connection.execute(delete(EVENT).where(EVENT.c.id.in_(events)))
        before = connection.execute(select(func.coalesce(func.sum(ANCHOR.c.inspections), 0))).scalar_one()
        connection.execute(delete(ANCHOR))
        anchor = {"place": last, "hash": hashed, "at": now, "inspections": int(before) + len(inspections)}
        connection.execute(insert(ANCHOR), anchor)
    return len(inspections), len(events)


def _say(connection: Connection, last: int) -> None:
    """At each run: what of it goes with the chain up to this place."""
    inspections = (
        select(INSPECTION.c.run_id, func.max(INSPECTION.c.sequence))
        .join(CHAIN, CHAIN.c.inspection_id == INSPECTION.c.id)
        .where(CHAIN.c.place <= last)
        .group_by(INSPECTION.c.run_id)
    )
    for run, sequence in connection.execute(inspections):
        connection.execute(update(RUN).where(RUN.c.id == run).values(forgotten=sequence))
    events = (
        select(EVENT.c.run_id, EVENT.c.id)
        .join(CHAIN, CHAIN.c.event_id == EVENT.c.id)
        .where(CHAIN.c.place <= last, EVENT.c.run_id.is_not(None))
        .order_by(CHAIN.c.place)
    )
    for run, event in {found.run_id: found.id for found in connection.execute(events)}.items():  # the last of each
        connection.execute(update(RUN).where(RUN.c.id == run).values(forgotten_event=event))
