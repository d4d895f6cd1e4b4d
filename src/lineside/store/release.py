"""`lineside forget --sink`: a consumer that will never come back is let go, and nothing is kept for it any more.

What waits in its outbox is closed without having been acknowledged. That a person said so, why, and how much it was, is
an event of kind "outbox" in the hash chain. A line that names the sink again begins where it is then.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, func, select, update
from sqlalchemy.exc import DBAPIError

from lineside.errors import LineError, SettingsError
from lineside.store import outbox
from lineside.store.chain import one_writer
from lineside.store.events import write
from lineside.store.open import reading, where, why
from lineside.store.records import Event, signed
from lineside.store.tables import INSPECTION, OUTBOX, SINK


@dataclass(frozen=True, slots=True)
class Released:
    event: Event
    results: int  # that were never acknowledged
    events: int


def release(engine: Engine, key: str, *, who: str, reason: str, at: datetime, new_id: str) -> Released:
    """Close the outbox of a sink. at: aware; new_id: the event's, uuid4 hex.

    SettingsError where no such sink is known, or without a name and a reason; LineError where a line sends to it now.
    """
    who, reason = signed(who, reason, "to let a consumer go", "'broker 2 was scrapped'")
    try:
        with reading(engine) as connection:
            known = connection.execute(select(SINK.c.key).order_by(SINK.c.key)).scalars().all()
        if key not in known:
            names = f"there are: {', '.join(known)}" if known else "it has none"
            raise SettingsError(f"{key}: {where(engine)} has no outbox for this sink; {names}")
        claim = outbox.claim(engine, key)
        if claim is None:
            raise LineError(f"{key}: a line sends to it right now; take it out of that line's sinks first")
        try:
            with engine.begin() as connection:
                one_writer(connection)
                return _release(connection, key, who, reason, at, new_id)
        finally:
            claim.release()
    except DBAPIError as error:
        raise LineError(why(error, where(engine))) from None


def _release(connection: Connection, key: str, who: str, reason: str, at: datetime, new_id: str) -> Released:
    waiting = outbox.pending(connection, key).count
    results = connection.execute(
        select(func.count()).select_from(OUTBOX.join(INSPECTION)).where(OUTBOX.c.sink == key, OUTBOX.c.closed.is_(None))
    ).scalar_one()
    connection.execute(update(OUTBOX).where(OUTBOX.c.sink == key, OUTBOX.c.closed.is_(None)).values(closed=at))
    connection.execute(update(SINK).where(SINK.c.key == key).values(events=False))  # a person's later word, neither
    event = Event(new_id, None, at, "outbox", who, key, {"dropped": waiting, "results": results, "why": reason})
    write(connection, event)
    return Released(event, results, waiting - results)


def deserted(engine: Engine, own: Collection[str]) -> dict[str, outbox.Pending]:
    """What waits for sinks that are none of these, and to which no line sends now. LineError if the store is gone."""
    alone = {}
    try:
        with reading(engine) as connection:
            others = {key: found for key, found in outbox.waiting(connection).items() if key not in own}
        for key, found in others.items():
            if claim := outbox.claim(engine, key):
                claim.release()
                alone[key] = found
    except DBAPIError as error:
        raise LineError(why(error, where(engine))) from None
    return alone
