"""`lineside forget --sink`: a consumer that will never come back is let go, and nothing is kept for it any more.

What waits in its outbox is closed without having been acknowledged. That a person said so, why, and how much it was, is
an event of kind "outbox" in the hash chain. A line that names the sink again begins where it is then; what a line that
was killed before had still to tell is not put into the outbox any more (takeover.py).
"""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, func, select, update
from sqlalchemy.exc import DBAPIError

from lineside.errors import LineError, SettingsError
from lineside.redact import redact
from lineside.store import outbox
from lineside.store.chain import one_writer
from lineside.store.events import write
from lineside.store.open import reading, where, why
from lineside.store.records import Event, signed
from lineside.store.tables import OUTBOX, SINK

BATCH = 2000  # entries a transaction: the lines that write meanwhile must not wait for long


@dataclass(frozen=True, slots=True)
class Released:
    event: Event
    results: int  # that were never acknowledged
    events: int


def release(engine: Engine, key: str, *, who: str, reason: str, at: datetime, new_id: str) -> Released:
    """Close the outbox of this name. at: aware; new_id: the event's, uuid4 hex.

    SettingsError where there is none or nothing waits in it, or without a name and a reason; LineError where a line
    sends to it now.
    """
    who, reason = signed(who, reason, "to let a consumer go", "'broker 2 was scrapped'")
    try:
        with reading(engine) as connection:
            known = connection.execute(select(SINK.c.key, SINK.c.events).order_by(SINK.c.key)).all()
            waiting = outbox.pending(connection, key).count
        (wants,) = [one.events for one in known if one.key == key] or (None,)
        if wants is None:
            names = f"there are: {', '.join(one.key for one in known)}" if known else "it has none"
            raise SettingsError(f"{redact(key)}: {where(engine)} has no outbox of this name; {names}")
        if not (waiting or wants):
            raise SettingsError(f"{key}: nothing waits for it in {where(engine)}; nothing was written")
        claim = outbox.claim(engine, key)
        if claim is None:
            raise LineError(f"{key}: a line sends to it right now; take it out of that line's sinks first")
        try:
            return _release(engine, key, who, reason, at, new_id)
        finally:
            claim.release()
    except DBAPIError as error:
        raise LineError(why(error, where(engine))) from None


def _release(engine: Engine, key: str, who: str, reason: str, at: datetime, new_id: str) -> Released:
    """The event first: if this is cut short, what it says is more than what is closed, never less; do it again then."""
    still_open = (OUTBOX.c.sink == key, OUTBOX.c.closed.is_(None))
    with engine.begin() as connection:
        one_writer(connection)
        number = OUTBOX.c.number
        found = select(
            func.count(OUTBOX.c.inspection_id), func.count(OUTBOX.c.event_id), func.min(number), func.max(number)
        )
        results, events, first, last = connection.execute(found.where(*still_open)).one()
        # a person's later word on a result would wait for it, too
        connection.execute(update(SINK).where(SINK.c.key == key).values(events=False))
        detail = {"dropped": results + events, "results": results, "why": reason}
        event = Event(new_id, None, at, "outbox", who, key, detail)
        write(connection, event)
    for begin in range(first or 0, (last or -1) + 1, BATCH):
        with engine.begin() as connection:
            one_writer(connection)
            batch = (*still_open, number >= begin, number < begin + BATCH)
            connection.execute(update(OUTBOX).where(*batch).values(closed=at))
    return Released(event, results, events)


def deserted(engine: Engine, own: Collection[str]) -> dict[str, outbox.Pending]:
    """What waits for sinks that are none of these, and to which no line sends now. LineError if the store is gone."""
    alone = {}
    try:
        with reading(engine) as connection:
            others = {key: found for key, found in outbox.waiting(connection).items() if key not in own}
        for key, found in others.items():
            with suppress(LineError):  # of another user: then nobody can tell
                if claim := outbox.claim(engine, key):
                    claim.release()
                    alone[key] = found
    except DBAPIError as error:
        raise LineError(why(error, where(engine))) from None
    return alone
