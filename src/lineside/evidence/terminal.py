"""The evidence in a terminal: the verdict, the table of metrics, what to do next. It says the same without colour."""

from typing import TYPE_CHECKING

from lineside.evidence.report import CONTRADICTED, NOT_SHOWN, SHOWN, Report
from lineside.terminal import shown

if TYPE_CHECKING:
    from rich.console import Console

COLOURS = {SHOWN: "green", NOT_SHOWN: "yellow", CONTRADICTED: "red"}


def show(report: Report, console: "Console") -> None:
    """Print a report's headline, sentences and metrics."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, title=Text(shown(report.title)), title_justify="left", pad_edge=False)
    table.add_column("measure")
    for name in ("value", "95 % interval", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    wide = console.width >= 110
    if wide:
        table.add_column("meaning", style="dim", no_wrap=True)
    for line in report.lines:
        cells = (line.name, line.value(), line.interval(), f"{line.estimate.n:,}", line.meaning)
        table.add_row(*(Text(shown(cell)) for cell in cells[: 5 if wide else 4]))
    console.print(table)
    console.print(Text(shown(report.headline), style=f"bold {COLOURS.get(report.verdict, '')}".strip()))
    for sentence in report.sentences:
        console.print(Text(shown(sentence)))
