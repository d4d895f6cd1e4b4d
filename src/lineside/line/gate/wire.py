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
STATES = {  # 0: never started
    "running": 1,
    "stopped": 2,
    "fault": 3,
    # those of OPC 40100-1, section 7.3
    "preoperational": 4,
    "halted": 5,
    "error": 6,
    "initialized": 7,
    "ready": 8,
    "single": 9,
    "continuous": 10,
}
ENDED = (0, STATES["stopped"], STATES["fault"])  # nobody tells the PLC anything, or ever has
PASSING = ("running", "ready", "single", "continuous")  # in every other state no part passes, whatever was decided


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
    """How soon a verdict must be confirmed, how far the gate is from the camera, and the gate's own timers."""

    deadline_ms: float = 50.0  # from the verdict, or its part at the gate, to the PLC's confirmation; later is a fault
    heartbeat_ms: float = 250.0  # between two heartbeats
    pass_ms: float = 100.0  # how long PASS stays on after an accepted part, unless the next verdict comes first
    delay_ms: float = 0.0  # from a part's trigger to the gate; 0: a verdict leaves at once
    delay_counts: int = 0  # the same in counts of an encoder
    encoder: int = -1  # address of its counter; -1: none
    poll_ms: float = 10.0  # between two readings of it
    jump_counts: int = 0  # more forward between two readings is a fault; 0: a quarter of delay_counts
    jitter_counts: int = 10  # so far may it tremble back
    still_ms: float = 2000.0  # a belt that stands so long is told of, and does not hold up the line's stop

    def __post_init__(self):
        for name in ("deadline_ms", "heartbeat_ms", "pass_ms", "poll_ms", "still_ms"):
            if not 1 <= getattr(self, name) <= 60_000:
                raise ValueError(f"{name}: expected 1 to 60000, got {getattr(self, name):g}")
        if not 0 <= self.delay_ms <= 60_000:
            raise ValueError(f"delay_ms: expected 0 to 60000, got {self.delay_ms:g}")
        for name in ("delay_counts", "jump_counts", "jitter_counts"):
            if not 0 <= getattr(self, name) < 2**30:
                raise ValueError(f"{name}: expected 0 to {2**30 - 1}, got {getattr(self, name)}")
        if self.delay_ms and self.delay_counts:
            raise ValueError("delay_ms and delay_counts are two ways to say the same; leave one out")
        if (self.delay_counts > 0) != (self.encoder >= 0):
            raise ValueError(
                "delay_counts and encoder belong together: the counts to the gate, and where they are read"
            )


@dataclass(frozen=True, slots=True)
class Wire:
    """A connected PLC. Each call returns when the PLC has confirmed it, and raises LineError when it has not.

    None of them may wait much longer than the deadline; none may connect again.
    """

    url: str
    count: int  # what the PLC holds: the next verdict has the next one
    heard: Callable[[], tuple[int, int]]  # what the PLC holds of the heartbeat: its count and state
    tell: Callable[[Telegram], None]
    rest: Callable[[], None]  # REJECT on, PASS off
    beat: Callable[[int, int], None]  # heartbeat (0 … 65535), state
    close: Callable[[], None]
    encoder: Callable[[], int]  # its counter, 32 bits; asked only where delay_counts is set


def high_low(value: int) -> tuple[int, int]:
    """Two registers of 16 bits for a count; it wraps at 2**32."""
    return value >> 16 & 0xFFFF, value & 0xFFFF
