"""The outbox: which results and events a sink must still be told. Written with them, closed when the consumer answers.

An entry belongs to a sink's key (its URL without options) and has a number: 1, 2, 3 … for that key, in the order of the
store. Lines that write to one store with the same key share the outbox: all their results are in it, and one of them at
a time holds the claim to send. The claim is a lock that the operating system (SQLite: a file beside the store) or the
database (PostgreSQL: an advisory lock) gives back by itself when its holder dies, so a result is never sent by two, and
the lines that are left take over.
"""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from lineside.errors import LineError
from lineside.store.chain import Link, one_writer
from lineside.store.open import identity
from lineside.store.records import Event, Inspection, Run
from lineside.store.tables import CHAIN, EVENT, INSPECTION, OUTBOX, RUN, SINK
from lineside.store.utc import Utc

NAMES = {cls: tuple(f.name for f in fields(cls)) for cls in (Inspection, Event, Run)}


@dataclass(frozen=True, slots=True)
class Box:
    """What the recorder needs of a sink that is told through the outbox."""

    key: str
    limit: int  # more than so many entries waiting is a fault of the line
    events: bool = False  # whether it wants events too


@dataclass(frozen=True, slots=True)
class Letter:
    """One result or event on its way to a consumer."""

    number: int  # in this outbox
    record: Inspection | Event
    run: Run | None  # None: an event that belongs to none
    hash: str  # in the store's chain


