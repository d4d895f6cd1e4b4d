"""What a PLC is told, the same over every protocol: codes, one part's telegram, times, and the calls of a wire.

The codes are a contract with programs in PLCs (docs/plc.md): new ones are added, none is ever changed. 0 is never a
verdict, so memory that nobody has written does not pass a part.
"""

from collections.abc import Callable
from dataclasses import dataclass

from lineside.line.events import Verdict

VERDICTS = {"accept": 1, "hold": 2, "reject": 3}
REASONS = {
    "decided": 1,
    "deadline": 2,
    "not-finite": 3,
    "unreadable": 4,
    "engine": 5,
    "fault": 6,
    "stopped": 7,
    "halted": 8,
    "calibration": 9,
}
OTHER_REASON = 255
STATES = {"running": 1, "stopped": 2, "fault": 3}  # 0: never started


@dataclass(frozen=True, slots=True)
class Telegram:
    """What the PLC is told of one part."""

    verdict: Verdict
    reason: str
    sequence: int  # 1, 2, 3, … within the run
    accepted: int  # of this run, this part included
    held: int
    rejected: int
    count: int  # goes on over restarts; the PLC's sign that there is a new verdict


@dataclass(frozen=True, slots=True)
class Timing:
    """How soon a verdict must be confirmed, and the gate's own timers. Milliseconds."""

    deadline_ms: float = 50.0  # from the verdict to the PLC's confirmation; later is a fault
    heartbeat_ms: float = 250.0  # between two heartbeats
    pass_ms: float = 100.0  # how long PASS stays on after an accepted part, unless the next verdict comes first

    def __post_init__(self):
        for name in ("deadline_ms", "heartbeat_ms", "pass_ms"):
            if not 1 <= getattr(self, name) <= 60_000:
                raise ValueError(f"{name}: expected 1 to 60000, got {getattr(self, name):g}")


@dataclass(frozen=True, slots=True)
class Wire:
    """A connected PLC. Each call returns when the PLC has confirmed it, and raises LineError when it has not.

    None of them may wait much longer than the deadline; none may connect again.
    """

    url: str
    count: int  # what the PLC holds: the next verdict has the next one
    tell: Callable[[Telegram], None]
    rest: Callable[[], None]  # REJECT on, PASS off
    beat: Callable[[int, int], None]  # heartbeat (0 … 65535), state
    close: Callable[[], None]


def high_low(value: int) -> tuple[int, int]:
    """Two registers of 16 bits for a count; it wraps at 2**32."""
    return value >> 16 & 0xFFFF, value & 0xFFFF
