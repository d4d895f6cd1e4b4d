"""Where boxes go: in layers from top to bottom, so that every edge leads down and few cross.

Sugiyama, Tagawa, Toda 1981. A box lies below all that feed it. Edges that pass layers by have a lane there; those of
one box share it and leave it one by one. The order within layers is by the mean of neighbours, swept up and down, and
the best seen is kept. Then x: every layer in turn is put as near to its neighbours as its boxes' widths allow, which is
exact, as an isotonic regression.
Plain arithmetic in a fixed order: the same boxes lie in the same places everywhere.
"""

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from statistics import fmean

GAP, LANE = 22.0, 14.0  # px between boxes; width of a lane
ORDERINGS, PLACINGS = 16, 60  # sweeps
CHAIN = 1000.0  # how straight an edge wants to be: between boxes that have no other there,
PULL = {0: 60.0, 1: 1.0, 2: 60.0}  # else by how many of its ends are lanes


@dataclass(frozen=True)
class Placed:
    """x of every box's middle; the layer that it is in; for every edge the x of its lane in each layer between."""

    x: tuple[float, ...]
    layer: tuple[int, ...]
    passes: tuple[tuple[float, ...], ...]


def place(widths: Sequence[float], edges: Sequence[tuple[int, int]], late: frozenset[int] = frozenset()) -> Placed:
    """Boxes of these widths, px. edges lead from a lower number to a higher. late: those that lie right above what they
    feed."""
    layer = _layers(len(widths), edges, late)
    sizes, level, lanes, chains = list(widths), list(layer), {}, []
    for start, end in edges:
        chain = [start]
        for between in range(layer[start] + 1, layer[end]):
            if (start, between) not in lanes:
                lanes[start, between] = len(sizes)
                sizes.append(LANE)
                level.append(between)
            chain.append(lanes[start, between])
        chains.append([*chain, end])
    ends = list(dict.fromkeys(pair for chain in chains for pair in pairwise(chain)))
    rows = _ordered(level, ends)
    chained = _chained(ends, len(widths))
    for a, b in sorted(chained) + sorted(chained, reverse=True):  # as wide as the widest of their chain: columns
        sizes[a] = sizes[b] = max(sizes[a], sizes[b])
    x = _spread(rows, sizes, ends, chained, len(widths))
    for start in range(len(widths)):
        _straighten(x, rows, sizes, [lane for (of, _), lane in lanes.items() if of == start])
    left = min(at - size / 2 for at, size in zip(x, sizes, strict=True))
    passes = tuple(tuple(x[i] - left for i in chain[1:-1]) for chain in chains)
    return Placed(tuple(at - left for at in x[: len(widths)]), tuple(layer), passes)


def _layers(n: int, edges: Sequence[tuple[int, int]], late: frozenset[int]) -> list[int]:
    layer = [0] * n
    for start, end in sorted(edges, key=lambda e: e[1]):
        layer[end] = max(layer[end], layer[start] + 1)
    for i in sorted(late, reverse=True):
        layer[i] = min((layer[end] for start, end in edges if start == i), default=1) - 1
    first = min(layer, default=0)
    return [one - first for one in layer]


