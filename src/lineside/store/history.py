"""What happened: inspections by time, verdict and part, in the order of the store, also while a line writes to it."""

import re
from collections.abc import Generator
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, select

from lineside.errors import SettingsError
from lineside.store.open import reading
from lineside.store.records import Inspection
from lineside.store.tables import CHAIN, INSPECTION

NAMES = tuple(field.name for field in fields(Inspection))
AGO = re.compile(r"(\d+(?:\.\d+)?)(m|h|d)")
UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Question:
    """None: no matter which."""

    since: datetime | None = None  # of the verdict; aware
    verdict: str | None = None
    part: str | None = None  # part id, whole
    limit: int | None = None  # the newest so many


def history(engine: Engine, question: Question) -> Generator[Inspection]:
    """The inspections that are asked for, oldest first."""
    query = select(INSPECTION, CHAIN.c.place).join(CHAIN, CHAIN.c.inspection_id == INSPECTION.c.id)
    if question.since is not None:
        query = query.where(INSPECTION.c.decided >= question.since)
    if question.verdict is not None:
        query = query.where(INSPECTION.c.verdict == question.verdict)
    if question.part is not None:
        query = query.where(INSPECTION.c.part_id == question.part)
    if question.limit is not None:
        newest = query.order_by(CHAIN.c.place.desc()).limit(question.limit).subquery()
        query = select(newest).order_by(newest.c.place)
    else:
        query = query.order_by(CHAIN.c.place)
    with reading(engine) as connection:
        for row in connection.execution_options(yield_per=1000).execute(query).mappings():
            yield Inspection(**{name: row[name] for name in NAMES})


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