@dataclass(frozen=True, slots=True)
class Pending:
    count: int
    oldest: datetime | None  # when the verdict of the oldest that waits was given, or the event happened


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to send what one outbox holds."""

    held: Callable[[], bool]
    release: Callable[[], None]


def enlist(connection: Connection, box: Box) -> None:
    """Make the outbox of a sink, unless it is there; keep whether it wants events."""
    one_writer(connection)
    if connection.execute(select(SINK.c.key).where(SINK.c.key == box.key)).one_or_none() is None:
        connection.execute(insert(SINK), {"key": box.key, "last": 0, "events": box.events})
    else:
        connection.execute(update(SINK).where(SINK.c.key == box.key).values(events=box.events))


def drop_events(connection: Connection, box: Box, when: datetime) -> int:
    """Close the events that wait for a sink which wants none any more: results wait behind them. How many they were."""
    if box.events:
        return 0
    waiting = (*_open(box.key), OUTBOX.c.event_id.is_not(None))
    return connection.execute(update(OUTBOX).where(*waiting).values(closed=when)).rowcount


def put(connection: Connection, box: Box, links: Sequence[Link]) -> str:
    """Write entries for these, in order. A sentence if more wait now than may; else ""."""
    wanted = [link for link in links if box.events or link.record is Inspection]
    if not wanted:
        return ""
    waiting = add(connection, box.key, wanted)
    if waiting <= box.limit:
        return ""
    return (
        f"{box.key}: {waiting:,} results wait in the outbox and nobody acknowledges them; its limit is {box.limit:,}: "
        "look at the consumer, or give the outbox more room with limit=N in the sink's URL"
    )


def add(connection: Connection, key: str, links: Sequence[Link]) -> int:
    """Write entries for these, in order; how many wait now."""
    last = connection.execute(select(SINK.c.last).where(SINK.c.key == key).with_for_update()).scalar_one()
    rows = []
    for number, link in enumerate(links, last + 1):
        event, id = link.record is Event, link.row["id"]
        rows.append({"sink": key, "number": number, "inspection_id": None if event else id,
                     "event_id": id if event else None, "closed": None})  # fmt: skip
    connection.execute(insert(OUTBOX), rows)
    last += len(links)
    connection.execute(update(SINK).where(SINK.c.key == key).values(last=last))
    return last - connection.execute(select(func.min(OUTBOX.c.number)).where(*_open(key))).scalar_one() + 1


def page(connection: Connection, key: str, size: int) -> list[Letter]:
    """The oldest open entries, in order."""
    entries = select(OUTBOX.c.number, OUTBOX.c.event_id).where(*_open(key)).order_by(OUTBOX.c.number).limit(size)
    found = connection.execute(entries).all()
    if not found:
        return []
    last = found[-1].number
    letters = _letters(connection, key, last, Inspection)
    if any(entry.event_id for entry in found):
        letters = sorted([*letters, *_letters(connection, key, last, Event)], key=lambda letter: letter.number)
    return letters


def _letters(connection: Connection, key: str, last: int, kind: type[Inspection] | type[Event]) -> list[Letter]:
    """The open entries of one kind up to a number."""
    table, column = (EVENT, "event_id") if kind is Event else (INSPECTION, "inspection_id")
    query = (
        select(OUTBOX.c.number, CHAIN.c.hash, *_named(table, "record"), *_named(RUN, "run"))
        .join(table, table.c.id == OUTBOX.c[column])
        .join(RUN, RUN.c.id == table.c.run_id, isouter=kind is Event)
        .join(CHAIN, CHAIN.c[column] == table.c.id)
        .where(*_open(key), OUTBOX.c.number <= last)
        .order_by(OUTBOX.c.number)
    )
    return [_letter(row, kind) for row in connection.execute(query)]


def close(connection: Connection, key: str, numbers: Collection[int], when: datetime) -> None:
    """The consumer has acknowledged these."""
    connection.execute(update(OUTBOX).where(OUTBOX.c.sink == key, OUTBOX.c.number.in_(numbers)).values(closed=when))


def pending(connection: Connection, key: str) -> Pending:
    count = connection.execute(select(func.count()).select_from(OUTBOX).where(*_open(key))).scalar_one()
    first = select(func.min(OUTBOX.c.number)).where(*_open(key)).scalar_subquery()
    oldest = connection.execute(
        select(func.coalesce(INSPECTION.c.decided, EVENT.c.at, type_=Utc))
        .select_from(OUTBOX)
        .outerjoin(INSPECTION, INSPECTION.c.id == OUTBOX.c.inspection_id)
        .outerjoin(EVENT, EVENT.c.id == OUTBOX.c.event_id)
        .where(OUTBOX.c.sink == key, OUTBOX.c.number == first)
    ).scalar_one_or_none()
    return Pending(count, oldest)


def waiting(connection: Connection) -> dict[str, Pending]:
    """Every outbox of the store that is not empty."""
    keys = connection.execute(select(SINK.c.key).order_by(SINK.c.key)).scalars().all()
    return {key: found for key in keys if (found := pending(connection, key)).count}


def claim(engine: Engine, key: str) -> Claim | None:
    """The right to send for this key; None while another line has it."""
    return _claim_row(engine, key) if engine.dialect.name == "postgresql" else _claim_file(engine, key)


def _claim_file(engine: Engine, key: str) -> Claim | None:
    path = f"{identity(engine)}-outbox-{hashlib.sha256(key.encode()).hexdigest()[:8]}.lock"
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LineError(f"{path}: can not be opened ({error.strerror}); the line needs it to send in order") from None
    if os.geteuid() == 0:  # root's own would shut the line out, whose store it is
        store = os.stat(identity(engine))
        os.fchown(file, store.st_uid, store.st_gid)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return Claim(lambda: True, lambda: os.close(file))


def _claim_row(engine: Engine, key: str) -> Claim | None:
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big", signed=True)
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    connection.detach()  # the lock belongs to the session: it must end with the claim, not be lent to the next who asks
    if not connection.execute(text("SELECT pg_try_advisory_lock(:n)"), {"n": number}).scalar_one():
        connection.close()
        return None

    def held() -> bool:
        try:
            connection.execute(text("SELECT 1"))
        except DBAPIError:
            return False
        return True

    def release() -> None:
        with contextlib.suppress(DBAPIError):  # the server may be gone, and the lock with it
            connection.close()

    return Claim(held, release)


def _open(key: str) -> tuple[Any, ...]:
    return OUTBOX.c.sink == key, OUTBOX.c.closed.is_(None)


def _named(table: Any, prefix: str) -> list[Any]:
    return [column.label(f"{prefix}_{column.name}") for column in table.columns]


def _letter(row: Any, kind: type[Inspection] | type[Event]) -> Letter:
    def record(cls: Any, prefix: str) -> Any:
        return cls(**{name: getattr(row, f"{prefix}_{name}") for name in NAMES[cls]})

    return Letter(row.number, record(kind, "record"), record(Run, "run") if row.run_id else None, row.hash)
