"""What happens at the line and is no part, as events for the store and the sinks (store/records.py). docs/store.md has
their kinds and what their details hold."""

import uuid
from dataclasses import asdict
from datetime import datetime
from typing import Any

from lineside.evidence.drift import Alarm
from lineside.line.events import WORST_LAST, Changed, Result
from lineside.line.messages import Asked
from lineside.settings import plain
from lineside.store.records import Event, printable

LINE = "line"  # who has done what nobody ordered


def state(run_id: str, at: datetime, change: Changed, who: str) -> Event:
    """The station has come into another state, or has another product."""
    return _event(run_id, at, "state", who or LINE, "", asdict(change))


def command(run_id: str, at: datetime, asked: Asked, refused: str) -> Event:
    """Somebody ordered something, and got it or not."""
    detail = {"product": asked.product, "expect": list(asked.expect), "why": asked.why, "refused": refused}
    return _event(run_id, at, "command", asked.who, asked.order, detail)


def drift(run_id: str, at: datetime, alarm: Alarm, camera: str) -> Event:
    """Parts or pictures are no longer what the bundle was calibrated on."""
    detail = {"camera": camera, "sentence": alarm.sentence(), **plain(alarm)}
    return _event(run_id, at, "drift", LINE, "", detail)


def calibration(run_id: str, at: datetime, result: Result) -> Event:
    """A master part came through: what it is, and what the station said of it."""
    said = max((word.verdict for word in result.words), key=WORST_LAST.index, default=None)
    detail = {"expected": result.expected, "said": said, "agrees": said == result.expected, "reason": result.reason}
    return _event(run_id, at, "calibration", LINE, result.part.part_id, detail)


def _event(run_id: str, at: datetime, kind: str, who: str, subject: str, detail: dict[str, Any]) -> Event:
    return Event(uuid.uuid4().hex, run_id, at, kind, printable(who), printable(subject), detail)
