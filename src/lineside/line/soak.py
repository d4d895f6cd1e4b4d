"""A soak: the line runs for long, and everything that must agree afterwards, or must not grow, is looked at.

    soak(job, window, kept)      # job(sink) runs the line with that window and one more sink: Summary

Counted in ways that know nothing of each other: triggers by the station, verdicts by the summary, results by asking the
store, and tellings by a sink of the soak's own, which also sees that no number is left out and none comes twice. With a
gate, the PLC's confirmations; with durable sinks, what is acknowledged and what waits. All must be the same number.

Beside that a thread samples every second what a process can leak (memory, files, threads) and where a line can fall
behind (parts in flight, store, outboxes). At most MOST samples are kept: then every other goes, the interval doubles.
"""

import os
import platform
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lineside.bundle.parity import machine
from lineside.errors import BundleError
from lineside.evidence.intervals import Estimate
from lineside.evidence.slope import slope
from lineside.line.events import DEADLINE
from lineside.line.process import Usage, usage
from lineside.line.said import versions
from lineside.line.sink.sink import Sink
from lineside.line.snapshot import Snapshot, Window
from lineside.store.records import Inspection

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from lineside.line.summary import Summary

EVERY_S = 1.0
MOST = 720
MOST_MISSES = 200  # listed; all are counted
FORMAT = 1
FILE = "soak.json"  # in a bundle
MIB_PER_HOUR = 3600 / 2**20  # of bytes per second


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the line and its process, t_s after the start."""

    t_s: float
    parts: int
    rss_bytes: int
    held_bytes: int | None  # process.held_bytes
    files: int
    threads: int
    cpu_s: float
    in_flight: int
    unstored: int  # verdicts that are not stored yet
    lag_s: float  # of the oldest of them
    outbox: int | None  # results that wait for consumers, all sinks; None: the store has not answered
    misses: int
    evidence: float | None  # of drift, the largest of all cameras


@dataclass(frozen=True, slots=True)
class Miss:
    """A part whose deadline passed."""

    sequence: int
    part_id: str
    at: str  # ISO 8601, UTC
    total_ms: float


@dataclass(frozen=True, slots=True)
class Count:
    """How many parts one witness has seen."""

    what: str
    n: int
    agrees: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """What the store holds of a run, asked afterwards: results; and by sink (acknowledged, still waiting)."""

    stored: int
    outboxes: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Soak:
    """Everything that is in the report, and in soak.json."""

    format: int
    line: str
    began: str  # ISO 8601, UTC
    ended: str
    fault: str  # why the line stopped by itself; "" if it did not
    counts: tuple[Count, ...]
    disorder: str  # the first result that came out of turn; "" if none
    summary: "Summary"
    misses: tuple[Miss, ...]  # the first MOST_MISSES
    waiting: Mapping[str, int]  # by sink: results that the consumer has not acknowledged
    frames: Mapping[str, Mapping[str, int]]  # by camera
    bundles: Mapping[str, str]  # by camera: sha256
    memory: Estimate  # bytes a second
    held: Estimate  # of it, by malloc's callers; bytes a second
    files: Estimate  # open files a second
    threads: Estimate
    samples: tuple[Sample, ...]
    every_s: float  # between samples
    machine: Mapping[str, Any]
    versions: Mapping[str, str]

    @property
    def passed(self) -> bool:
        """Every part has its verdict, all counts agree, and the line did not stop by itself."""
        return (
            not self.fault and not self.disorder and self.summary.parts > 0 and all(one.agrees for one in self.counts)
        )


class Hearing:
    """The soak's own sink. Final."""

    def __init__(self):
        self.told = self.missed = 0
        self.misses: list[Miss] = []
        self.disorder = ""

    def tell(self, group: Sequence[Inspection]) -> None:
        for one in group:
            self.told += 1
            if one.sequence != self.told and not self.disorder:
                self.disorder = f"result {self.told:,} of the run has the number {one.sequence:,} (part {one.part_id})"
            if one.verdict not in ("accept", "hold", "reject") and not self.disorder:
                self.disorder = f"part {one.part_id} has the verdict {one.verdict!r}, which is none"
            if one.reason == DEADLINE:
                self.missed += 1
                if len(self.misses) < MOST_MISSES:
                    self.misses.append(Miss(one.sequence, one.part_id, _iso(one.decided), one.total_ms))


class Sampler:
    """Looks at the line every so often, in a thread of its own. Final."""

    def __init__(self, window: Window, every_s: float, take: Callable[[], Usage], clock: Callable[[], float]):
        self._window, self._take, self._clock = window, take, clock
        self.every_s = every_s
        self.samples: list[Sample] = []
        self._began = clock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work, name="sampler", daemon=True)

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._done.wait(self.every_s):
            if (seen := self._window.look()) is not None and seen.triggered:
                self.add(seen)

    def add(self, seen: Snapshot) -> None:
        took = self._take()
        pending = None if seen.outboxes is None else [one.pending for one in seen.outboxes]
        self.samples.append(
            Sample(
                t_s=round(self._clock() - self._began, 3),
                parts=seen.parts,
                rss_bytes=took.rss_bytes,
                held_bytes=took.held_bytes,
                files=took.files,
                threads=took.threads,
                cpu_s=round(took.cpu_s, 3),
                in_flight=seen.in_flight,
                unstored=seen.waiting,
                lag_s=round(seen.lag_s, 3),
                outbox=None if pending is None or None in pending else sum(n or 0 for n in pending),
                misses=seen.deadline_misses,
                evidence=max((evidence for evidence, _ in seen.drift.values()), default=None),
            )
        )
        if len(self.samples) > MOST:
            del self.samples[::2]
            self.every_s *= 2


