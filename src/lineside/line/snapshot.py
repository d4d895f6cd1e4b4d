"""The line at one moment, for whoever looks from outside: the metrics page, a soak.

    window = Window("press-3")          # before the line starts: nothing to see yet
    run(…, window=window)               # opens it, and leaves the last snapshot in it
    window.look()                       # in any other thread, at any time

A snapshot reads what the line keeps anyway, without a lock: next to nothing is kept for the sake of looking, and
nothing in the line waits for a reader. Numbers of one snapshot may be a part apart from each other. Only the outboxes
are a question to the store; a thread of its own asks it, and a store that does not answer within SLOW_S costs the
snapshot its outboxes, not the line or the reader his patience.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lineside.line.events import DEADLINE
from lineside.line.latency import UpTo
from lineside.line.states import STATES

if TYPE_CHECKING:  # they import scipy and SQLAlchemy
    from collections import deque

    from lineside.line.books import Books
    from lineside.line.control import Line
    from lineside.line.courier import Courier, Sent
    from lineside.line.gate.gate import Gate
    from lineside.line.view import View

SLOW_S = 1.0
BOUNDS_MS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
WIRE, END = "wire", "confirmed"  # stages beside summary.STAGES: verdict → confirmed; trigger → confirmed


@dataclass(frozen=True, slots=True)
class Pulse:
    """The gate's PLC."""

    url: str
    well: bool  # False: it did not confirm in time, and the line is in its safe state
    heartbeat_age_s: float  # since it confirmed a heartbeat
    confirmed: int  # verdicts
    passed_by: int  # parts that had gone by before their verdict was known; the PLC was not told


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything counts from the start of the run."""

    at_ns: int  # the line's monotonic clock
    run_id: str
    bundles: Mapping[str, str]  # camera: sha256 of its bundle, for the product
    product: str  # that is prepared, or was at last
    state: str  # one of states
    states: tuple[str, ...]
    triggered: int
    verdicts: Mapping[str, int]
    reasons: Mapping[str, int]
    deadline_ms: float | None
    deadline_misses: int
    rejects_in_a_row: int
    in_flight: int  # between trigger and verdict
    times: Mapping[str, UpTo]  # by stage; bounds are BOUNDS_MS
    frames: Mapping[str, Mapping[str, int]]  # camera: source.frame.Counts
    stored: int
    lost: int  # verdicts given and not stored: the store failed
    waiting: int  # verdicts given and not stored yet
    lag_s: float  # how long the oldest of them has waited
    room: int  # parts that may come before the line waits for the store
    gate: Pulse | None = None
    drift: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # camera: evidence, and that of an alarm
    alarms: Mapping[tuple[str, str], int] = field(default_factory=dict)  # of drift: (camera, number that moved most)
    outboxes: "tuple[Sent, ...] | None" = field(default=None)  # None: the store has not answered

    @property
    def parts(self) -> int:
        return sum(self.verdicts.values())


def taker(
    views: "Sequence[View]",
    deadline_ms: float | None,
    line: "Line",
    books: "Books",
    gate: "Gate | None",
    now_ns: Callable[[], int],
) -> Callable[[], Snapshot]:
    """What takes a snapshot, all but the outboxes, in any thread."""
    tally, recorder = books.tally, books.recorder

    def take() -> Snapshot:
        state = line.state
        verdicts, reasons = dict(tally.verdicts), dict(tally.reasons)
        stored, lost = recorder.committed, recorder.lost
        waiting = max(0, sum(verdicts.values()) - stored - lost)
        now = now_ns()
        times = {stage: histogram.up_to(BOUNDS_MS) for stage, histogram in tally.histograms.items()}
        if gate:
            times |= {WIRE: gate.times.up_to(BOUNDS_MS), END: gate.ends.up_to(BOUNDS_MS)}
        product = state.product or next(iter(views[0].models))
        detectors = {view.name: found for view in views if (found := view.drifts.get(product))}
        moved = [(one.camera, one.alarm.number) for one in list(line.alarms)]
        known = {(camera, number) for camera, found in detectors.items() for number in found.numbers}
        return Snapshot(
            at_ns=now,
            run_id=books.run_id,
            bundles={view.name: view.models[product].sha256 for view in views},
            product=state.product,
            state=state.state,
            states=STATES,
            triggered=state.last_sequence,
            verdicts=verdicts,
            reasons=reasons,
            deadline_ms=deadline_ms,
            deadline_misses=reasons[DEADLINE],
            rejects_in_a_row=state.in_a_row,
            in_flight=len(state.waiting),
            times=times,
            frames={view.name: view.source.counts.by_name() for view in views},
            stored=stored,
            lost=lost,
            waiting=waiting,
            lag_s=_since_s(now, books.left_ns, waiting),
            room=max(0, books.room - max(0, state.last_sequence - stored - lost)),
            gate=Pulse(gate.url, not gate.error, gate.heartbeat_age_s(), gate.confirmed, gate.passed_by)
            if gate
            else None,
            drift={camera: (found.evidence, found.arl) for camera, found in detectors.items()},
            alarms={which: moved.count(which) for which in sorted(known | set(moved))},
        )

    return take


def _since_s(now_ns: int, verdicts_ns: "deque[int]", waiting: int) -> float:
    """How long the waiting-th verdict from the end has waited; of more than are known, the oldest known."""
    try:
        since_ns = verdicts_ns[-min(waiting, len(verdicts_ns))] if waiting else now_ns
    except IndexError:  # it was the first, and the line's thread is just at it
        since_ns = now_ns
    return max(0, now_ns - since_ns) / 1e9


class Window:
    """Where others look into a line. Final.

    name: of the line. wait_s: for the store's answer.
    """

    def __init__(self, name: str, wait_s: float = SLOW_S):
        self.name = name
        self._wait_s = wait_s
        self._take: Callable[[], Snapshot] | None = None
        self._couriers: tuple[Courier, ...] = ()
        self._last: Snapshot | None = None
        self._readers = threading.Lock()  # between readers; the line never takes it
        self._asking: threading.Thread | None = None
        self._answer: tuple[Sent, ...] = ()

    def open(self, take: Callable[[], Snapshot], couriers: "Sequence[Courier]" = ()) -> None:
        """By the line, as soon as there is something to see."""
        self._couriers, self._take = tuple(couriers), take

    def close(self) -> None:
        """By the line, at its end: what is there now stays to be seen, and the store is asked no more."""
        if self._take is not None:
            last = self._take()
            with self._readers:
                self._last, self._take = replace(last, outboxes=self._outboxes()), None

    def look(self) -> Snapshot | None:
        """The line now, or at its end; None before it has started."""
        with self._readers:
            if (take := self._take) is None:
                return self._last
            return replace(take(), outboxes=self._outboxes())

    def _outboxes(self) -> "tuple[Sent, ...] | None":
        if not self._couriers:
            return ()
        if self._asking is None or not self._asking.is_alive():
            self._asking = threading.Thread(target=self._ask, name="outboxes", daemon=True)
            self._asking.start()
        self._asking.join(self._wait_s)
        return None if self._asking.is_alive() else self._answer

    def _ask(self) -> None:
        self._answer = tuple(courier.sent() for courier in self._couriers)
