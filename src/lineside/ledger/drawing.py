"""A part of a net as a picture: what runs, in boxes from top to bottom, branches side by side, drawn of the trace.

    from lineside.ledger import cost
    from lineside.ledger.drawing import drawing

    svg = drawing(cost(net, (1, 3, 224, 224)), "stage1.0", alone=True)

Colours are of the classes conv, linear, pool and other, in drawing.css after data/page.css.
"""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from itertools import pairwise
from typing import NamedTuple

from lineside.ledger.boxes import Node, Wiring
from lineside.ledger.labels import Words, words
from lineside.ledger.layered import Placed, place
from lineside.ledger.row import Cost
from lineside.ledger.wiring import wiring

LINE, ROOM, TIP = 14, 12, 5  # px: a line of text, around it in a box, an arrow's head
SHAPE, BEND = 12, 26  # px between layers: a line of shapes, where edges only run down; and where they bend
SIGN = 11  # radius of a join's circle
MARGIN = 10


class Strip(NamedTuple):
    """One layer, px: its boxes lie from top to bottom, shapes from there to bend; edges bend from there to the next."""

    top: float
    bottom: float
    bend: float

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


def drawing(cost: Cost, prefix: str = "", *, alone: bool = False) -> str:
    """The part of a net under this module's path as SVG; "": the whole net.

    alone: a file of its own, with its style; else for a page that has drawing.css. SettingsError: nothing runs there.
    """
    wired = wiring(cost, prefix)
    title = f"{cost.name} {prefix}".strip()
    return draw(wired, title, style() if alone else "")


def style() -> str:
    """What a drawing that stands alone carries: the colours of every page, and how boxes look."""
    page = files("lineside.data").joinpath("page.css").read_text("utf-8")
    colours = page[page.index(":root") : page.index("* {")]
    return colours + files("lineside.ledger").joinpath("drawing.css").read_text("utf-8")


def draw(wired: Wiring, title: str, css: str = "") -> str:
    """The picture of this wiring."""
    alone = sum(node.kind == "in" for node in wired.nodes) == 1
    said = [words(node, wired.out_of(i), alone) for i, node in enumerate(wired.nodes)]
    sizes = [_size(node, w, len(wired.into(i))) for i, (node, w) in enumerate(zip(wired.nodes, said, strict=True))]
    room = [max(width, 2 * _beside(node, w)) for node, w, (width, _) in zip(wired.nodes, said, sizes, strict=True)]
    late = frozenset(i for i, node in enumerate(wired.nodes) if node.constant)
    placed = place(room, [(e.start, e.end) for e in wired.edges], late)
    strips = _strips(placed, sizes, said)
    height = strips[-1].bottom + MARGIN
    width = MARGIN + max(x + r / 2 for x, r in zip(placed.x, room, strict=True)) + MARGIN
    width = max(width, *(MARGIN + x + MARGIN for passes in placed.passes for x in passes), 0)
    parts = _edges(wired, placed, sizes, strips)
    for i, (node, w) in enumerate(zip(wired.nodes, said, strict=True)):
        parts.append(_box(node, w, placed.x[i] + MARGIN, strips[placed.layer[i]].middle, *sizes[i]))
    ground = f"<style>{css}</style><rect class='ground' width='100%' height='100%'/>".replace("'", '"') if css else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="net" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{ground}{''.join(parts)}</svg>"
    )


def _size(node: Node, said: Words, feeds: int) -> tuple[float, float]:
    """Width and height of a box, px."""
    if node.kind == "join" and not said.lines:
        return 2 * SIGN, 2 * SIGN
    if node.kind in ("in", "out"):
        return _long(said.lines), LINE * len(said.lines)
    return max(_long(said.lines) + 2 * ROOM, 9 * feeds), LINE * len(said.lines) + ROOM


def _long(lines: Sequence[str]) -> float:
    return max((6.5 * len(line) for line in lines), default=0)


def _beside(node: Node, said: Words) -> float:
    """px that a box needs to the right of its middle: for the shapes under it, for what stands beside a sign."""
    sign = SIGN + 5 + _long([said.beside]) if said.beside else 0.0
    return max(sign, 7 + 0.88 * _long(said.shapes) if said.shapes else 0.0)


def _strips(placed: Placed, sizes: Sequence[tuple[float, float]], said: Sequence[Words]) -> list[Strip]:
    strips, y = [], float(MARGIN)
    for layer in range(max(placed.layer) + 1):
        here = [i for i, one in enumerate(placed.layer) if one == layer]
        bottom = y + max(sizes[i][1] for i in here)
        strips.append(Strip(y, bottom, bottom + 2 + SHAPE * max(len(said[i].shapes) for i in here)))
        y = strips[-1].bend + BEND
    return strips


