"""Which parts of a net a page draws: its blocks, and those of the same form once.

Of the same form: the same operations with the same kernels, strides and groups, wired alike; sizes may differ. A net of
few layers is one picture. A block is a module in a stage (stage1.0), or the stage itself where its modules are single
layers; what is one layer is not drawn, nor what is more than anybody would read.
"""

from dataclasses import dataclass
from math import prod

from lineside.ledger.boxes import Node, Wiring
from lineside.ledger.row import LAYERS, Cost
from lineside.ledger.wiring import under, wiring

WHOLE, MOST = 16, 48  # layers: of a net that is one picture; of the largest picture


@dataclass(frozen=True)
class Block:
    """paths: of every part of this form, in order. The first is drawn; "" is the whole net."""

    paths: tuple[str, ...]
    wired: Wiring

    @property
    def caption(self) -> str:
        first, *others = self.paths
        if not others:
            return first or "the whole net"
        named = others if len(others) <= 4 else [*others[:2], f"… {others[-1]}"]
        return f"{first}; of the same form: {', '.join(named)} ({len(self.paths)} in all)"


def blocks(cost: Cost) -> list[Block]:
    """In the order in which they run first."""
    counted = [row.path for row in cost.rows if row.kind in LAYERS]
    if 1 < len(counted) <= WHOLE:
        return [Block(("",), wiring(cost))]
    found: dict[tuple, tuple[Wiring, list[str]]] = {}
    parts = [part for stage in _children(cost, "") for part in _blocks_of(cost, counted, stage)]
    for path in parts:
        if 1 < _layers(counted, path) <= MOST:
            wired = wiring(cost, path)
            found.setdefault(_form(wired), (wired, []))[1].append(path)
    return [Block(tuple(paths), wired) for wired, paths in found.values()]


def _blocks_of(cost: Cost, counted: list[str], path: str) -> list[str]:
    """The modules of several layers in it; itself where it joins them, if that can be read, or has only one."""
    large = [child for child in _children(cost, path) if _layers(counted, child) > 1]
    joins = any(row.path == path for row in cost.rows)
    if not large or (joins and _layers(counted, path) <= MOST):
        return [path]
    if len(large) > 1:
        return large
    inner = _blocks_of(cost, counted, large[0])
    return inner if len(inner) > 1 else [path]


def _children(cost: Cost, path: str) -> list[str]:
    depth = path.count(".") + 1 if path else 0
    below = (row.path.split(".") for row in cost.rows if under(row.path, path) and row.path != path)
    return list(dict.fromkeys(".".join(parts[: depth + 1]) for parts in below))


def _layers(counted: list[str], path: str) -> int:
    return sum(under(one, path) for one in counted)


def _form(wired: Wiring) -> tuple:
    return tuple(map(_look, wired.nodes)), tuple((e.start, e.end, e.whole) for e in wired.edges)


def _look(node: Node) -> tuple:
    row = node.row
    if row is None:
        return (node.kind,)
    deep = row.kind == "conv" and row.groups > 1 and row.groups == row.input[0]
    name = node.path.rsplit(".", 1)[-1] if node.named else row.op
    everywhere = row.kind == "pool" and prod(row.output[1:]) == 1  # a global pool has the map's size for a kernel
    window = () if everywhere else (row.kernel, row.stride)
    return node.kind, name, window, deep or row.groups, tuple(node.before), tuple(node.after)