def soak(
    job: "Callable[[Sink], Summary]",
    window: Window,
    kept: Callable[[str], Kept],
    *,
    every_s: float = EVERY_S,
    take: Callable[[], Usage] = usage,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    clock: Callable[[], float] = time.monotonic,
) -> Soak:
    """Run the line, and look at it through window, which job must have given it.

    kept(run id): what the store holds of it. LineError and others where the line does not start.
    """
    hearing = Hearing()
    load_before = os.getloadavg()[0]
    began = now()
    with Sampler(window, every_s, take, clock) as sampler:
        summary = job(Sink("soak:", hearing.tell, lambda: None))
    ended, last = now(), window.look()
    assert last is not None  # job has run a line
    held = kept(summary.run_id)
    times = np.array([one.t_s for one in sampler.samples])

    def grows(name: str) -> Estimate:
        return slope(times, np.array([getattr(one, name) for one in sampler.samples], float))

    return Soak(
        format=FORMAT,
        line=window.name,
        began=_iso(began),
        ended=_iso(ended),
        fault=summary.fault,
        counts=_counts(summary, last, held, hearing),
        disorder=hearing.disorder,
        summary=summary,
        misses=tuple(hearing.misses),
        waiting={sink: waiting for sink, (_, waiting) in held.outboxes.items()},
        frames=last.frames,
        bundles=last.bundles,
        memory=grows("rss_bytes"),
        held=grows("held_bytes"),
        files=grows("files"),
        threads=grows("threads"),
        samples=tuple(sampler.samples),
        every_s=sampler.every_s,
        machine=_machine()
        | {"load_1min_before": round(load_before, 2), "load_1min_after": round(os.getloadavg()[0], 2)},
        versions=versions("numpy", "onnxruntime", "openvino", "sqlalchemy"),
    )


def kept(store: "Engine", run_id: str) -> Kept:
    """Ask the store what it holds of a run."""
    from sqlalchemy import func, select

    from lineside.store.open import reading
    from lineside.store.tables import INSPECTION, OUTBOX

    mine = INSPECTION.c.run_id == run_id
    closed = func.count(OUTBOX.c.closed)
    with reading(store) as connection:
        stored = connection.execute(select(func.count()).select_from(INSPECTION).where(mine)).scalar_one()
        rows = connection.execute(
            select(OUTBOX.c.sink, closed, func.count() - closed)
            .join(INSPECTION, INSPECTION.c.id == OUTBOX.c.inspection_id)
            .where(mine)
            .group_by(OUTBOX.c.sink)
        ).all()
    return Kept(stored, {sink: (done, waiting) for sink, done, waiting in rows})


def signer(bundles: Sequence[Path], key: Path | None) -> Callable[[bytes], bytes] | None:
    """What signs a changed manifest, None: nothing. BundleError for a signed bundle without a key: it would lose it."""
    from lineside.bundle import folder, signature

    for path in bundles:
        if key is None and folder.open_bundle(path).signature() is not None:
            raise BundleError(
                f"{path}: is signed, and a soak put into it would cost it the signature; sign it again with --sign "
                "KEY, or leave --keep out"
            )
    if key is None:
        return None
    private = signature.load_private(key)
    return lambda manifest: signature.sign(manifest, private)


def keep(bundle: Path, found: Soak, numbers: str, sign: Callable[[bytes], bytes] | None) -> None:
    """Put soak.json into a bundle. BundleError where it is not the one that ran, or can't be written."""
    from lineside.bundle import folder

    if folder.open_bundle(bundle).sha256 not in found.bundles.values():
        raise BundleError(f"{bundle}: was changed while it ran: this soak is not its own, and is not put into it")
    folder.replace(bundle, {FILE: numbers.encode("utf-8")}, lambda manifest: manifest, sign)


def _counts(summary: "Summary", last: Snapshot, held: Kept, hearing: Hearing) -> tuple[Count, ...]:
    seen = {
        "triggered (the station)": last.triggered,
        "verdicts (the line's summary)": summary.parts,
        "stored (asked of the store)": held.stored,
        "told, in order (a sink of the soak)": hearing.told,
    }
    seen |= {f"acknowledged or waiting ({sink})": done + left for sink, (done, left) in held.outboxes.items()}
    if last.gate is not None:
        gone = last.gate.passed_by
        past = f", and {gone:,} past it before their verdict" if gone else ""
        seen["confirmed (the gate's PLC)" + past] = last.gate.confirmed + gone
    counts = [Count(what, n, n == last.triggered) for what, n in seen.items()]
    counts.append(Count("verdicts lost on their way to the store", summary.lost, summary.lost == 0))
    missed = summary.deadline_misses
    counts.append(Count("deadline misses, as the sink saw them", hearing.missed, hearing.missed == missed))
    return tuple(counts)


def _machine() -> dict[str, Any]:
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return {"cpu": machine(), "cores": cores, "memory_gib": round(memory_gib), "system": platform.platform()}


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
