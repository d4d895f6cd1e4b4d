"""A gate: tells a PLC each verdict when its part is there, in a thread of its own, and knows when the PLC has it.

Two threads, so that nothing on the network can delay the line:
    gate         verdicts in their order, and between them the heartbeat, the end of PASS and the readings of the belt's
                 encoder; the only one on the wire
    gate-watch   sees that a verdict, a heartbeat or a reading is overdue, even where the library on the wire hangs

`actuate` (main thread) puts a verdict into a queue and returns. It leaves at once or, where the gate is some way behind
the camera, when its part comes to the gate (schedule.py). From there its deadline counts, until the PLC has confirmed.
Late, refused, unconfirmed, no room, a belt that nobody can follow: a fault, once, as a sentence to `failed`; the line
then goes to its safe state. Nothing connects again within a run: verdicts may have been lost, and which part now lies
at the gate is known to nobody. The heartbeat stops, and the PLC rejects.

At the end: "stopped" waits for the parts that are still on the belt, as long as it runs and BELT_S at most. In every
state that is not one of wire.PASSING nothing waits, and nothing passes: an accept that is told then is told as reject.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from lineside.errors import LineError
from lineside.line.events import UNREADABLE, Part, Verdict
from lineside.line.gate.belt import Belt
from lineside.line.gate.schedule import Job, Schedule
from lineside.line.gate.wire import PASSING, STATES, Telegram, Timing, Wire
from lineside.line.latency import Histogram, Latency
from lineside.line.said import Said, Say, unheard

ROOM = 64  # verdicts that may wait for the wire
ROOM_ON_BELT = 4096  # the same with a delay: parts between camera and gate
GONE_S = 1.0  # after its trigger a part that nobody saw has passed the gate; with a delay, after that
WATCH_SHARE = 0.25  # of the deadline: how often it is looked at
CLOSE_S = 5.0  # for the last verdicts
BELT_S = 60.0  # for the parts on the belt to come to the gate, when the line stops
JUMP_SHARE = 0.25  # of delay_counts: no belt runs so far between two readings


@dataclass(frozen=True, slots=True)
class _End:
    state: str


class Gate:
    """Open it by its URL (catalog.py); start, actuate, close. Final."""

    def __init__(self, wire: Wire, timing: Timing, now_ns: Callable[[], int] = time.monotonic_ns):
        self._wire, self._timing, self._now_ns = wire, timing, now_ns
        self.url = wire.url
        self._deadline_ns = round(timing.deadline_ms * 1e6)
        self._queue: queue.SimpleQueue[Job | _End | None] = queue.SimpleQueue()  # None: look at the state
        jump = timing.jump_counts or max(1, round(timing.delay_counts * JUMP_SHARE))
        self._belt = Belt(jump, timing.jitter_counts)
        self._schedule = Schedule(timing, self._belt)
        self._delayed = timing.delay_ms > 0 or timing.delay_counts > 0
        self._room = ROOM_ON_BELT if self._delayed else ROOM
        self._given = self._taken = 0  # verdicts, by the main thread; confirmed, by the gate's
        self._void = 0  # accepts up to this one do not pass: the station was halted after them
        self._due: deque[int] = deque()  # when the verdicts that are not confirmed were or will be due, where known
        self._busy_ns: int | None = None  # since when the wire has been at work
        self._count, self._beats = wire.count, 0
        self._totals = {"accept": 0, "hold": 0, "reject": 0}
        self._state = self._said = "running"  # what the heartbeat is to say, and has said
        self._beat_ns = 0  # when the next heartbeat is due
        self._poll_ns: int | None = None  # when the next reading of the encoder is due; None: there is none
        self._rest_ns: int | None = None  # when PASS must end
        self._resting = False  # whether it was said that the belt stands
        self.times = Histogram()  # verdict, or its part at the gate, → confirmed; of every verdict that was confirmed
        self.ends = Histogram()  # trigger → confirmed; of the same
        self._beaten_ns = 0  # when the PLC confirmed the last heartbeat
        self._failing = threading.Lock()
        self._done = threading.Event()
        self._threads: list[threading.Thread] = []
        self.confirmed = 0
        self.passed_by = 0  # parts that had gone by before their verdict was known: the PLC is not told of them
        self.error = ""

    def start(self, failed: Callable[[str], None], say: Say = unheard) -> None:
        """Put the PLC into its rest state and start the heartbeat. LineError where it does not take that."""
        self._failed, self._say = failed, say
        try:
            self._on_wire(self._wire.rest)
            self._beat()
            if self._timing.delay_counts:
                self._poll()
        except Exception as error:
            self._wire.close()
            raise self._sentence(error) from None
        self._threads = [
            threading.Thread(target=self._work, name="gate", daemon=True),
            threading.Thread(target=self._watch, name="gate-watch", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def actuate(self, part: Part, verdict: Verdict, reason: str, triggered_ns: int) -> None:
        """Hand a verdict over; returns at once. triggered_ns: when its part was at the camera, by the gate's clock.

        LineError where too many wait.
        """
        if self.error:
            return  # the line has been told, and the PLC hears nothing any more
        now = self._now_ns()
        if reason == UNREADABLE and self._has_passed(now - triggered_ns):
            self.passed_by += 1  # a camera was away: for want of a verdict the PLC has rejected it long ago
            return  # and another part lies there now
        if self._given - self._taken >= self._room:
            raise LineError(
                f"{self.url}: {self._room} parts are between camera and gate; is the delay right?"
                if self._delayed
                else f"{self.url}: {self._room} verdicts wait for the PLC; it takes them more slowly than they come"
            )
        self._given += 1
        job = Job(part, verdict, reason, triggered_ns, now, self._given)
        if not self._timing.delay_counts:
            self._due.append(self._schedule.by_time(job))
        self._queue.put(job)

    def _has_passed(self, since_ns: int) -> bool:
        """Whether a part must have gone by, so long after its trigger, where only the time can say so."""
        way_ns = round(self._timing.delay_ms * 1e6) or round(GONE_S * 1e9)
        return not self._timing.delay_counts and since_ns > way_ns

    def tell_state(self, state: str) -> None:
        """Say another of wire.STATES from now on, at once; returns at once."""
        if state not in PASSING:
            self._void = self._given  # also if the station goes on before they are at the gate
        if state != self._state:
            self._state = state
            self._queue.put(None)

    def close(self, state: str) -> None:
        """Tell what waits, then the rest state and why it is over ("stopped" or "fault"); once."""
        threads, self._threads = self._threads, []
        if threads:
            patience_s = CLOSE_S
            if state == "stopped":
                patience_s += self._timing.pass_ms / 1e3 + (BELT_S if self._delayed else 0)
            self._queue.put(_End(state))
            threads[0].join(patience_s)
            self._done.set()
            threads[1].join(CLOSE_S)
            if threads[0].is_alive():
                self._fail(f"{self.url}: the last verdicts were not confirmed within {patience_s:g} s")
        self._wire.close()

    def latency(self) -> Latency:
        """Verdict, or its part at the gate, → confirmed by the PLC; of every verdict that was confirmed."""
        return self.times.latency()

    def heartbeat_age_s(self) -> float:
        """Since the PLC confirmed a heartbeat."""
        return max(0, self._now_ns() - self._beaten_ns) / 1e9

    def _work(self) -> None:
        end, until_ns = None, 0
        try:
            while not self.error:
                try:
                    found = self._queue.get(timeout=self._patience_s())
                except queue.Empty:
                    found = None
                if isinstance(found, _End):
                    end, until_ns = found.state, self._now_ns() + round(BELT_S * 1e9)
                    if end != "stopped":
                        self._state = end
                elif found is not None:
                    self._schedule.put(found)
                if self._poll_ns is not None and self._now_ns() >= self._poll_ns:
                    self._poll()
                if told := self._schedule.due(self._now_ns()):
                    self._tell(*told)
                elif end and (self._emptied(end) or self._now_ns() >= until_ns):
                    return self._leave(end)
                self._timers()
        except Exception as error:  # whatever came from the wire: the line must hear of it and go to its safe state
            self._fail(str(self._sentence(error)))
        with suppress(Exception):  # an accepted part's PASS may still be on; the PLC itself ends it if this fails, too
            self._wire.rest()
            self._wire.beat(self._beats, STATES["fault"])

    def _emptied(self, end: str) -> bool:
        """Nothing that is still to come is worth waiting for."""
        if end != "stopped":
            return True  # what is on the belt is not told: it is rejected
        now = self._now_ns()
        if self._schedule:
            return self._poll_ns is not None and self._belt.stands_ns(now) > self._timing.still_ms * 1e6
        return self._rest_ns is None or now >= self._rest_ns  # the last accepted part keeps its time to pass

    def _tell(self, job: Job, due_ns: int) -> None:
        waited_ns = self._now_ns() - due_ns
        if waited_ns > self._deadline_ns:
            raise LineError(self._late(job, waited_ns, "has not been sent"))
        verdict, reason = job.verdict, job.reason
        if verdict == "accept" and (self._state not in PASSING or job.number <= self._void):
            verdict, reason = "reject", "fault"
        self._totals[verdict] += 1
        count = (self._count + 1) % 2**16
        totals = self._totals
        telegram = Telegram(
            verdict, reason, job.part.sequence, totals["accept"], totals["hold"], totals["reject"], count
        )
        try:
            self._on_wire(lambda: self._wire.tell(telegram))
        except LineError as error:
            raise LineError(f"{error} (part {job.part.part_id}, {verdict})") from None
        now = self._now_ns()
        self._count = count
        self._taken += 1
        if self._due:
            self._due.popleft()
        self.confirmed += 1
        self.times.add((now - due_ns) / 1e6)
        self.ends.add((now - job.triggered_ns) / 1e6)
        self._rest_ns = now + round(self._timing.pass_ms * 1e6) if verdict == "accept" else None
        if now - due_ns > self._deadline_ns:
            raise LineError(self._late(job, now - due_ns, "was confirmed too late"))

    def _late(self, job: Job, ns: int, what: str) -> str:
        since = "its part was at the gate" if self._delayed else "it was given"
        return (
            f"{self.url}: part {job.part.part_id}: its verdict ({job.verdict}) {what}: {ns / 1e6:.0f} ms after "
            f"{since}, deadline_ms is {self._timing.deadline_ms:g}; look at the network and at the PLC's cycle time"
        )

    def _timers(self) -> None:
        now = self._now_ns()
        if self._rest_ns is not None and (now >= self._rest_ns or self._state not in PASSING):
            self._on_wire(self._wire.rest)
            self._rest_ns = None
        if now >= self._beat_ns or self._said != self._state:
            self._beat()

    def _beat(self) -> None:
        self._beat_ns = self._now_ns() + round(self._timing.heartbeat_ms * 1e6)
        self._beats = (self._beats + 1) % 2**16
        state = self._said = self._state
        self._on_wire(lambda: self._wire.beat(self._beats, STATES[state]))
        self._beaten_ns = self._now_ns()

    def _poll(self) -> None:
        asked_ns = self._now_ns()
        self._poll_ns = asked_ns + round(self._timing.poll_ms * 1e6)
        read: list[int] = []
        self._on_wire(lambda: read.append(self._wire.encoder()))
        try:
            self._belt.add(asked_ns, read[0])
        except ValueError as error:
            raise LineError(
                f"{self.url}: the encoder at {self._timing.encoder}: {error}; where the parts are is not known. Look "
                "at its wiring and sense, and at jump_counts and jitter_counts"
            ) from None

        self._see_rest()

    def _see_rest(self) -> None:
        """A belt that stands is no fault; one that stands while parts are on it is worth a word, once each time."""
        stands_ns = self._belt.stands_ns(self._now_ns())
        stands = stands_ns > self._timing.still_ms * 1e6
        if stands and not self._resting and (waiting := len(self._schedule)):
            self._resting = True
            were = "1 part waits" if waiting == 1 else f"{waiting:,} parts wait"
            sentence = (
                f"{self.url}: the encoder at {self._timing.encoder} has stood still for {stands_ns / 1e9:.1f} s, and "
                f"{were} between camera and gate; if the belt runs, look at the encoder: no verdict leaves meanwhile"
            )
            self._say(Said("gate", sentence, "warning", facts={"waiting": waiting}))
        elif not stands:
            self._resting = False

    def _patience_s(self) -> float:
        due = (self._beat_ns, self._rest_ns, self._poll_ns, self._schedule.next_ns())
        return max(0, min(ns for ns in due if ns is not None) - self._now_ns()) / 1e9

    def _leave(self, state: str) -> None:
        if left := len(self._schedule):
            were = "part was" if left == 1 else "parts were"
            self._fail(
                f"{self.url}: {left} {were} still between camera and gate when the line ended; the PLC was not told of "
                "them and must reject them"
            )
        self._on_wire(self._wire.rest)
        self._state = state
        self._beat()

    def _on_wire(self, call: Callable[[], None]) -> None:
        self._busy_ns = self._now_ns()
        try:
            call()
        finally:
            self._busy_ns = None

    def _watch(self) -> None:
        every_ns = round(self._deadline_ns * WATCH_SHARE)
        while not self._done.wait(every_ns / 1e9):
            for since in (self._busy_ns, self._oldest_ns(), self._poll_ns):
                if since is not None and self._now_ns() - since > self._deadline_ns + every_ns:
                    self._fail(
                        f"{self.url}: no confirmation from the PLC within deadline_ms={self._timing.deadline_ms:g}; "
                        "look at the network and at the PLC"
                    )
                    return

    def _oldest_ns(self) -> int | None:
        with suppress(IndexError):
            return self._due[0]
        return None

    def _sentence(self, error: Exception) -> LineError:
        return error if isinstance(error, LineError) else LineError(f"{self.url}: {type(error).__name__}: {error}")

    def _fail(self, sentence: str) -> None:
        with self._failing:
            if self.error:
                return
            self.error = sentence
        self._failed(sentence)
