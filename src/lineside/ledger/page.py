"""The page of `lineside cost --html`: tables and charts in one self-contained file, no network, no script."""

from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from lineside import __version__
from lineside.ledger import charts
from lineside.ledger.blocks import blocks
from lineside.ledger.convention import sentences
from lineside.ledger.drawing import draw
from lineside.ledger.layers import collapse
from lineside.ledger.sheet import Sheet
from lineside.ledger.table import COLUMNS, TIMED, mb, rows, summary, totals
from lineside.nets.listing import nets

if TYPE_CHECKING:
    from markupsafe import Markup


def render(sheets: Sequence[Sheet]) -> str:
    """The page as text."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    here = files("lineside.ledger")
    style = (
        files("lineside.data").joinpath("page.css").read_text("utf-8")
        + files("lineside.evidence").joinpath("chart.css").read_text("utf-8")
        + here.joinpath("page.css").read_text("utf-8")
        + here.joinpath("drawing.css").read_text("utf-8")
    )
    most = [max((value(line) for s in sheets for line in s.lines), default=0) for _, _, value in charts.QUANTITIES]
    bars = [
        (title, [(s.cost.name, Markup(charts.by_layer(s, i, most[i]))) for s in sheets])
        for i, (title, _, _) in enumerate(charts.QUANTITIES)
    ]
    names = [sheet.cost.name for sheet in sheets]
    return environment.from_string(here.joinpath("page.html.j2").read_text("utf-8")).render(
        title=names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}",
        sheets=sheets,
        facts=[_facts(sheet, sheets) for sheet in sheets],
        bars=bars,
        bubbles=Markup(charts.bubbles(nets(reads="pictures"), names)),
        drawings=_drawings(sheets[0]) if len(sheets) == 1 else [],
        tables=[_table(sheet) for sheet in sheets],
        summaries=[[line for line in summary(sheet) if line not in sheet.remarks() and line] for sheet in sheets],
        conventions=sentences(sheets[0].convention, sheets[0].cost),
        own=[[line for line in s.remarks() if line not in sentences(s.convention, s.cost)] for s in sheets],
        version=__version__,
        style=Markup(style),
    )


def _drawings(sheet: Sheet) -> list[tuple[str, "Markup"]]:
    """(caption, picture) of every block; of a file, which has no modules, none."""
    from markupsafe import Markup

    if sheet.training_bytes is None:
        return []
    name = sheet.cost.name
    return [(one.caption, Markup(draw(one.wired, f"{name} {one.paths[0]}".strip()))) for one in blocks(sheet.cost)]


def _facts(sheet: Sheet, sheets: Sequence[Sheet]) -> list[tuple[str, float]]:
    """(figure, share of the largest among the nets) in the comparison's columns."""
    figures = (
        (f"{sheet.memory / 2**20:,.2f} MB", sheet.memory, max(s.memory for s in sheets)),
        (f"{sheet.cost.params / 1e6:,.3f} M", sheet.cost.params, max(s.cost.params for s in sheets)),
        (f"{sheet.cost.macs / 1e6:,.1f} M", sheet.cost.macs, max(s.cost.macs for s in sheets)),
        (mb(sheet.inference_bytes), sheet.inference_bytes, max(s.inference_bytes for s in sheets)),
        (
            "–" if sheet.training_bytes is None else mb(sheet.training_bytes),
            sheet.training_bytes or 0,
            max(s.training_bytes or 0 for s in sheets),
        ),
    )
    return [(said, value / (most or 1)) for said, value, most in figures]


def _table(sheet: Sheet) -> tuple[list[tuple[str, bool]], list[list[str]], list[str]]:
    """Headings (with whether a column is text), cells, and the last row, without columns in which nothing stands."""
    columns = COLUMNS + (TIMED if sheet.times else ())
    body = [[cell(sheet, row) for _, cell, _ in columns] for row in rows(collapse(sheet.lines))]
    last = [totals(sheet).get(name, "") for name, _, _ in columns]
    keep = [i for i in range(len(columns)) if any(row[i] for row in (*body, last))]
    return (
        [(columns[i][0], columns[i][2]) for i in keep],
        [[row[i] for i in keep] for row in body],
        [last[i] for i in keep],
    )
