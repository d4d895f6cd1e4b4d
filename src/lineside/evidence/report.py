"""The evidence on one page: a self-contained HTML file that opens anywhere, without a network and without a script.

`Report` holds everything that is on the page, in its order; tasks fill it in, `render` makes the text. File names and
class names are hostile input: they reach the page only through jinja2's autoescape. The page forbids itself everything
but its own style and data: pictures (Content-Security-Policy). Its size is bounded by what is let in: at most
MOST_SHOWN pictures of THUMB_PX, a confusion matrix up to MATRIX_CLASSES, curves by their corners.
"""

import io
from base64 import b64encode
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from lineside.evidence import charts
from lineside.evidence.calibration import Bin
from lineside.evidence.intervals import Estimate
from lineside.evidence.operating import OperatingPoint

THUMB_PX = 168
THUMB_BYTES = 24_000
MOST_SHOWN = 64  # pictures on a page, errors and near ones together
MATRIX_CLASSES = 24  # beyond this many classes the largest confusions are listed instead of the matrix
MOST_LISTED = 40

SHOWN, NOT_SHOWN, CONTRADICTED, SORTS = "shown", "not shown", "contradicted", "sorts only"


@dataclass(frozen=True)
class Line:
    """One row of the table of metrics: what it is, what it means in a few words, and its number."""

    name: str
    meaning: str
    estimate: Estimate
    rate: bool = True  # printed in percent

    def said(self) -> str:
        return self.estimate.percent() if self.rate else self.estimate.number()

    def value(self) -> str:
        return _value(self.estimate, self.rate)

    def interval(self) -> str:
        return _interval(self.estimate, self.rate)


@dataclass(frozen=True)
class ClassLine:
    """One class: how many pictures, how many of them were found, how many that were called it are it."""

    name: str
    accepted: bool
    n: int
    recall: Estimate
    precision: Estimate
    escape: Estimate | None  # of a class of bad parts


@dataclass(frozen=True)
class Shown:
    """One picture of a gallery; thumb is a JPEG."""

    name: str
    truth: str
    said: str
    verdict: str
    margin: float | None
    note: str
    thumb: bytes

    @property
    def src(self) -> str:
        return "data:image/jpeg;base64," + b64encode(self.thumb).decode("ascii")


@dataclass(frozen=True)
class Margins:
    """Margins of good and bad parts of one part of the data, (N,) each."""

    name: str
    good: np.ndarray
    bad: np.ndarray


@dataclass(frozen=True)
class Report:
    """Everything on the page, in its order."""

    title: str
    verdict: str  # SHOWN | NOT_SHOWN | CONTRADICTED | SORTS
    headline: str
    sentences: tuple[str, ...]
    lines: tuple[Line, ...]
    point: OperatingPoint | None
    margins: tuple[Margins, ...]  # test first
    chosen_on: Margins | None  # calibrate's: what other thresholds would give is told of these, never of test
    classes: tuple[str, ...]
    per_class: tuple[ClassLine, ...]
    confusion: np.ndarray  # (K, K + 1); last column: no answer
    reliability: tuple[tuple[Bin, ...], tuple[Bin, ...]]  # with and before the temperature
    errors: tuple[Shown, ...]
    errors_in_all: int
    near: tuple[Shown, ...]
    parity: tuple[tuple[str, ...], ...]  # header and rows; () where the bundle has none
    facts: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]  # (heading, ((name, value), ...))
    assumptions: tuple[str, ...]


def render(report: Report) -> str:
    """The page as text."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    here = files("lineside.evidence")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(here.joinpath("report.html.j2").read_text("utf-8"))
    style = files("lineside.data").joinpath("page.css").read_text("utf-8") + "".join(
        here.joinpath(name).read_text("utf-8") for name in ("chart.css", "report.css")
    )
    return template.render(
        report=report,
        style=Markup(style),
        margin_charts=[(m.name, Markup(chart)) for m, chart in _margin_charts(report)],
        trade_off=Markup(_trade_off(report)),
        reliability=Markup(charts.reliability(*report.reliability, "Reliability: score against share right")),
        matrix=_matrix(report),
        confusions=_confusions(report),
        percent=lambda e: _value(e, True),
        interval=lambda e: _interval(e, True),
    )


def thumbnail(pixels: np.ndarray) -> bytes:
    """(H, W, 3) uint8 RGB -> a JPEG of at most THUMB_PX a side and THUMB_BYTES."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    picture.thumbnail((THUMB_PX, THUMB_PX))
    data = b""
    for quality in (82, 60, 30, 10):
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        data = file.getvalue()
        if len(data) <= THUMB_BYTES:
            break
    return data


def _margin_charts(report: Report) -> list[tuple[Margins, str]]:
    point = report.point
    if point is None:
        return []
    return [
        (m, charts.margins(m.good, m.bad, point.accept_at, point.reject_below, f"Margins of {m.name}"))
        for m in report.margins
        if len(m.good) + len(m.bad)
    ]


def _trade_off(report: Report) -> str:
    point, parts = report.point, report.chosen_on
    if point is None or parts is None or not (len(parts.good) and len(parts.bad)):
        return ""
    name = f"Escape against good parts not accepted, {parts.name}"
    return charts.trade_off(parts.good, parts.bad, point.accept_at, point.max_escape, name)


def _matrix(report: Report) -> list[tuple[str, list[tuple[int, int]]]]:
    """(class, [(count, percent of the row)]) per true class; empty where there are too many classes."""
    if len(report.classes) > MATRIX_CLASSES:
        return []
    rows = report.confusion
    return [
        (name, [(int(v), round(100 * v / max(1, row.sum()))) for v in row])
        for name, row in zip(report.classes, rows, strict=True)
    ]


def _confusions(report: Report) -> list[tuple[int, str, str]]:
    """(count, true, called), the most frequent first."""
    off = report.confusion.copy()
    np.fill_diagonal(off, 0)
    names = [*report.classes, "no answer"]
    order = np.argsort(-off, axis=None, kind="stable")[:MOST_LISTED]
    found = [(int(off[i, j]), names[i], names[j]) for i, j in zip(*np.unravel_index(order, off.shape), strict=True)]
    return [row for row in found if row[0]]


def _value(estimate: Estimate, rate: bool) -> str:
    if estimate.value is None:
        return "not measured"
    return f"{100 * estimate.value:.1f} %" if rate else f"{estimate.value:.3f}"


def _interval(estimate: Estimate, rate: bool) -> str:
    if estimate.value is None:
        return "–"
    if rate:
        return f"{100 * estimate.low:.1f} to {100 * estimate.high:.1f} %"
    return f"{estimate.low:.3f} to {estimate.high:.3f}"
