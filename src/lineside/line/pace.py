"""When parts come, and what is asked of the time."""

from collections.abc import Sequence
from dataclasses import dataclass

from lineside.errors import SettingsError
from lineside.line.source.frame import Source
from lineside.line.view import View

IN_FLIGHT = 16  # parts between trigger and verdict, where triggers do not wait for verdicts
OWN = ("free", "hardware")  # triggers of a camera that sets the pace by itself


@dataclass(frozen=True, slots=True)
class Pace:
    """When parts come, and what is asked of the time. None: not limited, not watched."""

    deadline_ms: float | None = None  # from trigger to verdict
    max_fps: float | None = None  # triggers by the clock; None: one after another
    together_ms: float | None = 20.0  # several cameras: pictures of one part are taken within so long
    halt_after: int | None = None  # rejects in a row
    watchdog_s: float | None = None  # no part for so long is a fault
    parts: int | None = None  # stop after so many

    def __post_init__(self) -> None:
        least = {"deadline_ms": 1e-3, "max_fps": 1e-3, "together_ms": 1e-3, "halt_after": 1, "watchdog_s": 1e-3}
        for name, least_of_it in (least | {"parts": 1}).items():
            value = getattr(self, name)
            if value is not None and not least_of_it <= value < float("inf"):
                raise SettingsError(f"{name}: expected a number of at least {least_of_it:g}, got {value}")


AFTER_EACH_OTHER = Pace()


def in_flight(source: Source, pace: Pace) -> int:
    """How many parts may be between trigger and verdict."""
    if source.trigger == "software" and pace.max_fps is None:
        return 1  # the next is triggered when this one has its verdict
    if source.trigger == "recorded" and pace.max_fps is None:
        return 2  # one in flight, one that is ready to follow
    return IN_FLIGHT


def check(views: Sequence[View], pace: Pace) -> None:
    """SettingsError where the cameras of a line can't have one pace, or not this one."""
    if len({view.source.trigger in OWN for view in views}) > 1:
        raise SettingsError(
            "some cameras set the pace by themselves and some wait for the line's trigger ("
            + ", ".join(f"{view.name}: {view.source.trigger}" for view in views)
            + "); the cameras of one line need one kind of trigger"
        )
    for view in views:
        if pace.max_fps is not None and view.source.trigger in OWN:
            raise SettingsError(
                f"max_fps: {view.source.url} sets the pace by itself (trigger {view.source.trigger}); leave --max-fps "
                "out, or trigger by software where the camera can: #trigger=software"
            )
