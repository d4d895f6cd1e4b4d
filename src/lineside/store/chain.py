"""The hash chain: no stored inspection or event can be changed, left out or put in unnoticed.

    hash(n) = SHA-256( hash(n-1) newline SHA-256(its run) newline its row )        hash(0) = 64 zeros

Run and row are JSON: keys sorted, no spaces, ASCII, times as ISO 8601 in UTC with microseconds, numbers as Python
writes them (the shortest that gives the same double again). A run's `ended` is left out: it is written later. So are
fields of an inspection that came in a later version (LATER), where they are null: older rows keep their hash. An event
that belongs to no run has nothing between the two newlines.

What it shows: any single change of a row, of its run, of their order; a row taken out or put in. What it can not show
by itself: that somebody with write access has computed the whole chain anew, or has cut off its end. Against that, hold
a hash elsewhere: mqtt: and webhook: carry every result's hash to its consumer, `lineside verify --store` prints the
last.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, insert, select, text

from lineside.store.records import Event, Inspection, Run
from lineside.store.tables import ANCHOR, CHAIN, RUN

GENESIS = "0" * 64
LOCK = 0x4C4E5344  # PostgreSQL's advisory lock: one writer at the end of the chain. SQLite has one writer anyway
RUN_FIELDS = tuple(field.name for field in fields(Run) if field.name != "ended")
ROW_FIELDS = tuple(field.name for field in fields(Inspection))
LATER = ("product", "views")  # fields of an inspection that stores of version 2 had not
EVENT_FIELDS = tuple(field.name for field in fields(Event))
NO_RUN = ""  # instead of a run's hash


@dataclass(frozen=True, slots=True)
class Link:
    """A row that this transaction has inserted, on its way into the chain."""

    record: type[Inspection] | type[Event]
    run: str  # run_hash of its run, or NO_RUN
    row: Mapping[Any, Any]


def run_hash(run: Mapping[Any, Any]) -> str:
    return hashlib.sha256(_canonical({name: run[name] for name in RUN_FIELDS})).hexdigest()


def row_hash(before: str, run: str, row: Mapping[Any, Any]) -> str:
    """Of an inspection. before: the hash of the row before; run: run_hash of its run."""
    later = {name: row[name] for name in LATER if row.get(name) is not None}
    return _hash(before, run, {name: row[name] for name in ROW_FIELDS if name not in LATER} | later)


def event_hash(before: str, run: str, row: Mapping[Any, Any]) -> str:
    """Of an event. run: run_hash of its run, or NO_RUN."""
    return _hash(before, run, {name: row[name] for name in EVENT_FIELDS})


def run_of(connection: Connection, run_id: str | None) -> str:
    """run_hash of a stored run; NO_RUN for None."""
    if run_id is None:
        return NO_RUN
    return run_hash(dict(connection.execute(select(RUN).where(RUN.c.id == run_id)).mappings().one()))


def append(connection: Connection, links: Sequence[Link]) -> None:
    """Chain rows that this transaction has inserted, in their order."""
    last, before = head(connection)
    rows = []
    for place, link in enumerate(links, last + 1):
        event = link.record is Event
        before = (event_hash if event else row_hash)(before, link.run, link.row)
        id = link.row["id"]
        rows.append({"place": place, "inspection_id": None if event else id, "event_id": id if event else None,
                     "hash": before})  # fmt: skip
    connection.execute(insert(CHAIN), rows)


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


def _hash(before: str, run: str, row: Mapping[str, Any]) -> str:
    return hashlib.sha256(b"\n".join((before.encode(), run.encode(), _canonical(row)))).hexdigest()


def _canonical(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), default=_time).encode()


def _time(value: Any) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"{type(value).__name__} is nothing that the store holds")
    return value.astimezone(UTC).isoformat(timespec="microseconds")