def _ordered(level: Sequence[int], ends: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The numbers of each layer from left to right."""
    rows: list[list[int]] = [[] for _ in range(max(level) + 1)]
    for i, layer in enumerate(level):
        rows[layer].append(i)
    above: dict[int, list[int]] = {i: [] for i in range(len(level))}
    below: dict[int, list[int]] = {i: [] for i in range(len(level))}
    for a, b in ends:
        above[b].append(a)
        below[a].append(b)
    best, fewest = rows, _crossings(rows, below)
    for sweep in range(ORDERINGS):
        rows = [list(row) for row in rows]
        down = sweep % 2 == 0
        near = above if down else below
        at = {i: k for row in rows for k, i in enumerate(row)}
        for row in rows if down else reversed(rows):
            row.sort(key=lambda i: fmean(at[j] for j in near[i]) if near[i] else at[i])
            at |= {i: k for k, i in enumerate(row)}
        crossings = _crossings(rows, below)
        if crossings < fewest:
            best, fewest = rows, crossings
    return best


def _crossings(rows: Sequence[Sequence[int]], below: dict[int, list[int]]) -> int:
    found = 0
    for upper, lower in pairwise(rows):
        at = {i: k for k, i in enumerate(lower)}
        seen: list[int] = []
        for i in upper:
            targets = [at[j] for j in below[i]]
            found += sum(len(seen) - bisect_right(seen, target) for target in targets)
            for target in targets:
                insort(seen, target)
    return found


def _chained(ends: Sequence[tuple[int, int]], boxes: int) -> set[tuple[int, int]]:
    """Edges from a box that feeds nothing else to one that nothing else feeds."""
    outs, ins = (Counter(end[i] for end in ends) for i in (0, 1))
    return {(a, b) for a, b in ends if outs[a] == ins[b] == 1 and max(a, b) < boxes}


def _spread(
    rows: Sequence[Sequence[int]],
    sizes: Sequence[float],
    ends: Sequence[tuple[int, int]],
    chained: set[tuple[int, int]],
    boxes: int,
) -> list[float]:
    x = [0.0] * len(sizes)
    up: list[list[tuple[int, float]]] = [[] for _ in sizes]
    down: list[list[tuple[int, float]]] = [[] for _ in sizes]
    for a, b in ends:
        pull = CHAIN if (a, b) in chained else PULL[(a >= boxes) + (b >= boxes)]
        up[b].append((a, pull))
        down[a].append((b, pull))
    apart = [[_apart(sizes, a, b, boxes) for a, b in pairwise(row)] for row in rows]
    for sweep in range(PLACINGS):
        downwards = sweep % 2 == 0
        for k in range(len(rows)) if downwards else reversed(range(len(rows))):
            wanted, pulls = [], []
            for i in rows[k]:
                near = up[i] + down[i] if sweep >= 4 else up[i] if downwards else down[i]
                pull = sum(w for _, w in near)
                wanted.append(sum(x[j] * w for j, w in near) / pull if pull else x[i])
                pulls.append(pull or 0.1)
            for i, at in zip(rows[k], _nearest(wanted, pulls, apart[k]), strict=True):
                x[i] = at
    return x


def _apart(sizes: Sequence[float], a: int, b: int, boxes: int) -> float:
    """px between two middles, at least."""
    return (sizes[a] + sizes[b]) / 2 + (GAP if a < boxes and b < boxes else GAP / 2 if min(a, b) < boxes else 0)


def _nearest(wanted: Sequence[float], pulls: Sequence[float], apart: Sequence[float]) -> list[float]:
    """x with x[i + 1] − x[i] ≥ apart[i] and the least Σ pulls · (x − wanted)²: neighbours that meet move as one."""
    offset, total = [0.0], 0.0
    for gap in apart:
        total += gap
        offset.append(total)
    blocks: list[tuple[float, float, int]] = []  # mean, pull, how many
    for at, pull, off in zip(wanted, pulls, offset, strict=True):
        mean, weight, n = at - off, pull, 1
        while blocks and blocks[-1][0] >= mean:
            other, pulled, more = blocks.pop()
            mean, weight, n = (mean * weight + other * pulled) / (weight + pulled), weight + pulled, n + more
        blocks.append((mean, weight, n))
    means = [mean for mean, _, n in blocks for _ in range(n)]
    return [mean + off for mean, off in zip(means, offset, strict=True)]


def _straighten(x: list[float], rows: Sequence[Sequence[int]], sizes: Sequence[float], lanes: Sequence[int]) -> None:
    """The lanes of one box run straight down where there is room."""
    here = [x[i] for i in lanes]
    between = []
    for row in rows:
        for k, i in enumerate(row):
            if i in lanes:
                left = x[row[k - 1]] + (sizes[row[k - 1]] + LANE) / 2 if k else -inf
                right = x[row[k + 1]] - (sizes[row[k + 1]] + LANE) / 2 if k + 1 < len(row) else inf
                between.append((left, right))
    for at in (fmean(here), max(here), min(here)) if here else ():
        if all(left <= at <= right for left, right in between):
            for i in lanes:
                x[i] = at
            return
