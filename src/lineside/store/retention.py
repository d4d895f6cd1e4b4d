"""`lineside forget`: delete old inspections, and nothing that somebody still waits for.

Only a whole beginning of the hash chain can go, or it would not fit any more: from the oldest on, until the first that
is too young or that a consumer has not acknowledged yet. Where the chain begins then is kept in `anchor`, with the hash
of the last that was deleted, so that `lineside verify --store` goes on from there. Runs stay. SQLite gives the space of
deleted rows to new ones; the file does not shrink.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, delete, func, insert, select

from lineside.store.chain import one_writer
from lineside.store.open import reading
from lineside.store.tables import ANCHOR, CHAIN, INSPECTION, OUTBOX

BATCH = 2000  # places a transaction: the line that writes meanwhile must not wait for long


@dataclass(frozen=True, slots=True)
class Forgotten:
    inspections: int
    waiting: int  # old enough too, but kept: not acknowledged, or stored after one that is not


def forget(
    engine: Engine, before: datetime, now: datetime, progress: Callable[[int, int], None] = lambda done, total: None
) -> Forgotten:
    """Delete the inspections whose verdict was given before this time (aware), as far as they may go."""
    with reading(engine) as connection:
        old = _old(connection, before)
        last = _last(connection, before)
        first = connection.execute(select(func.min(CHAIN.c.place))).scalar_one() or 1
    total, done = max(0, last - first + 1), 0
    while done < total:
        done += _batch(engine, min(last, first + done + BATCH - 1), now)
        progress(done, total)
    return Forgotten(total, old - total)


def _old(connection: Connection, before: datetime) -> int:
    query = select(func.count()).select_from(INSPECTION).where(INSPECTION.c.decided < before)
    return connection.execute(query).scalar_one()


def _last(connection: Connection, before: datetime) -> int:
    """The last place that may go; 0: none."""
    linked = CHAIN.c.inspection_id == INSPECTION.c.id
    young = select(func.min(CHAIN.c.place)).join(INSPECTION, linked).where(INSPECTION.c.decided >= before)
    sent = CHAIN.c.inspection_id == OUTBOX.c.inspection_id
    open_ = select(func.min(CHAIN.c.place)).join(OUTBOX, sent).where(OUTBOX.c.closed.is_(None))
    stops = [place for query in (young, open_) if (place := connection.execute(query).scalar_one()) is not None]
    return min(stops) - 1 if stops else connection.execute(select(func.max(CHAIN.c.place))).scalar_one() or 0


def _batch(engine: Engine, last: int, now: datetime) -> int:
    with engine.begin() as connection:
        one_writer(connection)
        hashed = connection.execute(select(CHAIN.c.hash).where(CHAIN.c.place == last)).scalar_one()
        # what refers to an inspection goes first
        ids = connection.execute(select(CHAIN.c.inspection_id).where(CHAIN.c.place <= last)).scalars().all()
        connection.execute(delete(OUTBOX).where(OUTBOX.c.inspection_id.in_(ids)))
        connection.execute(delete(CHAIN).where(CHAIN.c.place <= last))
        connection.execute(delete(INSPECTION).where(INSPECTION.c.id.in_(ids)))
        before = connection.execute(select(func.coalesce(func.sum(ANCHOR.c.inspections), 0))).scalar_one()
        connection.execute(delete(ANCHOR))
        anchor = {"place": last, "hash": hashed, "at": now, "inspections": int(before) + len(ids)}
        connection.execute(insert(ANCHOR), anchor)
    return len(ids)
