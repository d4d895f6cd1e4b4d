"""The deck's pictures: bars of memory, parameters and MACs by layer, and the bubbles of accuracy against cost.

evidence/svg.py draws; colours are of the classes conv, linear, pool, other and of named and all in cost.css.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from lineside.evidence.spots import Box, Spot, anywhere, beside, distance, first_free, nearest, of_dot
from lineside.evidence.svg import BOTTOM, LEFT, RIGHT, TOP, Axes, axes_of, frame
from lineside.ledger.layers import Line
from lineside.ledger.row import KB
from lineside.ledger.sheet import Sheet
from lineside.nets.listing import Listed

CLASSES = {
    "conv": "conv",
    "conv transposed": "conv",
    "linear": "linear",
    "matmul": "linear",
    "attention": "linear",
    "pool": "pool",
}
QUANTITIES: tuple[tuple[str, str, Callable[[Line], float]], ...] = (
    ("memory", "KB", lambda line: line.memory / KB),
    ("parameters", "k", lambda line: line.params / 1e3),
    ("multiply-adds", "MMAC", lambda line: line.row.macs / 1e6),
)
NAMED = 40  # layers, up to which each bar has its name under it
BARS_PX = 430, 250  # width and height of one chart of bars; three stand side by side
BUBBLES_PX = 940, 560
BUBBLE_PX = 22  # radius of the largest bubble


def by_layer(sheet: Sheet, what: int, most: float) -> str:
    """A bar a layer, from the picture to the classes; most: where the axis ends."""
    title, unit, value = QUANTITIES[what]
    lines = sheet.lines
    values = [value(line) for line in lines]
    axes = axes_of((0, max(len(lines), 1)), (0, 1.06 * most or 1), *BARS_PX)
    frame(axes, [], "layers, from the picture to the answer", "{}")
    for tick in ticks(most):
        axes.line((0, len(lines)), (tick, tick), "grid")
        axes.text(LEFT - 6, axes.y(tick) + 4, f"{tick:,g}", "tick", "end")
    for i, (line, v) in enumerate(zip(lines, values, strict=True)):
        said = f"{line.row.path}: {v:,.3f} {unit}"
        axes.box(i + 0.1, i + 0.9, 0, v, CLASSES.get(line.row.kind, "other"), said)
    if len(lines) <= NAMED:
        _names(axes, lines)
    axes.text(LEFT, TOP - 10, f"{title}, {unit}; {sum(values):,.1f} in all", "label", "start")
    return axes.svg(f"{sheet.cost.name}: {title} by layer")


def _names(axes: Axes, lines: Sequence[Line]) -> None:
    """The kind of each layer and its kernel, in as many letters as fit under its bar."""
    wide = (axes.width - LEFT - RIGHT) / max(len(lines), 1)
    for i, line in enumerate(lines):
        kernel = line.row.kernel[0] if line.row.kernel and line.row.kind == "conv" else ""
        word = {"conv": f"{kernel}", "linear": "fc", "pool": "p"}.get(line.row.kind, "")
        if wide >= 7 * len(word):
            axes.text(axes.x(i + 0.5), axes.height - BOTTOM + 15, word, "tick")


def ticks(most: float) -> list[float]:
    """About five round numbers from 0 to most."""
    if most <= 0:
        return [0]
    unit = 10 ** math.floor(math.log10(most / 4))
    step = next(unit * k for k in (1, 2, 5, 10) if most / (unit * k) <= 6)
    return [step * k for k in range(int(most / step) + 1)]


def bubbles(found: Sequence[Listed], named: Sequence[str]) -> str:
    """Top-1 against MACs; a bubble's area is the net's parameters. named: the nets that the page is about."""
    known = [one for one in found if one.top1 is not None]
    if not known:
        return ""
    low, high = math.log10(min(n.macs for n in known)) - 0.15, math.log10(max(n.macs for n in known)) + 0.15
    tops = [one.top1 or 0.0 for one in known]
    bottom, top = math.floor(min(tops)) - 1, math.ceil(max(tops)) + 1
    axes = axes_of((low, high), (bottom, top), *BUBBLES_PX)
    frame(axes, [], "multiply-adds of one picture, logarithmic", "{}")
    marks = [k * 10**power for power in range(math.floor(low), math.ceil(high) + 1) for k in (1, 2, 5)]
    for mark, at in ((m, math.log10(m)) for m in marks if low < math.log10(m) < high):
        axes.line((at, at), (bottom, top), "grid")
        axes.text(axes.x(at), axes.height - BOTTOM + 18, _count(mark), "tick")
    step = 2 if top - bottom <= 14 else 5
    for tick in range(-(-bottom // step) * step, top + 1, step):
        axes.line((low, high), (tick, tick), "grid")
        axes.text(LEFT - 6, axes.y(tick) + 4, f"{tick}", "tick", "end")
    largest = max(one.params for one in known)
    sizes = {one.name: max(2.5, BUBBLE_PX * math.sqrt(one.params / largest)) for one in known}
    # Large ones first, so that small ones lie on top; names of the page's own nets before all others.
    for one in sorted(known, key=lambda n: -n.params):
        said = f"{one.name}: {one.top1} % top-1, {one.macs / 1e6:,.0f} MMAC, {one.params / 1e6:,.1f} M parameters"
        kind = "named" if one.name in named else "all"
        axes.dot(math.log10(one.macs), one.top1 or 0.0, kind, round(sizes[one.name], 1), said)
    dots = {one.name: (axes.x(math.log10(one.macs)), axes.y(one.top1 or 0.0), sizes[one.name]) for one in known}
    must = [one.name for one in known if one.name in named]
    may = [one.name for one in sorted(known, key=lambda n: -(n.top1 or 0.0)) if one.name not in named]
    for name, place in names(dots, must, may, (LEFT, TOP, axes.width, axes.height - BOTTOM)).items():
        x, y, radius = dots[name]
        if distance((x, y), place.box) > radius + 8:  # too far for the eye to join them
            to_x, to_y = nearest((x, y), place.box)
            axes.parts.append(f'<line class="axis" x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"/>')
        axes.text(place.left, place.baseline, name, "named" if name in named else "tick", "start")
    axes.text(LEFT, TOP - 10, f"top-1, %; area: parameters, the largest {_count(largest)}", "label", "start")
    return axes.svg("Accuracy against multiply-adds and parameters")


def names(
    dots: Mapping[str, tuple[float, float, float]], must: Sequence[str], may: Sequence[str], inside: Box
) -> dict[str, Spot]:
    """Where the name of each dot (x, y, radius in px) is written: on no dot and on no other name.

    must: if not beside its dot, then at the nearest free place. may: only beside its dot, or not at all; these show
    when the pointer is on them. A name that must be there is left out only where the whole plot is full.
    """
    covered, placed = [of_dot(*dot) for dot in dots.values()], {}
    for name in (*must, *may):
        x, y, radius = dots[name]
        place = first_free(list(beside(x, y, radius, name)), covered, inside)
        if place is None and name in must:
            place = first_free(anywhere(x, y, name, inside), covered, inside)
        if place is not None:
            placed[name] = place
            covered.append(place.box)
    return placed


def _count(value: float) -> str:
    """1e9 → "1 G"."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return f"{value:g}"
