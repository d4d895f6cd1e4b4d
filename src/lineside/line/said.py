"""What the line says to people while it runs: one record, whoever speaks; line/log.py writes it down.

Nothing here writes anything: `say` is an argument of whoever has something to say, and returns at once.
"""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Literal

from lineside import __version__
from lineside.store.records import Run

if TYPE_CHECKING:  # they import scipy, and what imports this
    from lineside.evidence.drift import Alarm
    from lineside.line.events import Changed
    from lineside.line.messages import Asked
    from lineside.line.summary import Summary

Event = Literal["start", "stop", "state", "drift", "sink", "camera", "gate", "fault", "command", "library", "note"]
Level = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Said:
    """One sentence, and what a machine wants to know of it. print(said) prints the sentence."""

    event: Event
    sentence: str
    level: Level = "info"
    part_id: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)  # what JSON can hold

    def __str__(self) -> str:
        return self.sentence


Say = Callable[[Said], None]


def unheard(said: Said) -> None:
    """Nobody is told while the line runs; the summary has it."""


def versions(*packages: str) -> dict[str, str]:
    """The installed version of Lineside, Python and each of these packages that is here."""
    found = {"lineside": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def started(run: Run) -> Said:
    """The line starts: with what."""
    facts = {
        "run": run.id,
        "bundle": run.bundle,
        "bundle_sha256": run.bundle_sha256,
        "source": run.source,
        "settings": run.settings,
        "versions": versions("numpy", "onnxruntime", "openvino"),
    }
    return Said("start", f"the line starts: {run.bundle} ({run.bundle_sha256[:12]}…) on {run.source}", facts=facts)


def changed(change: "Changed", who: str, ends: bool) -> Said:
    """The station is in another state, or has another product. ends: because the run comes to its end."""
    facts = {"state": change.state, "product": change.product, "who": who}
    event: Event = "fault" if change.state == "error" else "state"
    level: Level = (
        "error" if change.state == "error" else "warning" if change.state == "halted" and not ends else "info"
    )
    why = f": {change.why}" if change.why else ""
    return Said(event, f"the station is {change.state}{why}", level, facts=facts)


def still_halted(change: "Changed", seconds: float, rejected: int) -> Said:
    """The station has been halted for so long, and has rejected so many parts since."""
    parts = "1 part has been" if rejected == 1 else f"{rejected:,} parts have been"
    sentence = (
        f"the station is still halted, for {seconds / 60:,.0f} minutes: {change.why}; {parts} rejected since. "
        "It goes on after: reset, start"
    )
    facts = {"state": change.state, "product": change.product, "halted_s": round(seconds), "rejected": rejected}
    return Said("state", sentence, "warning", facts=facts)


def obeyed(asked: "Asked", refused: str) -> Said:
    """Somebody ordered something, and got it or not."""
    sentence = f"{asked.who} ordered {asked.order} {asked.product}".rstrip() + (
        f": refused, {refused}" if refused else ""
    )
    facts = {"who": asked.who, "order": asked.order, "product": asked.product, "refused": refused}
    return Said("command", sentence, "warning" if refused else "info", facts=facts)


def drifted(alarm: "Alarm", camera: str, part_id: str) -> Said:
    """Parts or pictures are no longer what the bundle was calibrated on. camera: "" where there is only one."""
    facts = {"camera": camera, "number": alarm.number, "since": alarm.since, "evidence": alarm.evidence}
    sentence = f"{camera}: {alarm.sentence()}" if camera else alarm.sentence()
    return Said("drift", sentence, "warning", part_id, facts)


def stopped(summary: "Summary") -> Said:
    """The line has stopped: after what."""
    facts = {
        "run": summary.run_id,
        "parts": summary.parts,
        "stored": summary.stored,
        "lost": summary.lost,
        "deadline_misses": summary.deadline_misses,
        "seconds": round(summary.seconds, 3),
        "waiting": {sent.url: sent.pending for sent in summary.outboxes},
    }
    facts |= {"verdicts": summary.verdicts, "reasons": summary.reasons, "source": summary.source}
    why = f"; fault: {summary.fault}" if summary.fault else "; on request" if summary.interrupted else ""
    sentence = f"the line has stopped: {summary.parts:,} parts, {summary.stored:,} results stored{why}"
    return Said("stop", sentence, "error" if summary.fault or summary.lost else "info", facts=facts)
