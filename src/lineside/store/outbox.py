"""The outbox: which results a sink must still be told. Written with the inspection, closed when the consumer answers.

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
from lineside.store.chain import one_writer
from lineside.store.open import identity
from lineside.store.records import Inspection, Run
from lineside.store.tables import CHAIN, INSPECTION, OUTBOX, RUN, SINK

NAMES = {Inspection: tuple(f.name for f in fields(Inspection)), Run: tuple(f.name for f in fields(Run))}


@dataclass(frozen=True, slots=True)
class Box:
    """What the recorder needs of a sink that is told through the outbox."""

    key: str
    limit: int  # more than so many entries waiting is a fault of the line


@dataclass(frozen=True, slots=True)
class Letter:
    """One result on its way to a consumer."""

    number: int  # in this outbox
    inspection: Inspection
    run: Run
    hash: str  # in the store's chain


@dataclass(frozen=True, slots=True)
class Pending:
    count: int
    oldest: datetime | None  # when the verdict of the oldest that waits was given


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to send what one outbox holds."""

    held: Callable[[], bool]
    release: Callable[[], None]


def enlist(connection: Connection, key: str) -> None:
    """Make the outbox of a sink, unless it is there."""
    one_writer(connection)
    if connection.execute(select(SINK.c.key).where(SINK.c.key == key)).one_or_none() is None:
        connection.execute(insert(SINK), {"key": key, "last": 0})


def put(connection: Connection, box: Box, ids: Sequence[str]) -> str:
    """Write entries for these inspections, in order. A sentence if more wait now than may; else ""."""
    last = connection.execute(select(SINK.c.last).where(SINK.c.key == box.key).with_for_update()).scalar_one()
    rows = [{"sink": box.key, "number": n, "inspection_id": i, "closed": None} for n, i in enumerate(ids, last + 1)]
    connection.execute(insert(OUTBOX), rows)
    last += len(ids)
    connection.execute(update(SINK).where(SINK.c.key == box.key).values(last=last))
    waiting = last - connection.execute(select(func.min(OUTBOX.c.number)).where(*_open(box.key))).scalar_one() + 1
    if waiting <= box.limit:
        return ""
    return (
        f"{box.key}: {waiting:,} results wait in the outbox and nobody acknowledges them; its limit is {box.limit:,}: "
        "look at the consumer, or give the outbox more room with limit=N in the sink's URL"
    )


def page(connection: Connection, key: str, size: int) -> list[Letter]:
    """The oldest open entries, in order."""
    query = (
        select(OUTBOX.c.number, CHAIN.c.hash, *_named(INSPECTION, "inspection"), *_named(RUN, "run"))
        .join(INSPECTION, INSPECTION.c.id == OUTBOX.c.inspection_id)
        .join(RUN, RUN.c.id == INSPECTION.c.run_id)
        .join(CHAIN, CHAIN.c.inspection_id == INSPECTION.c.id)
        .where(*_open(key))
        .order_by(OUTBOX.c.number)
        .limit(size)
    )
    return [_letter(row) for row in connection.execute(query)]


def close(connection: Connection, key: str, numbers: Collection[int], when: datetime) -> None:
    """The consumer has acknowledged these."""
    connection.execute(update(OUTBOX).where(OUTBOX.c.sink == key, OUTBOX.c.number.in_(numbers)).values(closed=when))


def pending(connection: Connection, key: str) -> Pending:
    count = connection.execute(select(func.count()).select_from(OUTBOX).where(*_open(key))).scalar_one()
    first = select(func.min(OUTBOX.c.number)).where(*_open(key)).scalar_subquery()
    oldest = connection.execute(
        select(INSPECTION.c.decided)
        .join(OUTBOX, OUTBOX.c.inspection_id == INSPECTION.c.id)
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


def _letter(row: Any) -> Letter:
    def record(cls: Any, prefix: str) -> Any:
        return cls(**{name: getattr(row, f"{prefix}_{name}") for name in NAMES[cls]})

    return Letter(row.number, record(Inspection, "inspection"), record(Run, "run"), row.hash)
