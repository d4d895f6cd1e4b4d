"""What feeds what in a part of a net: the rows of a cost under a path as boxes, joins, and the edges between them.

Shown     layers (row.LAYERS), joins of several tensors, norms and activations, learnt numbers that are added or
          multiplied (a table of relative places), and what moves numbers where a module does nothing else (a shuffle)
Folded    a norm or activation into the layer in front of it where that feeds nothing else, an activation also into a
          join; what is left of them, as before a pre-activated layer, into the layer behind
Left out  views, copies, products with a number, masks, and what a module computes between its layers and is none of the
          above (how a router seats its tokens, a norm spelt out): edges pass through it

Channels that are joined to joined channels are one join, so that a layer of a dense block is fed by all before it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import groupby
from math import prod

from lineside.errors import SettingsError
from lineside.ledger.boxes import CONCAT, Edge, Kind, Node, Wiring, folded, one_concat, read_only
from lineside.ledger.row import LAYERS, Cost, Row

MOVES = {"clone", "_unsafe_view", "_to_copy", "contiguous", "copy", "index", "index_select", "repeat", "gather"}
MOVED = ("roll", "upsample", "pixel_", "grid_", "Resize")  # beginnings of operations that are shown wherever they stand


def wiring(cost: Cost, prefix: str = "") -> Wiring:
    """The part of a net under this module's path; "": the whole net. SettingsError: nothing runs there."""
    if not any(under(row.path, prefix) for row in cost.rows):
        paths = list(dict.fromkeys(above for row in cost.rows for above in _above(row.path)))
        near = get_close_matches(prefix, paths, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"its parts: {', '.join(p for p in paths if '.' not in p)}"
        raise SettingsError(f"{cost.name}: nothing runs under {prefix!r}; {hint}")
    wired = folded(read_only(one_concat(_Builder(cost, prefix).build())))
    if not wired.nodes:
        raise SettingsError(
            f"{cost.name}: nothing that runs under {prefix!r} is drawn: it reads no tensor of the net's"
        )
    return wired


def under(path: str, prefix: str) -> bool:
    return not prefix or path == prefix or path.startswith(f"{prefix}.")


def _above(path: str) -> Iterator[str]:
    """path and every module that it lies in."""
    parts = path.split(".")
    yield from (".".join(parts[: i + 1]) for i in range(len(parts)))


@dataclass(frozen=True)
class _Ref:
    """A node's tensor as somebody reads it. through: something that is left out has computed on the way."""

    node: int
    shape: tuple[int, ...]
    through: bool = False


class _Builder:
    """Nodes and edges of the part, nothing folded yet."""

    def __init__(self, cost: Cost, prefix: str):
        self.cost, self.rows = cost, cost.rows
        self.inside = [i for i, row in enumerate(cost.rows) if under(row.path, prefix)]
        self.batch = cost.shapes[0][0] if cost.shapes and cost.shapes[0] else 1
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        self.given: dict[int, int] = {}  # row outside → its node
        self.home: dict[int, list[_Ref]] = {}  # row inside → the nodes whose tensor it passes on
        self.moving: list[bool] = []  # of every row: does it come of an input of the net?
        for row in cost.rows:
            self.moving.append(any(at < 0 or self.moving[at] for at, _ in row.sources))

    def build(self) -> Wiring:
        for unit, whole_module in self._units():
            self._take(unit, whole_module)
        outside = {at for i, row in enumerate(self.rows) if i not in self.home for at, _ in row.sources}
        read = {at for row in self.rows for at, _ in row.sources}
        ends = [i for i in self.inside if i in outside or (i not in read and self.moving[i])] or self.inside[-1:]
        refs = list(dict.fromkeys(ref.node for i in ends for ref in self.home[i]))
        for node in refs:
            self.nodes.append(Node("out", None, "", self.nodes[node].shape))
            self.edges.append(Edge(node, len(self.nodes) - 1, self.nodes[node].shape))
        return Wiring(tuple(self.nodes), tuple(self.edges))

    def _units(self) -> list[tuple[list[int], bool]]:
        """Rows that are one thing: all of a module of one input, with no children and no layers (True); or a row."""
        parents = {above for i in self.inside for above in list(_above(self.rows[i].path))[:-1]}
        found = []
        for path, run in groupby(self.inside, key=lambda i: self.rows[i].path):
            at = list(run)
            layers = any(self.rows[i].kind in (*LAYERS, "norm") for i in at)
            one_input = len(at) == 1 or len(self._inputs(at)) < 2
            plain = path and path not in parents and one_input and not layers
            found += [(at, True)] if plain else [([i], False) for i in at]
        return found

    def _inputs(self, at: Sequence[int]) -> set[int]:
        """What these rows read that comes of the net's inputs and is not of themselves."""
        read = {source for i in at for source, _ in self.rows[i].sources}
        return {one for one in read if one not in at and (one < 0 or self.moving[one])}

    def _take(self, unit: Sequence[int], whole_module: bool) -> None:
        """A node for these rows, or what they pass on."""
        rows = [self.rows[i] for i in unit]
        row, moving = rows[-1], any(self.moving[i] for i in unit)
        inputs = [self._refs(source) for i in unit for source in self.rows[i].sources if source[0] not in unit]
        inputs = [refs for refs in inputs if refs]
        kind = _kind(rows, inputs, moving, whole_module)
        if kind is None:
            computes = not all(r.op in MOVES or r.kind in ("join", "flatten") or _pads_places(r) for r in rows)
            passed = {ref.node: replace(ref, through=ref.through or computes) for refs in inputs for ref in refs}
            self.home |= {i: list(passed.values()) for i in unit}
            return
        named = kind == "other" and whole_module
        acts = [r for r in rows if r.kind == "act"]
        shown = acts[0] if kind == "act" else replace(row, params=sum(r.params for r in rows))
        node = Node(kind, shown, row.path, row.output, named=named, constant=not moving)
        into = self._edges(kind, inputs, moving)
        self.nodes.append(node)
        here = len(self.nodes) - 1
        self.edges += [self._edge(ref, here) for ref in into]
        self.home |= {i: [_Ref(here, row.output)] for i in unit}

    def _edges(self, kind: Kind, inputs: list[list[_Ref]], moving: bool) -> list[_Ref]:
        """What feeds a node. Learnt numbers feed joins; into a layer that moves they are its weights."""
        found: list[_Ref] = []
        for refs in inputs:
            for ref in refs:
                weights = moving and kind != "join" and self.nodes[ref.node].constant
                twice = any(ref.node == other.node for other in found)
                if not weights and (not twice or (len(refs) == 1 and kind in ("layer", "join"))):
                    found.append(ref)
        return found

    def _edge(self, ref: _Ref, end: int) -> Edge:
        whole = ref.through or prod(ref.shape) >= prod(self.nodes[ref.node].shape)  # more: zeros around it
        return Edge(ref.node, end, ref.shape, whole)

    def _refs(self, source: tuple[int, tuple[int, ...]]) -> list[_Ref]:
        """The nodes behind a row's source."""
        at, shape = source[0], self._bare(source[1])
        if at in self.home:
            return [self._seen(ref, shape) for ref in self.home[at]]
        if at >= 0 and not self.moving[at]:
            return []  # made outside of learnt numbers or of none
        if at not in self.given:
            whole = self.rows[at].output if at >= 0 else self._bare(self.cost.shapes[~at])
            path = self.rows[at].path if at >= 0 else ""
            self.nodes.append(Node("in", None, path, shape if prod(shape) == prod(whole) else whole))
            self.given[at] = len(self.nodes) - 1
        return [self._seen(_Ref(self.given[at], self.nodes[self.given[at]].shape), shape)]

    def _seen(self, ref: _Ref, shape: tuple[int, ...]) -> _Ref:
        """ref as it is read now, unless it was cut on its way."""
        cut = prod(ref.shape) < prod(self.nodes[ref.node].shape)
        return ref if cut else replace(ref, shape=shape)

    def _bare(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(shape[1:]) if shape and shape[0] == self.batch else tuple(shape)


def _kind(rows: Sequence[Row], inputs: list[list[_Ref]], moving: bool, whole_module: bool) -> Kind | None:
    """What is drawn of these rows; None: nothing."""
    row, kinds = rows[-1], {r.kind for r in rows}
    through = any(ref.through for refs in inputs for ref in refs)
    if row.kind in LAYERS:
        return "layer"
    if len(rows) == 1 and (row.kind == "flatten" or _pads_places(row) or _does_nothing(row)):
        return None
    if not moving:
        return "learnt" if sum(r.params for r in rows) and "act" not in kinds else None
    for kind in ("norm", "act"):
        if kind in kinds:
            return None if through else kind
    if len(rows) == 1 and row.kind == "join":
        apart = {ref.node for refs in inputs for ref in refs}
        if len(apart) > 1 or (row.op in CONCAT and len(inputs) > 1 and not through):
            return "join"
        whole_module = whole_module and row.op not in CONCAT
    return "other" if whole_module or row.op.startswith(MOVED) else None


def _pads_places(row: Row) -> bool:
    """Zeros around a map, as TensorFlow's SAME has them: they belong to the window behind."""
    return row.op in ("constant_pad_nd", "Pad") and row.input[:1] == row.output[:1]


def _does_nothing(row: Row) -> bool:
    """A pool of one place to itself."""
    return row.kind == "other" and row.op in ("mean", "avg_pool2d", "_adaptive_avg_pool2d") and row.input == row.output
