"""A run, an inspection, an event, as the store keeps them and as sinks tell them. Fields are columns of tables.py."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from lineside.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Run:
    id: str
    started: datetime  # aware
    bundle_sha256: str
    bundle: str
    source: str
    lineside: str
    settings: dict[str, Any]
    ended: datetime | None = None


@dataclass(frozen=True, slots=True)
class Inspection:
    """The verdict about one part: who, which picture, what was seen, what was decided and why, when, and how fast."""

    id: str
    run_id: str
    sequence: int
    part_id: str
    name: str
    sha256: str | None
    label: str | None
    score: float | None
    scores: dict[str, float] | None
    margin: float | None
    verdict: str
    reason: str
    detail: str
    truth: str | None
    captured: datetime
    decided: datetime
    decode_ms: float | None
    infer_ms: float | None
    decide_ms: float | None
    total_ms: float
    product: str | None = None  # of the line that has several; and from here on: fields that older stores have not
    views: list[dict[str, Any]] | None = None  # what each camera saw, where there are several


@dataclass(frozen=True, slots=True)
class Given:
    """A verdict that is about to leave; its Inspection, under the same id, is made when it has left."""

    id: str
    run_id: str
    sequence: int
    part_id: str
    name: str
    verdict: str
    reason: str
    detail: str
    truth: str | None
    decided: datetime
    total_ms: float
    product: str | None

    def inspection(self) -> Inspection:
        """All that is known of it where its Inspection was never made."""
        return Inspection(
            id=self.id,
            run_id=self.run_id,
            sequence=self.sequence,
            part_id=self.part_id,
            name=self.name,
            sha256=None,
            label=None,
            score=None,
            scores=None,
            margin=None,
            verdict=self.verdict,
            reason=self.reason,
            detail=self.detail,
            truth=self.truth,
            captured=self.decided - timedelta(milliseconds=self.total_ms),
            decided=self.decided,
            decode_ms=None,
            infer_ms=None,
            decide_ms=None,
            total_ms=self.total_ms,
            product=self.product,
        )


KINDS = ("state", "product", "drift", "override", "calibration", "command", "pictures", "recovered", "outbox")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at the line and is no part."""

    id: str  # uuid4, hex: unique in the world, as an inspection's
    run_id: str | None  # None: no line was running
    at: datetime  # aware
    kind: str  # of KINDS
    who: str  # a person's name, or which part of the program
    subject: str  # what it is about, such as an inspection's id; "" if nothing
    detail: dict[str, Any]  # by kind: docs/store.md


def printable(text: str) -> str:
    """text as any database can hold it: stray bytes of a foreign file name become \\udcff and the like, NUL \\x00."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def signed(who: str, reason: str, what: str, example: str) -> tuple[str, str]:
    """A person's name and reason as the store holds them; SettingsError where one is empty. what: is done by them."""
    who, reason = printable(who.strip()), printable(reason.strip())
    for flag, value, such in (("--who", who, "'M. Ito, QA'"), ("--why", reason, example)):
        if not value:
            raise SettingsError(f"{flag}: is empty; {what} the audit needs it, such as {flag} {such}")
    return who, reason