def _edges(wired: Wiring, placed: Placed, sizes: Sequence[tuple[float, float]], strips: Sequence[Strip]) -> list[str]:
    """A path for every edge, from the foot of a box through its places in the layers between to the head of another."""
    heads = _heads(wired, placed, sizes)
    parts, drawn = [], set()
    for k, edge in enumerate(wired.edges):
        first, last = strips[placed.layer[edge.start]], strips[placed.layer[edge.end]]
        x0, x1 = placed.x[edge.start], placed.x[edge.end] + heads[k][0]
        y1 = last.middle - sizes[edge.end][1] / 2 + heads[k][1]
        points = [(x0, first.middle + sizes[edge.start][1] / 2), (x0, first.bend)]
        for n, x in enumerate(placed.passes[k]):
            strip = strips[placed.layer[edge.start] + 1 + n]
            lane = [(x, strip.top), (x, strip.bend)]
            points = lane[1:] if (edge.start, n) in drawn else points + lane
            drawn.add((edge.start, n))
        points += [(x1, min(last.top, y1 - TIP)), (x1, y1 - TIP)]
        kind = ' class="learnt"' if wired.nodes[edge.start].constant else ""
        parts.append(f'<path{kind} d="{_path(points)}"/>{_tip(x1 + MARGIN, y1)}')
    return parts


def _heads(wired: Wiring, placed: Placed, sizes: Sequence[tuple[float, float]]) -> dict[int, tuple[float, float]]:
    """Where every edge meets the box it feeds, px from the middle of that box's top: in the order they come from."""
    found = {}
    for i in range(len(wired.nodes)):
        into = [k for k, e in enumerate(wired.edges) if e.end == i]
        into.sort(key=lambda k: _from(wired, placed, k))
        circle = sizes[i] == (2 * SIGN, 2 * SIGN)
        step = min(7 if circle else 22, (sizes[i][0] - 8) / max(len(into) - 1, 1))
        aside = [_from(wired, placed, k) - placed.x[i] for k in into]
        straight = [n for n, dx in enumerate(aside) if abs(dx) < 8 and (circle or len(into) == 1)]
        middle, by = (straight[0], aside[straight[0]]) if len(straight) == 1 else ((len(into) - 1) / 2, 0.0)
        for n, k in enumerate(into):
            dx = (n - middle) * step + by
            dx = max(1 - SIGN, min(dx, SIGN - 1)) if circle else dx
            found[k] = dx, SIGN - (SIGN**2 - dx**2) ** 0.5 if circle else 0.0
    return found


def _from(wired: Wiring, placed: Placed, edge: int) -> float:
    """Where an edge comes from, in the layer above the one where it ends: px."""
    return placed.passes[edge][-1] if placed.passes[edge] else placed.x[wired.edges[edge].start]


def _path(points: Sequence[tuple[float, float]]) -> str:
    x, y = points[0]
    said = [f"M{x + MARGIN:.0f} {y:.0f}"]
    for (x0, y0), (x1, y1) in pairwise(points):
        a, b = f"{x0 + MARGIN:.0f}", f"{x1 + MARGIN:.0f}"
        middle = f"{(y0 + y1) / 2:.0f}"
        said.append(f"V{y1:.0f}" if a == b else f"C{a} {middle} {b} {middle} {b} {y1:.0f}")
    return "".join(said)


def _tip(x: float, y: float) -> str:
    return f'<path class="tip" d="M{x:.0f} {y:.0f}l-3.5-{TIP + 1}h7z"/>'


def _box(node: Node, said: Words, x: float, middle: float, width: float, height: float) -> str:
    """The box, what is written in and under it, and what is shown when the pointer rests on it."""
    top = middle - height / 2
    parts = [f"<title>{escape(said.whole)}</title>"] if said.whole else []
    if node.kind == "join" and not said.lines:
        parts.append(f'<circle cx="{x:.0f}" cy="{middle:.0f}" r="{SIGN}"/>')
        parts.append(f'<text class="sign" x="{x:.0f}" y="{middle + 5:.0f}">{escape(said.sign)}</text>')
    elif node.kind not in ("in", "out"):
        at = f'x="{x - width / 2:.0f}" y="{top:.0f}" width="{width:.0f}" height="{height:.0f}"'
        parts.append(f'<rect {at} rx="5"/>')
    first = middle - LINE * len(said.lines) / 2 + LINE - 3.5
    for n, line in enumerate(said.lines):
        kind = ' class="name"' if n == said.name else ' class="folded"' if n in said.folded else ""
        parts.append(f'<text{kind} x="{x:.0f}" y="{first + LINE * n:.0f}">{escape(line)}</text>')
    if said.beside:
        parts.append(
            f'<text class="folded left" x="{x + SIGN + 5:.0f}" y="{middle + 4:.0f}">{escape(said.beside)}</text>'
        )
    for n, line in enumerate(said.shapes):
        y = top + height + SHAPE * (n + 1)
        parts.append(f'<text class="shape" x="{x + 6:.0f}" y="{y:.0f}">{escape(line)}</text>')
    return f'<g class="{said.look}">{"".join(parts)}</g>'
