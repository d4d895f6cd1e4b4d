"""When each verdict leaves for the PLC: when its part is at the gate. Pure: no wire, thread or clock in it.

    at once      no delay: the PLC knows by itself when the part comes
    by time      delay_ms after its trigger
    by encoder   when the belt has run delay_counts since its trigger

First in, first out: a verdict never overtakes another, and each comes out once. Never early; by the encoder, a verdict
is late by at most one reading. One that comes in when its part has passed the gate already is refused: it could no
longer move the part it belongs to, and would move another.
"""

from collections import deque
from dataclasses import dataclass

from lineside.errors import LineError
from lineside.line.events import Part, Verdict
from lineside.line.gate.belt import Belt
from lineside.line.gate.wire import Timing


@dataclass(frozen=True, slots=True)
class Job:
    """A verdict on its way to the PLC."""

    part: Part
    verdict: Verdict
    reason: str
    triggered_ns: int
    asked_ns: int  # when it was given
    number: int = 0  # 1, 2, 3, … of all that were given


class Schedule:
    """put() verdicts in their order, due() takes the next one out when its part is at the gate. Final."""

    def __init__(self, timing: Timing, belt: Belt):
        self._delay_ns, self._delay_counts = round(timing.delay_ms * 1e6), timing.delay_counts
        self._belt = belt
        self._jobs: deque[Job] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job) -> None:
        self._jobs.append(job)

    def due(self, now_ns: int) -> tuple[Job, int] | None:
        """The next verdict, and when its part came to the gate; None: not yet. LineError: it came too late for it."""
        if not self._jobs:
            return None
        job = self._jobs[0]
        due_ns = self._by_encoder(job) if self._delay_counts else self.by_time(job)
        if due_ns is None or due_ns > now_ns:
            return None
        if job.asked_ns > due_ns:
            raise LineError(
                f"part {job.part.part_id}: its verdict ({job.verdict}) came {(job.asked_ns - due_ns) / 1e6:.0f} ms "
                f"after the part had reached the gate, {(job.asked_ns - job.triggered_ns) / 1e6:.0f} ms after its "
                "trigger; the line's deadline must be shorter than the way from camera to gate"
            )
        self._jobs.popleft()
        return job, due_ns

    def next_ns(self) -> int | None:
        """When due() has something to say again; None: nothing waits, or the encoder will tell."""
        return self.by_time(self._jobs[0]) if self._jobs and not self._delay_counts else None

    def by_time(self, job: Job) -> int:
        """When it is due where no encoder says so."""
        return job.triggered_ns + self._delay_ns if self._delay_ns else job.asked_ns

    def _by_encoder(self, job: Job) -> int | None:
        try:
            start = self._belt.at(job.triggered_ns)
        except LookupError:
            raise LineError(
                f"part {job.part.part_id}: its trigger is older than every reading of the encoder that is kept; how "
                "far the part has come is not known"
            ) from None
        if start is None or (then := self._belt.at(job.asked_ns)) is None:
            return None
        gate = start + self._delay_counts
        due_ns = self._belt.when(gate)
        return job.asked_ns if due_ns is not None and then == gate else due_ns  # a part may stand right at the gate
