"""From operations to the lines of a table: what belongs to a layer is folded into it, what repeats is said once.

A norm or an activation that takes a layer's output belongs to that layer: one line "conv + norm + act". Its parameters
and its memory (where the convention has any) are in that line, so the lines of a table add up to the net.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from lineside.ledger.convention import Convention
from lineside.ledger.row import KB, LAYERS, Cost, Row

NAMES = {"constant_pad_nd": "pad"}


@dataclass
class Line:
    """A layer, and the norms and activations behind it. at: its rows' places in cost.rows."""

    row: Row
    memory: int  # bytes, by the convention
    params: int
    folded: list[str] = field(default_factory=list)
    at: list[int] = field(default_factory=list)

    @property
    def kind(self) -> str:
        depthwise = self.row.kind == "conv" and self.row.groups > 1 and self.row.groups == self.row.input[0]
        kind = "depthwise" if depthwise else self.row.op if self.row.kind in ("other", "join", "act") else self.row.kind
        return " + ".join([NAMES.get(kind, kind.strip("_")), *dict.fromkeys(self.folded)])

    @cached_property
    def alike(self) -> tuple:
        """Equal for lines that cost the same and look the same."""
        r = self.row
        shape = r.kind, r.op, r.input, r.output, r.filters, r.kernel, r.stride, r.pad, r.groups, r.ceil
        return shape, r.macs, r.pool_ops, self.params, self.memory, tuple(self.folded)


@dataclass(frozen=True)
class Group:
    """Lines that come so many times in a row; runs has them all, runs[0] is shown."""

    runs: tuple[tuple[Line, ...], ...]

    @property
    def times(self) -> int:
        return len(self.runs)


def lines(cost: Cost, convention: Convention) -> list[Line]:
    """The table's lines. Their params, and those that nothing read, add up to cost.params; their MACs to cost.macs."""
    found: list[Line] = []
    home: dict[int, Line] = {}  # row → the line that it belongs to
    for i, row in enumerate(cost.rows):
        line = home.get(row.after) if row.after is not None and row.kind in ("norm", "act") else None
        made = row.made if convention.everything else row.elements * 4 * (row.kind in LAYERS or row.kind == "flatten")
        if line is not None:
            line.params += row.params
            line.memory += made
            line.folded.append(row.kind)
        elif shown(cost, row, convention):
            line = Line(row, made, row.params)
            found.append(line)
        else:
            continue
        line.at.append(i)
        if line.row.kind in LAYERS:
            home[i] = line
    return found


def shown(cost: Cost, row: Row, convention: Convention) -> bool:
    if row.kind == "flatten":
        return convention.flattened and not _is_global_pool(cost, row.after)
    return row.kind in LAYERS or row.params > 0 or (convention.everything and row.made > 0)


def _is_global_pool(cost: Cost, at: int | None) -> bool:
    """A pool to one place is a list already: the deck has no row for flattening it."""
    return at is not None and cost.rows[at].kind == "pool" and not any(n > 1 for n in cost.rows[at].output[1:])


def memory(cost: Cost, convention: Convention) -> int:
    """Bytes, by the convention."""
    return sum(line.memory for line in lines(cost, convention))


def collapse(found: Sequence[Line]) -> list[Group]:
    """Runs of lines that repeat at once, as one group each; at every place the repetition that saves most lines."""
    numbers: dict[tuple, int] = {}
    ids = [numbers.setdefault(line.alike, len(numbers)) for line in found]
    places: dict[int, list[int]] = {}
    for i, number in enumerate(ids):
        places.setdefault(number, []).append(i)
    groups, i = [], 0
    while i < len(ids):
        length, times = 1, 1
        for j in places[ids[i]]:
            step = j - i
            if step <= 0 or i + 2 * step > len(ids) or ids[i:j] != ids[j : j + step]:
                continue
            if step > 1 and not _is_a_block(found[i:j], found[j]):
                continue
            again = 2
            while ids[i:j] == ids[i + again * step : j + again * step]:
                again += 1
            if step * (again - 1) > length * (times - 1):
                length, times = step, again
        groups.append(Group(tuple(tuple(found[i + k * length : i + (k + 1) * length]) for k in range(times))))
        i += length * times
    return groups


def _is_a_block(run: Sequence[Line], next_first: Line) -> bool:
    """Whether these lines are of one module, and the next repetition begins another: not the end of one block and the
    beginning of the next."""
    parts, other = [line.row.path.split(".") for line in run], next_first.row.path.split(".")
    at = next((k for k, (a, b) in enumerate(zip(parts[0], other, strict=False)) if a != b), None)
    return at is not None and all(p[: at + 1] == parts[0][: at + 1] for p in parts)


def path(runs: Sequence[Line]) -> str:
    """The path of a line that repeats: stage3.1…5.add.body.c1.conv; stage1.0…stage4.2.norm; or first … last."""
    first, last = (line.row.path.split(".") for line in (runs[0], runs[-1]))
    if len(first) != len(last):
        return f"{runs[0].row.path} … {runs[-1].row.path}"
    differ = [i for i, (a, b) in enumerate(zip(first, last, strict=True)) if a != b]
    if not differ:
        return runs[0].row.path
    begin, end = differ[0], differ[-1] + 1
    return ".".join([*first[:begin], f"{'.'.join(first[begin:end])}…{'.'.join(last[begin:end])}", *first[end:]])


def kb(memory_bytes: float) -> float:
    return memory_bytes / KB
