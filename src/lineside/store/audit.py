"""`lineside verify --store`: does every inspection and event fit the hash chain; which is the first that does not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Table, func, select

from lineside.store.chain import GENESIS, NO_RUN, event_hash, row_hash, run_hash
from lineside.store.open import reading
from lineside.store.tables import ANCHOR, CHAIN, EVENT, INSPECTION, RUN

PAGE = 2000


@dataclass(frozen=True, slots=True)
class Audit:
    inspections: int  # that fit
    events: int  # that fit
    deleted: int  # inspections, by retention, before them; their hashes are what the first goes on from
    place: int  # of the last that fits
    hash: str  # its hash: hold it elsewhere, and a chain that was cut or made anew can be seen
    broken: str | None  # a sentence about the first that does not; None: all fit


def audit(engine: Engine, progress: Callable[[int, int], None] = lambda done, total: None) -> Audit:
    """Recompute the chain from its beginning. One consistent view of the store, also while a line writes to it."""
    with reading(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return _audit(connection, progress)


def _audit(connection: Connection, progress: Callable[[int, int], None]) -> Audit:
    total = connection.execute(select(func.count()).select_from(CHAIN)).scalar_one()
    anchor = connection.execute(select(ANCHOR).order_by(ANCHOR.c.place.desc()).limit(1)).one_or_none()
    place, before = (anchor.place, anchor.hash) if anchor else (0, GENESIS)
    deleted = connection.execute(select(func.coalesce(func.sum(ANCHOR.c.inspections), 0))).scalar_one()
    runs = {row["id"]: run_hash(dict(row)) for row in connection.execute(select(RUN)).mappings()}
    fitting, broken = {"inspection": 0, "event": 0}, None
    rows = (
        select(CHAIN, *_prefixed(INSPECTION, "inspection"), *_prefixed(EVENT, "event"))
        .outerjoin_from(CHAIN, INSPECTION, INSPECTION.c.id == CHAIN.c.inspection_id)
        .outerjoin(EVENT, EVENT.c.id == CHAIN.c.event_id)
        .order_by(CHAIN.c.place)
        .limit(PAGE)
    )
    while broken is None and (page := connection.execute(rows.where(CHAIN.c.place > place)).mappings().all()):
        for found in page:
            kind = "inspection" if found["event_id"] is None else "event"
            table = INSPECTION if kind == "inspection" else EVENT
            row = {c.name: found[f"_{kind}_{c.name}"] for c in table.columns}
            if broken := _broken(place, before, runs, found, kind, row):
                break
            place, before = found["place"], found["hash"]
            fitting[kind] += 1
        progress(sum(fitting.values()), total)
    broken = broken or _unchained(connection, INSPECTION) or _unchained(connection, EVENT)
    return Audit(fitting["inspection"], fitting["event"], int(deleted), place, before, broken)


def _prefixed(table: Table, kind: str) -> list[Any]:
    return [column.label(f"_{kind}_{column.name}") for column in table.columns]


def _broken(place: int, before: str, runs: dict[str, str], found: Any, kind: str, row: dict[str, Any]) -> str | None:
    if found["place"] != place + 1:
        return f"row {place + 1} is missing: after row {place} comes row {found['place']}"
    if (found["inspection_id"] is None) == (found["event_id"] is None):
        return f"row {place + 1}: points to {'an inspection and an event at once' if found['event_id'] else 'nothing'}"
    if row["id"] is None:
        return f"row {place + 1}: its {kind} {found[f'{kind}_id']} is gone"
    name = f"row {place + 1} ({_named(kind, row)})"
    if row["run_id"] is not None and row["run_id"] not in runs:
        return f"{name}: its run is gone"
    run = NO_RUN if row["run_id"] is None else runs[row["run_id"]]
    if (row_hash if kind == "inspection" else event_hash)(before, run, row) != found["hash"]:
        return f"{name} does not fit its hash: it or its run's row was changed after it was stored"
    return None


def _named(kind: str, row: Any) -> str:
    if kind == "inspection":
        return f"run {row['run_id']}, sequence {row['sequence']}, part {row['part_id']}, id {row['id']}"
    return f"event {row['kind']}, by {row['who']}, id {row['id']}"


def _unchained(connection: Connection, table: Table) -> str | None:
    """A sentence about the first inspection or event that no row of the chain points to."""
    column, time = ("inspection_id", "decided") if table is INSPECTION else ("event_id", "at")
    query = (
        select(table)
        .outerjoin_from(table, CHAIN, CHAIN.c[column] == table.c.id)
        .where(CHAIN.c.place.is_(None))
        .order_by(table.c[time], table.c.id)
        .limit(1)
    )
    found = connection.execute(query).mappings().one_or_none()
    if found is None:
        return None
    return (
        f"the {table.name} {found['id']} ({_named(table.name, found)}) is in no row of the chain: it was put in by "
        "hand or by an older program, or its row of the chain was taken away"
    )
