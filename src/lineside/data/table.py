"""The check-up for a shell: a table of counts and the worst examples, or everything as JSON."""

import json
from collections import Counter
from typing import TYPE_CHECKING

from lineside.data.doctor import Checkup
from lineside.data.finding import CODES, counts, many
from lineside.settings import plain
from lineside.terminal import shown

if TYPE_CHECKING:
    from rich.console import Console

EXAMPLES = {"error": 5, "warning": 2, "note": 1}  # messages shown of one code
STYLE = {"error": "bold red", "warning": "yellow", "note": "blue"}


def print_table(checkup: Checkup, console: "Console", left_out: str = "") -> None:
    """Counts per code, then the first messages of each; no file name is taken as markup or terminal control.

    left_out: says that a quarantine list was written; empty where none was.
    """
    from rich.table import Table
    from rich.text import Text

    dataset, label_count = checkup.dataset, Counter(p.label for p in checkup.pictures)
    console.print(
        Text(
            f"{shown(str(dataset.root))}: {dataset.layout}, {len(dataset.pictures):,} pictures, "
            f"{len(checkup.pictures):,} readable, {len(label_count)} classes"
        ),
        soft_wrap=True,
    )
    rows = counts(checkup.findings)
    if rows:
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        for column in ("severity", "code", "findings", "pictures", "meaning"):
            table.add_column(
                column, justify="right" if column in ("findings", "pictures") else "left", no_wrap=column != "meaning"
            )
        for row in rows:
            severity = Text(row.severity, STYLE[row.severity])
            table.add_row(severity, row.code, f"{row.findings:,}", f"{row.pictures:,}", CODES[row.code][1])
        console.print()
        console.print(table)
        console.print()
    for row in rows:
        own = [f for f in checkup.findings if f.code == row.code]
        for finding in own[: EXAMPLES[row.severity]]:
            line = Text(f"{row.severity} ", STYLE[row.severity]).append(f"{row.code} ", "bold")
            console.print(line.append(shown(finding.message), ""), soft_wrap=not console.is_terminal)
        if len(own) > EXAMPLES[row.severity]:
            rest = len(own) - EXAMPLES[row.severity]
            console.print(Text(f"{row.severity} {row.code}: {rest:,} more (--json or --html shows them)", "dim"))
    if rows:
        console.print()
    console.print(
        Text(_verdict(Counter(f.severity for f in checkup.findings), left_out)), soft_wrap=not console.is_terminal
    )


def as_json(checkup: Checkup) -> str:
    """Every finding, the counts and the classes, for scripts."""
    dataset = checkup.dataset
    return json.dumps(
        {
            "root": str(dataset.root),
            "layout": dataset.layout,
            "pictures": len(dataset.pictures),
            "readable": len(checkup.pictures),
            "classes": dict(sorted(Counter(p.label for p in checkup.pictures).items())),
            "counts": plain(counts(checkup.findings)),
            "findings": plain(checkup.findings),
        },
        indent=2,
        ensure_ascii=True,  # any terminal and any pipe can hold it
    )


def _verdict(number: Counter, left_out: str) -> str:
    if number["error"]:
        return (
            f"{many(number['error'], 'error')}: {left_out or 'resolve them, or leave files out with --quarantine FILE'}"
        )
    return (
        f"no errors, {many(number['warning'], 'warning')} to look at" if number["warning"] else "no errors, no warnings"
    )
