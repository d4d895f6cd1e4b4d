"""A sink: who is told about results, after the store has them; and how a result is written for others.

tell(group) is called in the recorder's thread with inspections in order; it raises LineError when it can't. A sink that
fails stops the line: results are still in the store, and nobody works on as if he were being told. Such a sink is told
of results only: events (store/records.py) go to durable sinks that ask for them, and to `lineside history --events`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from lineside.line.states import State
from lineside.store.records import Event, Inspection

COLUMNS = tuple(field.name for field in fields(Inspection))  # the order in every sink
EVENT_COLUMNS = tuple(field.name for field in fields(Event))


@dataclass(frozen=True, slots=True)
class Standing:
    """How the station stands, as sinks are told of it."""

    state: State
    product: str  # that is prepared, or was at last
    why: str  # "" where there is nothing to say
    run_id: str


def _ignore(standing: Standing) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Sink:
    url: str
    tell: Callable[[Sequence[Inspection]], None]
    close: Callable[[], None]
    state: Callable[[Standing], None] = _ignore  # in the main thread: must return at once


def written(record: Inspection | Event) -> dict[str, Any]:
    """What JSON can hold, by column; times as ISO 8601 in UTC with microseconds."""
    columns = EVENT_COLUMNS if isinstance(record, Event) else COLUMNS
    return {column: scalar(getattr(record, column)) for column in columns}


def scalar(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value
