"""The records of the ledger: one row an operation, and all of a net's rows.

Conventions
    MAC       one multiply-add of a convolution, a linear layer or a matrix product; a bias adds none
    pool_ops  C · H' · W' · K · K of a pool (what the deck calls its flops), apart from MACs
    KB        1,024 bytes; MB 1,024 KB
    batch     figures are of the batch that was traced: cost() of (1, 3, 224, 224) is of one picture
"""

from dataclasses import dataclass
from math import prod
from typing import NamedTuple

KB = 1024
# What a table of layers shows; a norm or an activation belongs to the layer whose output it takes.
LAYERS = ("conv", "conv transposed", "linear", "matmul", "attention", "pool")


class Reach(NamedTuple):
    """What a place sees along one axis: place i sees input pixels i · jump + low … i · jump + high."""

    low: float = 0
    high: float = 0
    jump: float = 1

    @property
    def size(self) -> int:
        return round(self.high - self.low) + 1


@dataclass(frozen=True, slots=True)
class Row:
    """One operation. Shapes without the batch are (C, *places) of maps, (features,) or (tokens, features) of lists."""

    path: str  # of the module that asked for it: "stage1.0.add.body.c1.conv"; of a node in an ONNX file
    op: str  # "convolution", "addmm"; in an ONNX file "Conv"
    kind: str  # one of LAYERS, or norm, act, join, flatten, other
    input: tuple[int, ...]
    output: tuple[int, ...]
    filters: int = 0
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    pad: tuple[int, ...] = ()
    groups: int = 1
    ceil: bool = False  # the pool's size was rounded up, as Caffe does
    params: int = 0  # learnt numbers, in the row that reads them first
    macs: int = 0
    pool_ops: int = 0
    made: int = 0  # bytes of new tensors
    moved: int = 0  # bytes read and written, were nothing fused
    # For each axis of the picture; None: all of it (attention, global pools, a linear layer over places). () unknown.
    field: tuple[Reach | None, ...] = ()
    after: int | None = None  # the row that made its input
    # Every tensor it reads that is no parameter: the row that made it, or −1, −2 … for the inputs of the net, and the
    # shape that is read, with the batch. A view is the tensor that it shows.
    sources: tuple[tuple[int, tuple[int, ...]], ...] = ()

    @property
    def elements(self) -> int:
        return prod(self.output)


@dataclass(frozen=True)
class Tensors:
    """Which tensors every row reads and makes, by number: what the peak of memory is found from."""

    reads: tuple[tuple[int, ...], ...]
    makes: tuple[tuple[int, ...], ...]
    sizes: tuple[int, ...]  # bytes, by number
    given: tuple[int, ...]  # inputs of the net, there from the start
    kept: tuple[int, ...]  # its answer, there to the end


@dataclass(frozen=True)
class Cost:
    """What one forward pass costs, operation by operation."""

    name: str
    shapes: tuple[tuple[int, ...], ...]  # of the inputs, with the batch
    rows: tuple[Row, ...]
    tensors: Tensors
    unread: tuple[tuple[str, int], ...] = ()  # parameters that no operation read, and how many numbers each
    notes: tuple[str, ...] = ()  # what a reader must know: operations that could not be counted, what was assumed

    @property
    def params(self) -> int:
        """All learnt numbers, read or not: sum(p.numel() for p in net.parameters())."""
        return sum(row.params for row in self.rows) + sum(n for _, n in self.unread)

    @property
    def macs(self) -> int:
        return sum(row.macs for row in self.rows)

    @property
    def pool_ops(self) -> int:
        return sum(row.pool_ops for row in self.rows)
