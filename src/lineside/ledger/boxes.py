"""Boxes and the edges between them, and how many become few: joins of joins are one, norms and activations folded."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Literal

from lineside.ledger.row import Row

Kind = Literal["layer", "join", "norm", "act", "other", "learnt", "in", "out"]
CONCAT = {"cat", "stack", "Concat"}


@dataclass
class Node:
    """A box. shape: what it puts out, without the batch; before, after: names of operations folded into it."""

    kind: Kind
    row: Row | None  # of a layer, join …; None: where the part begins and ends
    path: str
    shape: tuple[int, ...]
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    named: bool = False  # a module that does nothing else: by the module's name
    constant: bool = False  # comes of no input of the net


@dataclass(frozen=True)
class Edge:
    """nodes[start] feeds nodes[end] with a tensor of this shape, without the batch; whole: with all it puts out."""

    start: int
    end: int
    shape: tuple[int, ...]
    whole: bool = True


@dataclass(frozen=True)
class Wiring:
    """Every edge leads to a later node. An edge comes twice where two parts of one tensor are read."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def into(self, node: int) -> list[Edge]:
        return [e for e in self.edges if e.end == node]

    def out_of(self, node: int) -> list[Edge]:
        return [e for e in self.edges if e.start == node]


def _axis(wired: Wiring, node: int) -> int | None:
    """The axis along which a concatenation joins; None: it is none."""
    one, into = wired.nodes[node], wired.into(node)
    if one.kind != "join" or one.row is None or one.row.op not in CONCAT or not into:
        return None
    for axis, size in enumerate(one.shape):
        if all(len(e.shape) == len(one.shape) for e in into) and sum(e.shape[axis] for e in into) == size:
            return axis
    return None


def one_concat(wired: Wiring) -> Wiring:
    """A concatenation of a concatenation along the same axis is fed by what feeds that one."""
    for node in range(len(wired.nodes)):
        axis = _axis(wired, node)
        if axis is None:
            continue
        edges: list[Edge] = []
        for edge in wired.edges:
            if edge.end == node and edge.whole and _axis(wired, edge.start) == axis:
                edges += [replace(e, end=node) for e in wired.into(edge.start)]
            else:
                edges.append(edge)
        wired = Wiring(wired.nodes, tuple(edges))
    return wired


def read_only(wired: Wiring) -> Wiring:
    """Without nodes that feed nothing."""
    while True:
        kept = [i for i, n in enumerate(wired.nodes) if n.kind == "out" or wired.out_of(i)]
        if len(kept) == len(wired.nodes):
            return wired
        wired = _only(wired, kept)


def _only(wired: Wiring, kept: Sequence[int]) -> Wiring:
    new = {old: i for i, old in enumerate(kept)}
    edges = [replace(e, start=new[e.start], end=new[e.end]) for e in wired.edges if e.start in new and e.end in new]
    return Wiring(tuple(wired.nodes[i] for i in kept), tuple(edges))


def folded(wired: Wiring) -> Wiring:
    """Norms and activations are said by the box in front of them, which feeds nothing else; or by the layer behind."""
    gone: set[int] = set()
    for i, node in enumerate(wired.nodes):
        into = wired.into(i)
        if node.kind not in ("norm", "act") or node.row is None or len(into) != 1:
            continue
        front = wired.nodes[into[0].start]
        takes = front.kind in ("layer", "norm", "act") or (node.kind == "act" and front.kind in ("join", "other"))
        if takes and into[0].whole and len(wired.out_of(into[0].start)) == 1:
            front.after.append(node.row.op)
            front.shape = node.shape if prod(node.shape) == prod(front.shape) else front.shape
            wired = _without(wired, i, into[0].start, gone)
    for i, node in enumerate(wired.nodes):
        onward = wired.out_of(i)
        if i in gone or node.kind not in ("norm", "act") or node.row is None or len(onward) != 1:
            continue
        behind, into = wired.nodes[onward[0].end], wired.into(i)
        if behind.kind == "layer" and len(into) == len(wired.into(onward[0].end)) == 1:
            behind.before = [node.row.op, *node.after, *behind.before]
            wired = _without(wired, i, into[0].start, gone)
    return _only(wired, [i for i in range(len(wired.nodes)) if i not in gone])


def _without(wired: Wiring, node: int, front: int, gone: set[int]) -> Wiring:
    """What the node feeds is fed by the one in front of it."""
    gone.add(node)
    size = prod(wired.nodes[front].shape)
    edges = [
        replace(e, start=front, whole=e.whole or prod(e.shape) >= size) if e.start == node else e
        for e in wired.edges
        if e.end != node
    ]
    return Wiring(wired.nodes, tuple(edges))
