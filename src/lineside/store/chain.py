"""The hash chain: no stored inspection can be changed, left out or put in unnoticed.

    hash(n) = SHA-256( hash(n-1) newline SHA-256(its run) newline its row )        hash(0) = 64 zeros

Run and row are JSON: keys sorted, no spaces, ASCII, times as ISO 8601 in UTC with microseconds, numbers as Python
writes them (the shortest that gives the same double again). A run's `ended` is left out: it is written later.

What it shows: any single change of a row, of its run, of their order; a row taken out or put in. What it can not show
by itself: that somebody with write access has computed the whole chain anew, or has cut off its end. Against that, hold
a hash elsewhere: mqtt: and webhook: carry every result's hash to its consumer, `lineside verify --store` prints the
last.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, insert, select, text

from lineside.store.records import Inspection, Run
from lineside.store.tables import ANCHOR, CHAIN, INSPECTION, RUN

GENESIS = "0" * 64
LOCK = 0x4C4E5344  # PostgreSQL's advisory lock: one writer at the end of the chain. SQLite has one writer anyway
RUN_FIELDS = tuple(field.name for field in fields(Run) if field.name != "ended")
ROW_FIELDS = tuple(field.name for field in fields(Inspection))
PAGE = 1000


def run_hash(run: Mapping[Any, Any]) -> str:
    return hashlib.sha256(_canonical({name: run[name] for name in RUN_FIELDS})).hexdigest()


def row_hash(before: str, run: str, row: Mapping[Any, Any]) -> str:
    """before: the hash of the row before; run: run_hash of its run."""
    body = _canonical({name: row[name] for name in ROW_FIELDS})
    return hashlib.sha256(b"\n".join((before.encode(), run.encode(), body))).hexdigest()


def append(connection: Connection, run: str, rows: Sequence[Mapping[Any, Any]]) -> None:
    """Chain rows that this transaction has inserted, in their order. run: run_hash of their run."""
    last, before = head(connection)
    links = []
    for place, row in enumerate(rows, last + 1):
        before = row_hash(before, run, row)
        links.append({"place": place, "inspection_id": row["id"], "hash": before})
    connection.execute(insert(CHAIN), links)


def head(connection: Connection) -> tuple[int, str]:
    """(place, hash) of the last row; (0, GENESIS) where there is none. No other writer comes in before the commit."""
    one_writer(connection)
    for table in (CHAIN, ANCHOR):
        last = connection.execute(
            select(table.c.place, table.c.hash).order_by(table.c.place.desc()).limit(1)
        ).one_or_none()
        if last:
            return last.place, last.hash
    return 0, GENESIS


def one_writer(connection: Connection) -> None:
    """Let no other writer in until this transaction ends. In SQLite it has begun like that (open.py)."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))


def chain_what_is_there(connection: Connection) -> None:
    """For a store that had no chain: chain every inspection, run after run, in order."""
    for run in connection.execute(select(RUN).order_by(RUN.c.started, RUN.c.id)).mappings().all():
        hashed, last = run_hash(dict(run)), 0
        query = select(INSPECTION).where(INSPECTION.c.run_id == run["id"]).order_by(INSPECTION.c.sequence).limit(PAGE)
        while rows := connection.execute(query.where(INSPECTION.c.sequence > last)).mappings().all():
            append(connection, hashed, [dict(row) for row in rows])
            last = rows[-1]["sequence"]


def _canonical(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), default=_time).encode()


def _time(value: Any) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"{type(value).__name__} is nothing that the store holds")
    return value.astimezone(UTC).isoformat(timespec="microseconds")
