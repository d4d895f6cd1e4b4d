"""The pictures of a report (svg.py draws them).

margins        the distribution of margins of good and bad parts, mirrored, over the accept / hold / reject zones
trade_off      escape against the good parts that are not accepted, for every threshold
reliability    how often a prediction of that score was right, against the diagonal

Every function returns markup with nothing in it but numbers and the fixed words of this file; callers mark it as safe.
Classes used: axis grid tick label, good bad hold-zone reject-zone accept-zone threshold, first second diagonal.
"""

from collections.abc import Sequence

import numpy as np

from lineside.evidence.calibration import Bin
from lineside.evidence.spots import Box, along, anywhere, beside, first_free, of_dot, of_line
from lineside.evidence.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axes, axes_of, frame, round_ticks

LINE_PX = 13  # from one line of words to the next
PLOT = (LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)


def margins(good: np.ndarray, bad: np.ndarray, accept_at: float, reject_below: float, title: str) -> str:
    """good, bad: margins (N,) of good and bad parts; good parts are drawn upward, bad ones downward."""
    good, bad = good[np.isfinite(good)], bad[np.isfinite(bad)]
    everyone = np.concatenate([good, bad, [accept_at, reject_below]])
    edges = _edges(everyone.min() - 1, everyone.max() + 1, accept_at, reject_below)
    up, down = np.histogram(good, edges)[0], np.histogram(bad, edges)[0]
    tallest = max(int(up.max()), int(down.max()), 1)
    axes = axes_of((edges[0], edges[-1]), (-np.sqrt(tallest), np.sqrt(tallest)))
    top, low = np.sqrt(tallest), -np.sqrt(tallest)
    axes.box(edges[0], reject_below, low, top, "reject-zone")
    axes.box(reject_below, accept_at, low, top, "hold-zone")
    axes.box(accept_at, edges[-1], low, top, "accept-zone")
    frame(axes, round_ticks(edges[0], edges[-1]), "margin: log-odds that the part may pass", "{:g}")
    written = axes.y(0)
    for count in (n for n in (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 100_000) if n <= tallest):
        readable = written - axes.y(np.sqrt(count)) >= LINE_PX / (2 if written == axes.y(0) else 1)
        for y in (np.sqrt(count), -np.sqrt(count)):
            axes.line((edges[0], edges[-1]), (y, y), "grid")
            if readable:
                axes.text(LEFT - 6, axes.y(y) + 4, f"{count:,}", "tick", "end")
        written = axes.y(np.sqrt(count)) if readable else written
    covered: list[Box] = []
    for i, (a, b) in enumerate(zip(up, down, strict=True)):
        if a:
            axes.box(edges[i], edges[i + 1], 0, np.sqrt(a), "good")
            covered.append((axes.x(edges[i]), axes.y(np.sqrt(a)), axes.x(edges[i + 1]), axes.y(0)))
        if b:
            axes.box(edges[i], edges[i + 1], 0, -np.sqrt(b), "bad")
            covered.append((axes.x(edges[i]), axes.y(0), axes.x(edges[i + 1]), axes.y(-np.sqrt(b))))
    axes.line((edges[0], edges[-1]), (0, 0), "axis")
    for at in {accept_at, reject_below}:
        axes.line((at, at), (low, top), "threshold")
    _zone_names(axes, edges[0], reject_below, accept_at, edges[-1])
    covered += [box for at in (accept_at, reject_below) for box in of_line([axes.x(at)] * 2, [TOP, HEIGHT - BOTTOM])]
    for words, level in (("good parts ↑", axes.y(top) + 16), ("bad parts ↓", axes.y(low) - 8)):
        spots = list(along(level, words, PLOT))
        place = first_free(spots, covered, PLOT) or spots[0]
        axes.text(place.left, place.baseline, words, "label", "start")
    return axes.svg(title)


