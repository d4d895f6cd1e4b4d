"""`lineside verify --store`: does every inspection fit the hash chain, and which is the first that does not."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, func, select

from lineside.store.chain import GENESIS, row_hash, run_hash
from lineside.store.open import reading
from lineside.store.tables import ANCHOR, CHAIN, INSPECTION, RUN

PAGE = 2000


@dataclass(frozen=True, slots=True)
class Audit:
    inspections: int  # that fit
    deleted: int  # by retention, before them; their hashes are what the first goes on from
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
    total = connection.execute(select(func.count()).select_from(INSPECTION)).scalar_one()
    anchor = connection.execute(select(ANCHOR).order_by(ANCHOR.c.place.desc()).limit(1)).one_or_none()
    place, before = (anchor.place, anchor.hash) if anchor else (0, GENESIS)
    deleted = connection.execute(select(func.coalesce(func.sum(ANCHOR.c.inspections), 0))).scalar_one()
    runs = {row["id"]: run_hash(dict(row)) for row in connection.execute(select(RUN)).mappings()}
    fitting, broken = 0, None
    rows = (
        select(CHAIN.c.place, CHAIN.c.hash, CHAIN.c.inspection_id, *(c.label(f"_{c.name}") for c in INSPECTION.columns))
        .outerjoin_from(CHAIN, INSPECTION, INSPECTION.c.id == CHAIN.c.inspection_id)
        .order_by(CHAIN.c.place)
        .limit(PAGE)
    )
    while broken is None and (page := connection.execute(rows.where(CHAIN.c.place > place)).mappings().all()):
        for found in page:
            row = {c.name: found[f"_{c.name}"] for c in INSPECTION.columns}
            if broken := _broken(place, before, runs, found, row):
                break
            place, before, fitting = found["place"], found["hash"], fitting + 1
        progress(fitting, total)
    return Audit(fitting, int(deleted), place, before, broken or _unchained(connection))


def _broken(place: int, before: str, runs: dict[str, str], found, row) -> str | None:
    if found["place"] != place + 1:
        return f"row {place + 1} is missing: after row {place} comes row {found['place']}"
    if row["id"] is None:
        return f"row {place + 1}: its inspection {found['inspection_id']} is gone"
    name = f"row {place + 1} (run {row['run_id']}, sequence {row['sequence']}, part {row['part_id']}, id {row['id']})"
    if row["run_id"] not in runs:
        return f"{name}: its run is gone"
    if row_hash(before, runs[row["run_id"]], row) != found["hash"]:
        return f"{name} does not fit its hash: it or its run's row was changed after it was stored"
    return None


def _unchained(connection: Connection) -> str | None:
    query = (
        select(INSPECTION.c.id, INSPECTION.c.run_id, INSPECTION.c.sequence)
        .outerjoin_from(INSPECTION, CHAIN, CHAIN.c.inspection_id == INSPECTION.c.id)
        .where(CHAIN.c.place.is_(None))
        .order_by(INSPECTION.c.decided, INSPECTION.c.id)
        .limit(1)
    )
    found = connection.execute(query).one_or_none()
    if found is None:
        return None
    return (
        f"the inspection {found.id} (run {found.run_id}, sequence {found.sequence}) is in no row of the chain: it was "
        "put in by hand or by an older program, or its row of the chain was taken away"
    )
