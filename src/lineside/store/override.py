"""`lineside override`: a person's word on one result. It stands beside the machine's verdict and never replaces it.

The word is an event of kind "override" with the result's id as its subject, in the hash chain as all events are: who
said it, when, why, and what held before. The newest one holds. Nothing is moved by it: the gate acted when the machine
decided. Consumers that were told of the result are told of this too, if they want events.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import DBAPIError

from lineside.errors import LineError, SettingsError
from lineside.store.chain import one_writer
from lineside.store.events import write
from lineside.store.open import where, why
from lineside.store.records import Event, signed
from lineside.store.tables import CHAIN, EVENT, INSPECTION, OUTBOX, SINK

KIND = "override"


@dataclass(frozen=True, slots=True)
class Overridden:
    event: Event
    told: tuple[str, ...]  # sinks whose outbox has it now
    untold: tuple[str, ...]  # that were told of the result and want no events


def override(
    engine: Engine, result_id: str, verdict: str, *, who: str, reason: str, at: datetime, new_id: str
) -> Overridden:
    """Store a person's verdict on a result, and put it into outboxes. at: aware; new_id: the event's, uuid4 hex.

    SettingsError where there is no such result, no name, no reason, or where this verdict holds already.
    """
    who, reason = signed(who, reason, "for an override", "'burr is within drawing 4711'")
    try:
        with engine.begin() as connection:
            one_writer(connection)  # of two persons at once the second is held against the first one's word
            return _override(connection, where(engine), result_id, verdict, who, reason, at, new_id)
    except DBAPIError as error:
        raise LineError(why(error, where(engine))) from None


def _override(
    connection: Connection, store: str, result_id: str, verdict: str, who: str, reason: str, at: datetime, new_id: str
) -> Overridden:
    one = connection.execute(select(INSPECTION).where(INSPECTION.c.id == result_id)).mappings().one_or_none()
    if one is None:
        raise SettingsError(
            f"{result_id}: no result in {store} has this id; `lineside history {store} --part ID` shows the ids of a "
            "part's results"
        )
    last = connection.execute(
        select(EVENT.c.detail, EVENT.c.who, EVENT.c.at)
        .join(CHAIN, CHAIN.c.event_id == EVENT.c.id)
        .where(EVENT.c.subject == result_id, EVENT.c.kind == KIND)
        .order_by(CHAIN.c.place.desc())
        .limit(1)
    ).one_or_none()
    before = last.detail["verdict"] if last else one["verdict"]
    if before == verdict:
        by = f"by {last.who}, {last.at:%Y-%m-%d %H:%M} UTC" if last else "by the machine"
        raise SettingsError(f"{result_id}: is {verdict} already ({by}); nothing was written")
    detail = {"verdict": verdict, "before": before, "machine": one["verdict"], "why": reason}
    event = Event(new_id, one["run_id"], at, KIND, who, result_id, detail)
    sinks = connection.execute(
        select(SINK.c.key, SINK.c.events)
        .join(OUTBOX, OUTBOX.c.sink == SINK.c.key)
        .where(OUTBOX.c.inspection_id == result_id)
        .order_by(SINK.c.key)
    ).all()
    told = tuple(sink.key for sink in sinks if sink.events)
    write(connection, event, told)
    return Overridden(event, told, tuple(sink.key for sink in sinks if not sink.events))
