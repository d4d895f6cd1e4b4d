"""Inline SVG for the pages: a plot with axes, lines, boxes, dots and words.

Text stays text, and colours come from the page's style (chart.css), light and dark: what is drawn has a class and no
colour. Words are escaped.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 30, 48  # px around the plot


@dataclass(frozen=True)
class Axes:
    """Where numbers are in the picture: x and y map data to px."""

    x: Callable[[float], float]
    y: Callable[[float], float]
    parts: list[str]
    width: int = WIDTH  # of the picture, in px of its text
    height: int = HEIGHT

    def line(self, xs: Sequence[float], ys: Sequence[float], kind: str) -> None:
        points = " ".join(f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in zip(xs, ys, strict=True))
        self.parts.append(f'<polyline class="{kind}" points="{points}"/>')

    def box(self, x0: float, x1: float, y0: float, y1: float, kind: str, said: str = "") -> None:
        """said: shown when the pointer rests on it."""
        left, right = sorted((self.x(x0), self.x(x1)))
        top, bottom = sorted((self.y(y0), self.y(y1)))
        at = f'x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}"'
        self.parts.append(_said(f'rect class="{kind}" {at}', said))

    def dot(self, x: float, y: float, kind: str, radius_px: float = 4, said: str = "") -> None:
        at = f'cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="{radius_px:g}"'
        self.parts.append(_said(f'circle class="{kind}" {at}', said))

    def text(self, x_px: float, y_px: float, words: str, kind: str = "label", anchor: str = "middle") -> None:
        self.parts.append(
            f'<text class="{kind}" x="{x_px:.1f}" y="{y_px:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
        )

    def svg(self, title: str) -> str:
        return (
            f'<svg class="chart" viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(title)}">'
            f"<title>{escape(title)}</title>{''.join(self.parts)}</svg>"
        )


def _said(tag: str, said: str) -> str:
    return f"<{tag}><title>{escape(said)}</title></{tag.split()[0]}>" if said else f"<{tag}/>"


def axes_of(
    x_range: tuple[float, float], y_range: tuple[float, float], width: int = WIDTH, height: int = HEIGHT
) -> Axes:
    (x0, x1), (y0, y1) = x_range, y_range
    return Axes(
        lambda x: LEFT + (x - x0) / (x1 - x0) * (width - LEFT - RIGHT),
        lambda y: height - BOTTOM - (y - y0) / (y1 - y0) * (height - TOP - BOTTOM),
        [],
        width,
        height,
    )


def frame(axes: Axes, x_ticks: Sequence[float], x_name: str, form: str) -> None:
    bottom = axes.height - BOTTOM
    axes.parts.append(f'<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{axes.width - RIGHT}" y2="{bottom}"/>')
    axes.parts.append(f'<line class="axis" x1="{LEFT}" y1="{TOP}" x2="{LEFT}" y2="{bottom}"/>')
    for x in x_ticks:
        at = axes.x(x)
        axes.parts.append(f'<line class="grid" x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{bottom}"/>')
        axes.text(at, bottom + 18, form.format(x).replace("-", "−"), "tick")
    axes.text((LEFT + axes.width - RIGHT) / 2, axes.height - 8, x_name)


def round_ticks(low: float, high: float) -> list[float]:
    step = next(s for s in (0.5, 1, 2, 5, 10, 20, 50, 100, 1000, 1e5, 1e9, 1e300) if (high - low) / s <= 12)
    return [float(k * step) for k in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]
