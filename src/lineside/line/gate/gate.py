"""A gate: tells a PLC each verdict, at once, in a thread of its own, and knows when the PLC has confirmed it.

Two threads, so that nothing on the network can delay the line:
    gate         verdicts in their order, and between them the heartbeat and the end of PASS; the only one on the wire
    gate-watch   sees that a verdict or a heartbeat is overdue, even where the library on the wire hangs

`actuate` (main thread) puts a verdict into a queue of at most ROOM and returns. From there its deadline counts, until
the PLC has confirmed. Late, refused, unconfirmed or no room: a fault, once, as a sentence to `failed`; the line then
goes to its safe state. Nothing connects again within a run: verdicts may have been lost, and which part now lies at the
gate is known to nobody. The heartbeat stops, and the PLC rejects.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from lineside.errors import LineError
from lineside.line.events import Part, Verdict
from lineside.line.gate.wire import STATES, Telegram, Timing, Wire
from lineside.line.latency import Histogram, Latency

ROOM = 64  # verdicts that may wait for the wire
WATCH_SHARE = 0.25  # of the deadline: how often it is looked at
CLOSE_S = 5.0  # for the last verdicts


@dataclass(frozen=True, slots=True)
class _Job:
    part: Part
    verdict: Verdict
    reason: str
    asked_ns: int


@dataclass(frozen=True, slots=True)
class _End:
    state: str


class Gate:
    """Open it by its URL (catalog.py); start, actuate, close. Final."""

    def __init__(self, wire: Wire, timing: Timing, now_ns: Callable[[], int] = time.monotonic_ns):
        self._wire, self._timing, self._now_ns = wire, timing, now_ns
        self.url = wire.url
        self._deadline_ns = round(timing.deadline_ms * 1e6)
        self._queue: queue.SimpleQueue[_Job | _End] = queue.SimpleQueue()
        self._open: deque[int] = deque()  # when the verdicts that are not confirmed were given
        self._busy_ns: int | None = None  # since when the wire has been at work
        self._count, self._beats = wire.count, 0
        self._totals = {"accept": 0, "hold": 0, "reject": 0}
        self._beat_ns = 0  # when the next heartbeat is due
        self._rest_ns: int | None = None  # when PASS must end
        self._histogram = Histogram()
        self._failing = threading.Lock()
        self._done = threading.Event()
        self._threads: list[threading.Thread] = []
        self.confirmed = 0
        self.error = ""

    def start(self, failed: Callable[[str], None]) -> None:
        """Put the PLC into its rest state and start the heartbeat. LineError where it does not take that."""
        self._failed = failed
        try:
            self._on_wire(self._wire.rest)
            self._beat("running")
        except Exception as error:
            self._wire.close()
            raise self._sentence(error) from None
        self._threads = [
            threading.Thread(target=self._work, name="gate", daemon=True),
            threading.Thread(target=self._watch, name="gate-watch", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def actuate(self, part: Part, verdict: Verdict, reason: str) -> None:
        """Hand a verdict over; returns at once. LineError where too many wait."""
        if self.error:
            return  # the line has been told, and the PLC hears nothing any more
        if len(self._open) >= ROOM:
            raise LineError(f"{self.url}: {ROOM} verdicts wait for the PLC; it takes them more slowly than they come")
        asked_ns = self._now_ns()
        self._open.append(asked_ns)
        self._queue.put(_Job(part, verdict, reason, asked_ns))

    def close(self, state: str) -> None:
        """Tell what waits, then the rest state and why it is over ("stopped" or "fault"); once."""
        threads, self._threads = self._threads, []
        if threads:
            self._queue.put(_End(state))
            threads[0].join(CLOSE_S)
            self._done.set()
            threads[1].join(CLOSE_S)
            if threads[0].is_alive():
                self._fail(f"{self.url}: the last verdicts were not confirmed within {CLOSE_S:g} s")
        self._wire.close()

    def latency(self) -> Latency:
        """Verdict → confirmed by the PLC, of every verdict that was confirmed."""
        return self._histogram.latency()

    def _work(self) -> None:
        try:
            while True:
                try:
                    job = self._queue.get(timeout=self._patience_s())
                except queue.Empty:
                    job = None
                if isinstance(job, _End):
                    return self._leave(job.state)
                if job is not None:
                    self._tell(job)
                self._timers()
        except Exception as error:  # whatever came from the wire: the line must hear of it and go to its safe state
            self._fail(str(self._sentence(error)))
        with suppress(Exception):  # an accepted part's PASS may still be on; the PLC itself ends it if this fails, too
            self._wire.rest()
            self._wire.beat(self._beats, STATES["fault"])

    def _tell(self, job: _Job) -> None:
        waited_ns = self._now_ns() - job.asked_ns
        if waited_ns > self._deadline_ns:
            raise LineError(self._late(job, waited_ns, "has not been sent"))
        self._totals[job.verdict] += 1
        count = (self._count + 1) % 2**16
        totals = self._totals
        telegram = Telegram(
            job.verdict, job.reason, job.part.sequence, totals["accept"], totals["hold"], totals["reject"], count
        )
        try:
            self._on_wire(lambda: self._wire.tell(telegram))
        except LineError as error:
            raise LineError(f"{error} (part {job.part.part_id}, {job.verdict})") from None
        now = self._now_ns()
        self._count = count
        self._open.popleft()
        self.confirmed += 1
        self._histogram.add((now - job.asked_ns) / 1e6)
        self._rest_ns = now + round(self._timing.pass_ms * 1e6) if job.verdict == "accept" else None
        if now - job.asked_ns > self._deadline_ns:
            raise LineError(self._late(job, now - job.asked_ns, "was confirmed too late"))

    def _late(self, job: _Job, ns: int, what: str) -> str:
        return (
            f"{self.url}: part {job.part.part_id}: its verdict ({job.verdict}) {what}: {ns / 1e6:.0f} ms after it was "
            f"given, deadline_ms is {self._timing.deadline_ms:g}; look at the network and at the PLC's cycle time"
        )

    def _timers(self) -> None:
        now = self._now_ns()
        if self._rest_ns is not None and now >= self._rest_ns:
            self._on_wire(self._wire.rest)
            self._rest_ns = None
        if now >= self._beat_ns:
            self._beat("running")

    def _beat(self, state: str) -> None:
        self._beat_ns = self._now_ns() + round(self._timing.heartbeat_ms * 1e6)
        self._beats = (self._beats + 1) % 2**16
        self._on_wire(lambda: self._wire.beat(self._beats, STATES[state]))

    def _patience_s(self) -> float:
        due = self._beat_ns if self._rest_ns is None else min(self._beat_ns, self._rest_ns)
        return max(0, due - self._now_ns()) / 1e9

    def _leave(self, state: str) -> None:
        if state == "stopped" and self._rest_ns is not None:  # the last accepted part keeps its time to pass
            time.sleep(max(0, self._rest_ns - self._now_ns()) / 1e9)
        self._on_wire(self._wire.rest)
        self._beat(state)

    def _on_wire(self, call: Callable[[], None]) -> None:
        self._busy_ns = self._now_ns()
        try:
            call()
        finally:
            self._busy_ns = None

    def _watch(self) -> None:
        every_ns = round(self._deadline_ns * WATCH_SHARE)
        while not self._done.wait(every_ns / 1e9):
            for since in (self._busy_ns, self._oldest_ns()):
                if since is not None and self._now_ns() - since > self._deadline_ns + every_ns:
                    self._fail(
                        f"{self.url}: no confirmation from the PLC within deadline_ms={self._timing.deadline_ms:g}; "
                        "look at the network and at the PLC"
                    )
                    return

    def _oldest_ns(self) -> int | None:
        with suppress(IndexError):
            return self._open[0]
        return None

    def _sentence(self, error: Exception) -> LineError:
        return error if isinstance(error, LineError) else LineError(f"{self.url}: {type(error).__name__}: {error}")

    def _fail(self, sentence: str) -> None:
        with self._failing:
            if self.error:
                return
            self.error = sentence
        self._failed(sentence)
