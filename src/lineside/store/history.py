"""What happened: inspections by time, verdict and part, in the order of the store, also while a line writes to it.

Beside each stands the last word of a person on it, if there is one (override.py).
"""

import re
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, func, select

from lineside.errors import SettingsError
from lineside.store.lines import runs_of
from lineside.store.override import KIND
from lineside.store.paging import in_order
from lineside.store.recorder import NAMES
from lineside.store.records import Event, Inspection
from lineside.store.tables import CHAIN, EVENT, INSPECTION, RUN, line_name

AGO = re.compile(r"(\d+(?:\.\d+)?)(m|h|d)")
UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Question:
    """None: no matter which."""

    since: datetime | None = None  # of the verdict; aware
    verdict: str | None = None  # the machine's
    part: str | None = None  # part id, whole
    line: str | None = None  # its name
    limit: int | None = None  # the newest so many
    overridden: bool = False  # only those on which a person has given his word


@dataclass(frozen=True, slots=True)
class Found:
    inspection: Inspection
    override: Event | None  # the newest
    line: str | None  # its name; None: of a version that did not store it


def history(engine: Engine, question: Question) -> Generator[Found]:
    """The inspections that are asked for, oldest first."""
    word, words = (
        CHAIN.alias(),
        (
            select(EVENT.c.subject, func.max(CHAIN.c.place).label("place"))
            .join(CHAIN, CHAIN.c.event_id == EVENT.c.id)
            .where(EVENT.c.kind == KIND)
            .group_by(EVENT.c.subject)
            .subquery()
        ),
    )
    query = (
        select(INSPECTION, line_name.label("_line"), *(column.label(f"_{column.name}") for column in EVENT.columns))
        .join(CHAIN, CHAIN.c.inspection_id == INSPECTION.c.id)
        .join(RUN, RUN.c.id == INSPECTION.c.run_id)
        .join(words, words.c.subject == INSPECTION.c.id, isouter=not question.overridden)
        .outerjoin(word, word.c.place == words.c.place)
        .outerjoin(EVENT, EVENT.c.id == word.c.event_id)
    )
    if question.since is not None:
        query = query.where(INSPECTION.c.decided >= question.since)
    if question.verdict is not None:
        query = query.where(INSPECTION.c.verdict == question.verdict)
    if question.part is not None:
        query = query.where(INSPECTION.c.part_id == question.part)
    if question.line is not None:
        query = query.where(INSPECTION.c.run_id.in_(runs_of(engine, question.line)))
    for row in in_order(engine, query, question.limit):
        said = Event(**{name: row[f"_{name}"] for name in NAMES[Event]}) if row["_id"] else None
        yield Found(Inspection(**{name: row[name] for name in NAMES[Inspection]}), said, row["_line"])


def moment(text: str, now: datetime, flag: str = "--since") -> datetime:
    """A time: ISO 8601 (UTC where it names no zone), or so long ago: 30m, 12h, 7d."""
    if ago := AGO.fullmatch(text):
        return now - timedelta(**{UNITS[ago[2]]: float(ago[1])})
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"{flag} {text}: expected a time such as 2026-11-22 or 2026-11-22T14:00:00+01:00, or 30m, 12h, 7d"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
