"""Where a word may stand in a picture so that it covers nothing: greedy, one word after the other.

Everything is in px of the picture, y downwards. A box is (left, top, right, bottom). The width of a word is guessed
from above, LETTER_PX a letter, as fonts differ from machine to machine.

What is known to be covered is given as boxes; spots are tried in order and the first that touches none is taken. A word
that must be there and finds no spot beside its dot goes to the nearest free place of the whole plot, with a line to it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

LETTER_PX, ABOVE_PX, BELOW_PX = 7.0, 10.0, 3.0  # of 12 px letters: their width, and their reach from the baseline
STEP_PX = 9.0  # of the grid on which the nearest free place is looked for

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Spot:
    """A place for a word: where it begins, and its baseline."""

    left: float
    baseline: float
    box: Box


def spot(left: float, baseline: float, word: str) -> Spot:
    return Spot(left, baseline, (left, baseline - ABOVE_PX, left + LETTER_PX * len(word), baseline + BELOW_PX))


def beside(x: float, y: float, radius: float, word: str) -> Iterator[Spot]:
    """Right, left, above and below a dot, then at its corners."""
    wide, gap = LETTER_PX * len(word), radius + 3
    for left in (x + gap, x - gap - wide):
        yield spot(left, y + 4, word)
    for baseline in (y - gap - BELOW_PX, y + gap + ABOVE_PX):
        for left in (x - wide / 2, x, x - wide):
            yield spot(left, baseline, word)


def along(baseline: float, word: str, inside: Box) -> Iterator[Spot]:
    """On one line, from the right to the left."""
    wide = LETTER_PX * len(word)
    for left in np.arange(inside[2] - 4 - wide, inside[0] + 4, -STEP_PX):
        yield spot(float(left), baseline, word)


def anywhere(x: float, y: float, word: str, inside: Box) -> list[Spot]:
    """All of a plot, the nearest to (x, y) first."""
    wide = LETTER_PX * len(word)
    spots = [
        spot(float(left), float(baseline), word)
        for left in np.arange(inside[0], inside[2] - wide, STEP_PX)
        for baseline in np.arange(inside[1] + ABOVE_PX, inside[3] - BELOW_PX, STEP_PX)
    ]
    return sorted(spots, key=lambda one: distance((x, y), one.box))


def distance(point: tuple[float, float], box: Box) -> float:
    """From a point to the nearest of a box, 0 inside."""
    return float(np.hypot(*(np.subtract(point, nearest(point, box)))))


def nearest(point: tuple[float, float], box: Box) -> tuple[float, float]:
    """The place of a box that is nearest to a point."""
    x, y = point
    return min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])


def first_free(spots: Sequence[Spot], covered: Sequence[Box], inside: Box) -> Spot | None:
    """The first spot that is inside and touches nothing that is covered; None: there is no such spot."""
    if not spots:
        return None
    asked = np.array([one.box for one in spots])
    taken = np.array(covered, float).reshape(-1, 4)
    free = (asked[:, 0] >= inside[0]) & (asked[:, 1] >= inside[1])
    free &= (asked[:, 2] <= inside[2]) & (asked[:, 3] <= inside[3])
    if len(taken):
        across = (asked[:, None, 0] < taken[:, 2]) & (taken[:, 0] < asked[:, None, 2])
        down = (asked[:, None, 1] < taken[:, 3]) & (taken[:, 1] < asked[:, None, 3])
        free &= ~(across & down).any(1)
    return spots[int(np.argmax(free))] if free.any() else None


def of_line(xs: Sequence[float], ys: Sequence[float], half: float = 2.0) -> list[Box]:
    """A line from corner to corner as boxes; one that runs aslant is cut into pieces of a few px."""
    boxes: list[Box] = []
    for x0, y0, x1, y1 in zip(xs, ys, xs[1:], ys[1:], strict=False):
        pieces = 1 if x0 == x1 or y0 == y1 else int(np.ceil(min(abs(x1 - x0), abs(y1 - y0)) / 4)) or 1
        along = np.linspace(0, 1, pieces + 1)
        px, py = x0 + along * (x1 - x0), y0 + along * (y1 - y0)
        for a, b, c, d in zip(px, py, px[1:], py[1:], strict=False):
            boxes.append((min(a, c) - half, min(b, d) - half, max(a, c) + half, max(b, d) + half))
    return boxes


def of_dot(x: float, y: float, radius: float) -> Box:
    return x - radius, y - radius, x + radius, y + radius
