"""The pictures of a report, as inline SVG: text stays text, colours come from the page's style (light and dark).

margins        the distribution of margins of good and bad parts, mirrored, over the accept / hold / reject zones
trade_off      escape against the good parts that are not accepted, for every threshold
reliability    how often a prediction of that score was right, against the diagonal

Every function returns markup with nothing in it but numbers and the fixed words of this file; callers mark it as safe.
Classes used: axis grid tick label, good bad hold-zone reject-zone accept-zone threshold, first second diagonal.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from lineside.evidence.calibration import Bin

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 30, 48  # px around the plot


@dataclass(frozen=True)
class Axes:
    """Where numbers are in the picture: x and y map data to px."""

    x: Callable[[float], float]
    y: Callable[[float], float]
    parts: list[str]

    def line(self, xs: Sequence[float], ys: Sequence[float], kind: str) -> None:
        points = " ".join(f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in zip(xs, ys, strict=True))
        self.parts.append(f'<polyline class="{kind}" points="{points}"/>')

    def box(self, x0: float, x1: float, y0: float, y1: float, kind: str) -> None:
        left, right = sorted((self.x(x0), self.x(x1)))
        top, bottom = sorted((self.y(y0), self.y(y1)))
        self.parts.append(
            f'<rect class="{kind}" x="{left:.1f}" y="{top:.1f}" '
            f'width="{right - left:.1f}" height="{bottom - top:.1f}"/>'
        )

    def dot(self, x: float, y: float, kind: str) -> None:
        self.parts.append(f'<circle class="{kind}" cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="4"/>')

    def text(self, x_px: float, y_px: float, words: str, kind: str = "label", anchor: str = "middle") -> None:
        self.parts.append(
            f'<text class="{kind}" x="{x_px:.1f}" y="{y_px:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
        )

    def svg(self, title: str) -> str:
        return (
            f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
            f"<title>{escape(title)}</title>{''.join(self.parts)}</svg>"
        )


def margins(good: np.ndarray, bad: np.ndarray, accept_at: float, reject_below: float, title: str) -> str:
    """good, bad: margins (N,) of good and bad parts; good parts are drawn upward, bad ones downward."""
    good, bad = good[np.isfinite(good)], bad[np.isfinite(bad)]
    everyone = np.concatenate([good, bad, [accept_at, reject_below]])
    edges = _edges(everyone.min() - 1, everyone.max() + 1, accept_at, reject_below)
    up, down = np.histogram(good, edges)[0], np.histogram(bad, edges)[0]
    tallest = max(int(up.max()), int(down.max()), 1)
    axes = _axes((edges[0], edges[-1]), (-np.sqrt(tallest), np.sqrt(tallest)))
    top, low = np.sqrt(tallest), -np.sqrt(tallest)
    axes.box(edges[0], reject_below, low, top, "reject-zone")
    axes.box(reject_below, accept_at, low, top, "hold-zone")
    axes.box(accept_at, edges[-1], low, top, "accept-zone")
    _frame(axes, _round_ticks(edges[0], edges[-1]), "margin: log-odds that the part may pass", "{:g}")
    for count in (n for n in (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 100_000) if n <= tallest):
        for y in (np.sqrt(count), -np.sqrt(count)):
            axes.line((edges[0], edges[-1]), (y, y), "grid")
            axes.text(LEFT - 6, axes.y(y) + 4, f"{count:,}", "tick", "end")
    for i, (a, b) in enumerate(zip(up, down, strict=True)):
        if a:
            axes.box(edges[i], edges[i + 1], 0, np.sqrt(a), "good")
        if b:
            axes.box(edges[i], edges[i + 1], 0, -np.sqrt(b), "bad")
    axes.line((edges[0], edges[-1]), (0, 0), "axis")
    for at in {accept_at, reject_below}:
        axes.line((at, at), (low, top), "threshold")
    _zone_names(axes, edges[0], reject_below, accept_at, edges[-1])
    axes.text(WIDTH - RIGHT - 6, axes.y(top) + 16, "good parts ↑", "label", "end")
    axes.text(WIDTH - RIGHT - 6, axes.y(low) - 8, "bad parts ↓", "label", "end")
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

    axes = _axes((place(0), 0), (place(0), 0))
    decades = np.arange(np.log10(floor), 0.5)
    _frame(axes, [], "good parts not accepted (held or rejected)", "{}")
    for d in decades:
        name = "0" if d == decades[0] else f"{100 * 10**d:g} %"
        axes.line((d, d), (place(0), 0), "grid")
        axes.line((place(0), 0), (d, d), "grid")
        axes.text(axes.x(d), HEIGHT - BOTTOM + 18, name, "tick")
        axes.text(LEFT - 6, axes.y(d) + 4, name, "tick", "end")
    axes.line((place(0), 0), (place(max_escape), place(max_escape)), "diagonal")
    axes.text(
        WIDTH - RIGHT - 6, axes.y(place(max_escape)) - 6, f"promise: escape ≤ {100 * max_escape:g} %", "label", "end"
    )
    xs, ys = [place(v) for v in lost], [place(v) for v in through]
    keep = _corners(xs, ys)
    axes.line([xs[i] for i in keep], [ys[i] for i in keep], "first")
    here = (
        place(float(np.mean(good < accept_at)) if len(good) else 0),
        place(float(np.mean(bad >= accept_at)) if len(bad) else 0),
    )
    axes.dot(*here, "threshold")
    axes.text(axes.x(here[0]) + 8, axes.y(here[1]) - 8, "accept_at", "label", "start")
    axes.text(LEFT, TOP - 10, "bad parts accepted (escape)", "label", "start")
    return axes.svg(title)


def reliability(after: Sequence[Bin], before: Sequence[Bin], title: str) -> str:
    """Bins after the temperature, with 95 % intervals, and before it."""
    axes = _axes((0, 1), (0, 1))
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1]
    _frame(axes, ticks, "score of the first class", "{:g}")
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


def _axes(x_range: tuple[float, float], y_range: tuple[float, float]) -> Axes:
    (x0, x1), (y0, y1) = x_range, y_range
    return Axes(
        lambda x: LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT),
        lambda y: HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM),
        [],
    )


def _frame(axes: Axes, x_ticks: Sequence[float], x_name: str, form: str) -> None:
    bottom = HEIGHT - BOTTOM
    axes.parts.append(f'<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{WIDTH - RIGHT}" y2="{bottom}"/>')
    axes.parts.append(f'<line class="axis" x1="{LEFT}" y1="{TOP}" x2="{LEFT}" y2="{bottom}"/>')
    for x in x_ticks:
        at = axes.x(x)
        axes.parts.append(f'<line class="grid" x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{bottom}"/>')
        axes.text(at, bottom + 18, form.format(x).replace("-", "−"), "tick")
    axes.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_name)


def _zone_names(axes: Axes, left: float, reject_below: float, accept_at: float, right: float) -> None:
    for name, a, b in (("reject", left, reject_below), ("hold", reject_below, accept_at), ("accept", accept_at, right)):
        if axes.x(b) - axes.x(a) > 26:  # px that "hold" takes
            axes.text((axes.x(a) + axes.x(b)) / 2, TOP - 10, name)


def _round_ticks(low: float, high: float) -> list[float]:
    step = next(s for s in (0.5, 1, 2, 5, 10, 20, 50, 100, 1000, 1e5, 1e9, 1e300) if (high - low) / s <= 12)
    return [float(k * step) for k in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]


def _corners(xs: list[float], ys: list[float]) -> list[int]:
    """Rows where the curve moves: a curve of 100,000 parts is drawn with its corners only, at most about 2,000."""
    keep = [i for i in range(len(xs)) if i in (0, len(xs) - 1) or (xs[i], ys[i]) != (xs[i - 1], ys[i - 1])]
    return keep if len(keep) <= 2000 else [*keep[:: len(keep) // 2000 + 1], keep[-1]]
