"""What a line that was killed had decided, and its store does not have: stored by the next line on that store.

The records keep their ids and their run, and go into the chain and into the outboxes of that run's sinks, behind what
is there. What the store had and has deleted (retention.py) stays deleted. What is made of a result after its verdict
has left is gone: the picture and its hash, the scores. An event "recovered" says what was taken over.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from lineside.errors import LineError
from lineside.store.chain import Link, one_writer, run_hash
from lineside.store.journal import Left, left, remove
from lineside.store.open import where, why
from lineside.store.outbox import enlist
from lineside.store.recorder import has, insert_all, row
from lineside.store.records import Event, Inspection
from lineside.store.tables import EVENT, RUN


def take_over(store: Engine, folder: Path, at: datetime) -> list[str]:
    """Store what dead lines have left in this folder; a sentence for each. LineError where the store fails.

    What the store refuses stays in its file.
    """
    sentences: list[str] = []
    for one in left(folder, store):
        try:
            with store.begin() as connection:
                said = _store(connection, one, at)
        except (OperationalError, InterfaceError) as error:
            raise LineError(why(error, where(store))) from None
        except (DBAPIError, LineError) as error:
            said = f"{one.path}: a killed line's results are left there: {getattr(error, 'orig', error)}; move it away"
        else:
            remove(one)
        sentences += [said] if said else []
    return sentences


def _store(connection: Connection, one: Left, at: datetime) -> str:
    """In this transaction; "" where the store has everything."""
    one_writer(connection)  # what the store has, and had, is asked when no other takes it over or deletes
    run = connection.execute(select(RUN).where(RUN.c.id == one.run_id)).mappings().one_or_none()
    if run is None and one.records:
        raise LineError("they are of a run that this store does not know")
    if run is None:
        return ""
    let_go = _let_go(connection, run["started"])
    boxes = [box for box in one.boxes if box.key not in let_go]
    for box in boxes:
        enlist(connection, box)
    records = [record for record in _kept(one.records, run) if not has(connection, record)]
    if not records:
        return ""
    inspections = sum(isinstance(record, Inspection) for record in records)
    detail = {"inspections": inspections, "events": len(records) - inspections, "torn": one.torn}
    event = Event(uuid.uuid4().hex, one.run_id, at, "recovered", "line", "", detail)
    of_run = run_hash(dict(run))
    links = [Link(type(record), of_run, row(record)) for record in (*records, event)]
    insert_all(connection, links, boxes)
    return (
        f"a line was killed before its last results were stored: {inspections} results and {len(records) - inspections}"
        " events are taken over from its journal"
    )


def _kept(records: Sequence[Inspection | Event], run: Mapping[Any, Any]) -> Iterator[Inspection | Event]:
    """Those that the store has not had and deleted: of each kind, what comes after the last of it that was deleted."""
    events = [record.id for record in records if isinstance(record, Event)]
    gone = set(events[: events.index(run["forgotten_event"]) + 1] if run["forgotten_event"] in events else ())
    for record in records:
        if record.id not in gone if isinstance(record, Event) else record.sequence > run["forgotten"]:
            yield record


def _let_go(connection: Connection, since: datetime) -> set[str]:
    """The outboxes of which a person has said since then that their consumer will not come back (release.py)."""
    said = select(EVENT.c.subject, EVENT.c.detail).where(EVENT.c.kind == "outbox", EVENT.c.at >= since)
    return {event.subject for event in connection.execute(said) if "why" in event.detail}
