"""A net's sheet: its cost, its table's lines by one convention, its peaks of memory, times if measured."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from lineside.ledger import memory
from lineside.ledger.convention import CONVENTIONS, Convention, differences, sentences
from lineside.ledger.layers import Line, lines
from lineside.ledger.row import Cost, Row


@dataclass(frozen=True)
class Peak:
    """What this machine can do at best, measured here: the two limits of a roofline (Williams et al. 2009)."""

    macs_per_s: float  # float32 multiply-adds of a large matrix product
    bytes_per_s: float  # read and written together, copying far more than the caches hold
    threads: int
    device: str

    def bound_ms(self, row: Row) -> float:
        """No sooner than this: all multiply-adds at full speed, or all bytes, whichever takes longer."""
        return 1e3 * max(row.macs / self.macs_per_s, row.moved / self.bytes_per_s)


@dataclass(frozen=True)
class Times:
    """Measured milliseconds of rows, by their place in cost.rows; medians of n runs."""

    ms: Mapping[int, float]
    whole_ms: float
    n: int
    peak: Peak


@dataclass(frozen=True)
class Sheet:
    cost: Cost
    convention: Convention
    lines: tuple[Line, ...]
    inference_bytes: int
    inference_at: str  # path of the row at which they are reached
    training_bytes: int | None  # None: there is no net to ask, as of an ONNX file
    times: Times | None = None
    facts: tuple[str, ...] = ()  # where it comes from

    @property
    def memory(self) -> int:
        return sum(line.memory for line in self.lines)

    def ms(self, line: Line) -> float:
        assert self.times is not None
        return sum(self.times.ms.get(i, 0.0) for i in line.at)

    def bound_ms(self, line: Line) -> float:
        assert self.times is not None
        return sum(self.times.peak.bound_ms(self.cost.rows[i]) for i in line.at)

    def remarks(self) -> list[str]:
        """What stands under the table: conventions, why others print other figures, what could not be counted."""
        return [*sentences(self.convention, self.cost), *differences(self.cost, self.convention), *self.cost.notes]


def sheet(
    cost: Cost, convention: str, net: nn.Module | None, times: Times | None = None, facts: tuple[str, ...] = ()
) -> Sheet:
    """The sheet of a net; net: what cost was counted of, or None."""
    most, at = memory.inference(cost)
    return Sheet(
        cost=cost,
        convention=CONVENTIONS[convention],
        lines=tuple(lines(cost, CONVENTIONS[convention])),
        inference_bytes=most,
        inference_at=cost.rows[at].path if cost.rows else "",
        training_bytes=memory.training(net, *cost.shapes) if net is not None else None,
        times=times,
        facts=facts,
    )