def trade_off(good: np.ndarray, bad: np.ndarray, accept_at: float, max_escape: float, title: str) -> str:
    """For every accept threshold the share of bad parts accepted (y) and of good parts not accepted (x), log scales."""
    good, bad = np.where(np.isfinite(good), good, -np.inf), np.where(np.isfinite(bad), bad, -np.inf)
    cuts = np.concatenate([[-np.inf], np.unique(np.concatenate([good, bad]))])
    lost = np.searchsorted(np.sort(good), cuts, side="right") / max(len(good), 1)  # threshold just above each margin
    through = 1 - np.searchsorted(np.sort(bad), cuts, side="right") / max(len(bad), 1)
    floor = min(10 ** np.floor(np.log10(0.4 / max(len(good), len(bad), 1))), 1e-3)

    def place(share: float) -> float:  # 0 has no logarithm: it stands on the axis
        return float(np.log10(max(share, floor)))

    axes = axes_of((place(0), 0), (place(0), 0))
    decades = np.arange(np.log10(floor), 0.5)
    frame(axes, [], "good parts not accepted (held or rejected)", "{}")
    for d in decades:
        name = "0" if d == decades[0] else f"{100 * 10**d:g} %"
        axes.line((d, d), (place(0), 0), "grid")
        axes.line((place(0), 0), (d, d), "grid")
        axes.text(axes.x(d), HEIGHT - BOTTOM + 18, name, "tick")
        axes.text(LEFT - 6, axes.y(d) + 4, name, "tick", "end")
    axes.line((place(0), 0), (place(max_escape), place(max_escape)), "diagonal")
    xs, ys = [place(v) for v in lost], [place(v) for v in through]
    keep = _corners(xs, ys)
    axes.line([xs[i] for i in keep], [ys[i] for i in keep], "first")
    here = (
        place(float(np.mean(good < accept_at)) if len(good) else 0),
        place(float(np.mean(bad >= accept_at)) if len(bad) else 0),
    )
    axes.dot(*here, "threshold")
    covered = of_line([axes.x(xs[i]) for i in keep], [axes.y(ys[i]) for i in keep])
    covered.append(of_dot(axes.x(here[0]), axes.y(here[1]), 6))
    level, words = axes.y(place(max_escape)), f"promise: escape ≤ {100 * max_escape:g} %"
    promised = [*along(level - 6, words, PLOT), *along(level + 15, words, PLOT)]
    # Above the plot there is room beside the name of the axis, where the curve keeps to the promise all along.
    spot = first_free(promised, covered, PLOT) or next(along(TOP - 10, words, PLOT))
    axes.text(spot.left, spot.baseline, words, "label", "start")
    covered += [spot.box, *of_line([LEFT, WIDTH - RIGHT], [level, level], 1)]
    at = axes.x(here[0]), axes.y(here[1])
    spot = first_free([*beside(*at, 6, "accept_at"), *anywhere(*at, "accept_at", PLOT)], covered, PLOT)
    if spot:
        axes.text(spot.left, spot.baseline, "accept_at", "label", "start")
    axes.text(LEFT, TOP - 10, "bad parts accepted (escape)", "label", "start")
    return axes.svg(title)


def reliability(after: Sequence[Bin], before: Sequence[Bin], title: str) -> str:
    """Bins after the temperature, with 95 % intervals, and before it."""
    axes = axes_of((0, 1), (0, 1))
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1]
    frame(axes, ticks, "score of the first class", "{:g}")
    for y in ticks:
        axes.line((0, 1), (y, y), "grid")
        axes.text(LEFT - 6, axes.y(y) + 4, f"{y:g}", "tick", "end")
    axes.line((0, 1), (0, 1), "diagonal")
    for one in before:
        axes.dot(one.score, one.accuracy.value or 0.0, "second")
    for one in after:
        axes.line((one.score, one.score), (one.accuracy.low, one.accuracy.high), "first")
        axes.dot(one.score, one.accuracy.value or 0.0, "first")
    axes.text(LEFT, TOP - 10, "share that was right, with 95 % interval", "label", "start")
    axes.dot(0.03, 0.93, "first")
    axes.text(axes.x(0.03) + 10, axes.y(0.93) + 4, "as the bundle answers", "label", "start")
    axes.dot(0.03, 0.85, "second")
    axes.text(axes.x(0.03) + 10, axes.y(0.85) + 4, "before the temperature", "label", "start")
    return axes.svg(title)


def _edges(low: float, high: float, accept_at: float, reject_below: float) -> np.ndarray:
    """About 72 bins with both thresholds on an edge, so that no bar stands in two zones."""
    step = (high - low) / 72
    below, above = np.arange(accept_at, low - step, -step)[::-1], np.arange(accept_at, high + step, step)[1:]
    edges = np.concatenate([below, above])
    near = int(np.argmin(np.abs(edges - reject_below)))
    if near == len(below) - 1:  # the edge at accept_at stays where it is
        return np.union1d(edges, [reject_below])
    edges[near] = reject_below
    return edges


def _zone_names(axes: Axes, left: float, reject_below: float, accept_at: float, right: float) -> None:
    for name, a, b in (("reject", left, reject_below), ("hold", reject_below, accept_at), ("accept", accept_at, right)):
        if axes.x(b) - axes.x(a) > 26:  # px that "hold" takes
            axes.text((axes.x(a) + axes.x(b)) / 2, TOP - 10, name)


def _corners(xs: list[float], ys: list[float]) -> list[int]:
    """Rows where the curve moves: a curve of 100,000 parts is drawn with its corners only, at most about 2,000."""
    keep = [i for i in range(len(xs)) if i in (0, len(xs) - 1) or (xs[i], ys[i]) != (xs[i - 1], ys[i - 1])]
    return keep if len(keep) <= 2000 else [*keep[:: len(keep) // 2000 + 1], keep[-1]]
