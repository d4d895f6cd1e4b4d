"""Words in a picture cover nothing: the placement by properties, and the charts by what is written into their SVG."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineside.evidence import charts
from lineside.evidence.spots import Box, anywhere, beside, first_free, of_dot, of_line, spot
from lineside.evidence.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH

PLOT = (LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)
px = st.floats(0, 400)


def touch(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@settings(deadline=None)
@given(st.lists(st.tuples(px, px, st.floats(1, 30)), max_size=40), px, px)
def test_what_is_found_is_inside_and_touches_nothing(dots, x, y):
    covered, inside = [of_dot(*dot) for dot in dots], (10.0, 10.0, 390.0, 390.0)
    spots = [*beside(x, y, 4, "resnet50"), *anywhere(x, y, "resnet50", inside)]
    found = first_free(spots, covered, inside)
    free = [
        one
        for one in spots
        if one.box[0] >= 10 and one.box[1] >= 10 and one.box[2] <= 390 and one.box[3] <= 390
        if not any(touch(one.box, other) for other in covered)
    ]
    assert found == (free[0] if free else None)


def test_where_there_is_no_spot_none_is_found():
    assert first_free([], [], (0, 0, 9, 9)) is None
    assert first_free([spot(0, 20, "ab")], [(5, 15, 6, 16)], (0, 0, 99, 99)) is None
    assert first_free([spot(0, 20, "ab")], [(14.0, 0, 20, 99)], (0, 0, 99, 99)) is not None  # side by side


@settings(deadline=None)
@given(st.lists(st.tuples(px, px), min_size=2, max_size=6), st.floats(0, 1))
def test_every_place_of_a_line_is_in_its_boxes(points, at):
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    boxes = of_line(xs, ys)
    for x0, y0, x1, y1 in zip(xs, ys, xs[1:], ys[1:], strict=False):
        x, y = x0 + at * (x1 - x0), y0 + at * (y1 - y0)
        assert any(b[0] <= x <= b[2] and b[1] <= y <= b[3] for b in boxes)


def words_of(svg: str) -> dict[str, Box]:
    """The words of kind label that begin in the plot, as boxes of 12 px letters."""
    found = re.findall(r'<text class="label" x="([-\d.]+)" y="([-\d.]+)" text-anchor="(\w+)">([^<]*)<', svg)
    boxes = {}
    for x, y, anchor, word in found:
        wide = 7 * len(word)
        left = float(x) - {"start": 0, "middle": wide / 2, "end": wide}[anchor]
        boxes[word] = (left, float(y) - 10, left + wide, float(y) + 3)
    return boxes


def curve_of(svg: str) -> list[Box]:
    (points,) = re.findall(r'<polyline class="first" points="([^"]*)"', svg)
    xs, ys = zip(*(map(float, point.split(",")) for point in points.split()), strict=True)
    return of_line(xs, ys, 0.5)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("max_escape", [0.5, 0.1, 0.01, 0.002])
def test_the_promise_and_the_threshold_are_written_beside_the_curve(seed, max_escape):
    rng = np.random.default_rng(seed)
    good, bad = rng.normal(2, 2, 361), rng.normal(-seed, 2, 164)
    svg = charts.trade_off(good, bad, float(np.quantile(good, 0.9)), max_escape, "t")
    words, curve = words_of(svg), curve_of(svg)
    promise = next(box for word, box in words.items() if word.startswith("promise"))
    threshold = words["accept_at"]
    for box in (promise, threshold):
        assert not any(touch(box, piece) for piece in curve)
        assert box[0] >= LEFT
        assert box[2] <= WIDTH - RIGHT
    assert not touch(promise, threshold)
    assert not touch(promise, words["bad parts accepted (escape)"])


@pytest.mark.parametrize("seed", range(8))
def test_the_words_of_margins_stand_on_no_bar(seed):
    rng = np.random.default_rng(seed)
    svg = charts.margins(rng.normal(seed - 3, 1, 300), rng.normal(-seed, 1, 200), 2.4, -2.2, "t")
    bars = [
        (float(x), float(y), float(x) + float(w), float(y) + float(h))
        for x, y, w, h in re.findall(
            r'<rect class="(?:good|bad)" x="(\S+)" y="(\S+)" width="(\S+)" height="(\S+)"', svg
        )
    ]
    assert bars
    for word, box in words_of(svg).items():
        if word.endswith(("↑", "↓")):
            assert not any(touch(box, bar) for bar in bars), word
    ticks = [float(y) for y in re.findall(rf'<text class="tick" x="{LEFT - 6}.0" y="([\d.]+)"', svg)]
    assert min(np.diff(sorted(ticks))) > 10
