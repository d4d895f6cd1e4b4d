"""What a run came to: counts by verdict and reason, escapes where the truth is known, latencies, throughput.

escape    a bad part that was accepted, of all bad parts
overkill  a good part that was rejected, of all good parts (held parts are counted apart)
A part is good when its truth is one of the bundle's accepted classes. Rates leave out pictures that the bundle was
trained or calibrated on, and carry n and an exact interval, which lots widen as in `lineside evaluate`.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from lineside.evidence.drift import Alarm
from lineside.evidence.intervals import Estimate, clopper_pearson, proportion
from lineside.line.events import DEADLINE, NOT_THE_PART, REASONS
from lineside.line.latency import PERCENTILES, Histogram, Latency
from lineside.line.source.frame import Frame
from lineside.terminal import shown

if TYPE_CHECKING:  # it imports SQLAlchemy
    from lineside.line.courier import Sent
    from lineside.line.keeper import Kept

STAGES = {  # name: what it is
    "decode": "file → pixels",
    "infer": "pixels → logits (the engine)",
    "decide": "logits → decision",
    "total": "trigger → verdict",
}
WIRE = "verdict → confirmed by the PLC"  # measured by the gate, where there is one
END = "trigger → confirmed by the PLC"


@dataclass(frozen=True)
class Summary:
    parts: int
    verdicts: dict[str, int]  # accept, hold, reject
    reasons: dict[str, int]  # of station.REASONS, those that occurred
    deadline_ms: float | None
    deadline_misses: int
    ignored: int  # answers that nobody waited for any more
    bad: int  # parts of known truth
    good: int
    escape: Estimate  # accepted bad parts
    overkill: Estimate  # rejected good parts
    good_accepted: Estimate  # accepted good parts: the others were held or rejected
    held_good: int
    held_bad: int
    learnt: int  # parts of known truth that the bundle has learnt: in none of the seven numbers above
    again: int  # parts in those numbers that are further exposures of a part that had come before
    latency_ms: dict[str, Latency]  # by STAGES
    wire_ms: Latency | None  # verdict → confirmed by the gate's PLC; None: no gate
    end_ms: Latency | None  # trigger → confirmed by the gate's PLC; None: no gate
    passed_by: int  # past the gate before their verdict was known: the PLC was not told, and has rejected them
    seconds: float  # first trigger → last verdict
    parts_per_second: float | None
    max_behind_ms: float | None  # with --max-fps: how late the most delayed trigger was
    stored: int
    lost: int  # verdicts given and not stored: 0 unless the store failed
    interrupted: bool
    fault: str  # why the line stopped by itself; "" if it did not
    halted: bool  # that is: by rejects in a row, and nobody can reset it
    run_id: str
    alarms: tuple[Alarm, ...]  # of drift
    outboxes: "tuple[Sent, ...]" = ()  # of the durable sinks
    hangs: bool = False  # the engine has not come back: the process can't end in order
    pictures: "Kept | None" = None  # None: none are kept
    source: dict[str, int] = field(default_factory=dict)  # what became of the frames, by source.frame.Counts


class Tally:
    """Counts while the line runs. Final."""

    def __init__(self, products: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]):
        """products: by name, the classes there are and those that may pass."""
        self._products = {name: (frozenset(classes), frozenset(accept)) for name, (classes, accept) in products.items()}
        self.verdicts = {"accept": 0, "hold": 0, "reject": 0}
        self.reasons: dict[str, int] = dict.fromkeys(REASONS, 0)
        self.by_truth = {(good, verdict): 0 for good in (True, False) for verdict in self.verdicts}
        self._lots: Counter[tuple[bool, str, str]] = Counter()  # of by_truth, those in lots: good, verdict, lot
        self.learnt = self.again = 0
        self.histograms = {stage: Histogram() for stage in STAGES}

    @property
    def parts(self) -> int:
        return sum(self.verdicts.values())

    def add(self, product: str, verdict: str, reason: str, frame: Frame, times_ms: dict[str, float | None]) -> None:
        classes, accept = self._products[product]
        self.verdicts[verdict] += 1
        self.reasons[reason] += 1
        if frame.truth in classes and frame.learnt:
            self.learnt += 1
        elif frame.truth in classes and reason not in NOT_THE_PART:
            self.by_truth[frame.truth in accept, verdict] += 1
            if frame.lot:
                self._lots[frame.truth in accept, verdict, frame.lot] += 1
            self.again += frame.again
        for stage, ms in times_ms.items():
            if ms is not None:
                self.histograms[stage].add(ms)

    def _rate(self, good: bool, verdict: str) -> Estimate:
        """Of all good, or all bad parts."""
        hits, n = self.by_truth[good, verdict], sum(self.by_truth[good, v] for v in self.verdicts)
        tied = [(said == verdict, lot, count) for (kind, said, lot), count in self._lots.items() if kind == good]
        if not tied:
            return clopper_pearson(hits, n)
        hit = np.repeat([hit for hit, _, _ in tied], [count for *_, count in tied])
        lots = np.repeat(np.unique([lot for _, lot, _ in tied], return_inverse=True)[1], [count for *_, count in tied])
        alone = np.arange(n - len(hit))  # each a lot of its own
        return proportion(
            np.concatenate([hit, alone < hits - np.count_nonzero(hit)]),
            rng=np.random.default_rng(0),
            groups=np.concatenate([lots, len(tied) + alone]),
        )

    def summary(
        self,
        *,
        run_id: str,
        deadline_ms: float | None,
        max_behind_ms: float | None,
        seconds: float,
        ignored: int,
        stored: int,
        lost: int,
        interrupted: bool,
        fault: str,
        source: dict[str, int],
        alarms: tuple[Alarm, ...] = (),
        wire: Latency | None = None,
        end: Latency | None = None,
        passed_by: int = 0,
        halted: bool = False,
        hangs: bool = False,
        pictures: "Kept | None" = None,
        outboxes: "tuple[Sent, ...]" = (),
    ) -> Summary:
        good, bad = (sum(self.by_truth[kind, v] for v in self.verdicts) for kind in (True, False))
        return Summary(
            parts=self.parts,
            verdicts=dict(self.verdicts),
            reasons={reason: n for reason, n in self.reasons.items() if n},
            deadline_ms=deadline_ms,
            deadline_misses=self.reasons[DEADLINE],
            ignored=ignored,
            bad=bad,
            good=good,
            escape=self._rate(False, "accept"),
            overkill=self._rate(True, "reject"),
            good_accepted=self._rate(True, "accept"),
            held_good=self.by_truth[True, "hold"],
            held_bad=self.by_truth[False, "hold"],
            learnt=self.learnt,
            again=self.again,
            latency_ms={stage: histogram.latency() for stage, histogram in self.histograms.items()},
            wire_ms=wire,
            end_ms=end,
            passed_by=passed_by,
            seconds=seconds,
            parts_per_second=self.parts / seconds if seconds > 0 else None,
            max_behind_ms=max_behind_ms,
            stored=stored,
            lost=lost,
            interrupted=interrupted,
            fault=fault,
            halted=halted,
            run_id=run_id,
            alarms=alarms,
            outboxes=outboxes,
            hangs=hangs,
            pictures=pictures,
            source=source,
        )


def text(s: Summary) -> str:
    """The summary for people."""
    lines = [
        f"{s.parts:,} parts in {s.seconds:.1f} s" + (f", {s.parts_per_second:.1f}/s" if s.parts_per_second else "")
    ]
    for verdict, n in s.verdicts.items():
        share = f"{100 * n / s.parts:5.1f} %" if s.parts else ""
        lines.append(f"  {verdict:<8}{n:>8,}  {share}")
    not_decided = {reason: n for reason, n in s.reasons.items() if reason != "decided"}
    if not_decided:
        lines.append(
            "rejected without a decision: " + ", ".join(f"{n:,} {reason}" for reason, n in not_decided.items())
        )
    if any(n for name, n in s.source.items() if name != "delivered"):
        lines.append("source: " + ", ".join(f"{n:,} {name}" for name, n in s.source.items() if n))
    if s.deadline_ms is not None:
        lines.append(f"deadline {s.deadline_ms:g} ms: {s.deadline_misses:,} misses")
    if s.bad or s.good:
        lines.append(f"escape   {s.escape.percent()}: accepted, of the bad parts; {s.held_bad:,} of them held")
        lines.append(f"overkill {s.overkill.percent()}: rejected, of the good parts; {s.held_good:,} of them held")
    if s.again:
        lines.append(
            f"{s.again:,} of these parts came before, in another exposure; the intervals take them for new ones"
        )
    if s.learnt:
        lines.append(
            f"{s.learnt:,} parts not counted there: the bundle was trained or calibrated on these very pictures"
        )
    lines += [alarm.sentence() for alarm in s.alarms]
    lines += ["", *_table(s)]
    if s.max_behind_ms is not None and s.max_behind_ms > 1:
        lines.append(
            f"the line fell behind its triggers by up to {s.max_behind_ms:,.0f} ms (times count from the trigger)"
        )
    if s.passed_by:
        lines.append(
            f"{s.passed_by:,} of these parts had passed the gate before their verdict was known (a camera was away): "
            "the PLC was not told of them, and had rejected them for want of a verdict"
        )
    if s.wire_ms and s.wire_ms.n + s.passed_by < s.parts:
        lines.append(f"{s.parts - s.wire_ms.n - s.passed_by:,} of these verdicts were NOT confirmed by the PLC")
    lines.append(f"{s.stored:,} results in the store, run {s.run_id}" + (f"; {s.lost:,} LOST" if s.lost else ""))
    if s.pictures:
        missed = s.pictures.dropped + s.pictures.refused
        lines.append(
            f"{s.pictures.kept:,} pictures kept ({s.pictures.bytes / 1e9:.2f} GB in the folder)"
            + (f", {missed:,} NOT kept: {s.pictures.trouble or 'the disk could not follow'}" if missed else "")
        )
    lines += [_outbox(sent) for sent in s.outboxes]
    return "\n".join(map(shown, lines))


def _outbox(sent: "Sent") -> str:
    said = f"{sent.url}: {sent.acknowledged:,} results acknowledged"
    if sent.again:
        said += f", {sent.again:,} sent more than once"
    if sent.strange:
        said += f", {sent.strange:,} acknowledgements of something else"
    if sent.pending is None:
        said += "; how many wait is not known, the store does not answer"
    if sent.pending:
        said += f"; {sent.pending:,} WAIT in the outbox for the next start, the oldest for {sent.oldest_s or 0:,.0f} s"
    return said + (f" ({sent.trouble})" if sent.trouble else "")


def _table(s: Summary) -> list[str]:
    names = [*PERCENTILES, "max", "mean"]
    rows = [f"{'ms per part':<12}" + "".join(f"{name:>9}" for name in names) + f"{'n':>10}"]
    stages = [(stage, latency, STAGES[stage]) for stage, latency in s.latency_ms.items()]
    for stage, latency, what in [*stages, ("wire", s.wire_ms, WIRE), ("confirmed", s.end_ms, END)]:
        if latency is None or latency.percentiles is None or latency.max is None or latency.mean is None:
            continue
        values = [*latency.percentiles.values(), latency.max, latency.mean]
        numbers = "".join(f"{_ms(v):>9}" for v in values)
        rows.append(f"{stage:<12}{numbers}{latency.n:>10,}  {what}")
    return rows


def _ms(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:,.0f}"
