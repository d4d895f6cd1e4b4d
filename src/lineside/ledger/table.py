"""A sheet as text for a terminal, as CSV and as JSON.

Text has the deck's columns; what repeats is one line with its count, and columns in which nothing stands are left out.
CSV and JSON have every line, exact: their columns add up to the totals.
"""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lineside.ledger.layers import Group, Line, collapse, kb, path
from lineside.ledger.row import KB, Reach
from lineside.ledger.sheet import Sheet

PATH = 44  # characters of a path that are shown


@dataclass(frozen=True)
class Shown:
    """One printed line: the same line of every repetition."""

    runs: tuple[Line, ...]

    @property
    def line(self) -> Line:
        return self.runs[0]


Cell = Callable[[Sheet, Shown], str]


def rows(groups: Sequence[Group]) -> list[Shown]:
    return [Shown(same) for group in groups for same in zip(*group.runs, strict=True)]


def number(value: float) -> str:
    return f"{value:,.3f}" if value else ""


def by(sides: Sequence[object]) -> str:
    """3 for (3, 3), 1×7 for (1, 7)."""
    return str(sides[0]) if len(set(sides)) == 1 else "×".join(map(str, sides))


def seen(field: Sequence[Reach | None], what: str) -> str:
    if not field:
        return ""
    return (
        by(["all" if r is None else f"{r.size if what == 'size' else r.jump:g}" for r in field])
        if any(field)
        else "all"
    )


def _field(what: str) -> Cell:
    def cell(sheet: Sheet, shown: Shown) -> str:
        first, last = (seen(one.row.field, what) for one in (shown.runs[0], shown.runs[-1]))
        if what == "jump" and "all" in (first, last):
            return "" if first == "all" else first
        return first if first == last else f"{first}…{last}"

    return cell


def _share(sheet: Sheet, shown: Shown) -> str:
    return (
        f"{100 * sum(one.row.macs for one in shown.runs) / max(1, sheet.cost.macs):.1f}" if shown.line.row.macs else ""
    )


def _gap(sheet: Sheet, shown: Shown) -> str:
    ms, bound = (sum(map(f, shown.runs)) for f in (sheet.ms, sheet.bound_ms))
    return f"{ms / bound:.1f}" if bound and ms else ""


# Heading, cell, whether it is text (left). Per line of a repetition, but for the share: the whole run has it.
COLUMNS: tuple[tuple[str, Cell, bool], ...] = (
    ("layer", lambda s, r: _short(path(r.runs)), True),
    ("", lambda s, r: f"×{len(r.runs)}" if len(r.runs) > 1 else "", True),
    ("kind", lambda s, r: r.line.kind, True),
    ("in", lambda s, r: "×".join(map(str, r.line.row.input)), False),
    ("filters", lambda s, r: str(r.line.row.filters or ""), False),
    ("k", lambda s, r: by(r.line.row.kernel) if r.line.row.kernel else "", False),
    ("s", lambda s, r: by(r.line.row.stride) if r.line.row.stride else "", False),
    ("p", lambda s, r: (by(r.line.row.pad) if r.line.row.pad else "") + ("c" if r.line.row.ceil else ""), False),
    ("g", lambda s, r: str(r.line.row.groups) if r.line.row.groups > 1 else "", False),
    ("out", lambda s, r: "×".join(map(str, r.line.row.output)), False),
    ("KB", lambda s, r: number(kb(r.line.memory)), False),
    ("k params", lambda s, r: number(r.line.params / 1e3), False),
    ("MMAC", lambda s, r: number(r.line.row.macs / 1e6), False),
    ("M pool", lambda s, r: number(r.line.row.pool_ops / 1e6), False),
    ("RF", _field("size"), False),
    ("jump", _field("jump"), False),
    ("% MAC", _share, False),
)
TIMED: tuple[tuple[str, Cell, bool], ...] = (
    ("ms", lambda s, r: f"{sum(map(s.ms, r.runs)) / len(r.runs):.3f}", False),
    ("bound", lambda s, r: f"{sum(map(s.bound_ms, r.runs)) / len(r.runs):.3f}", False),
    ("gap ×", _gap, False),
)


def text(sheet: Sheet) -> str:
    """The table, its totals, the peaks and the remarks."""
    columns = COLUMNS + (TIMED if sheet.times else ())
    shown = rows(collapse(sheet.lines))
    body = [[cell(sheet, row) for _, cell, _ in columns] for row in shown]
    total = totals(sheet)
    table = [[name for name, _, _ in columns], *body, [total.get(name, "") for name, _, _ in columns]]
    keep = [i for i in range(len(columns)) if any(row[i] for row in table[1:])]
    left = {i for i, (_, _, is_text) in enumerate(columns) if is_text}
    widths = {i: max(len(row[i]) for row in table) for i in keep}
    printed = [
        "  ".join(row[i].ljust(widths[i]) if i in left else row[i].rjust(widths[i]) for i in keep).rstrip()
        for row in table
    ]
    rule = "─" * max(map(len, printed))
    head = f"{sheet.cost.name} at {', '.join('×'.join(map(str, shape)) for shape in sheet.cost.shapes)}"
    return "\n".join([head, *sheet.facts, "", printed[0], rule, *printed[1:-1], rule, printed[-1], "", *summary(sheet)])


def totals(sheet: Sheet) -> dict[str, str]:
    found = {
        "layer": "total",
        "KB": number(kb(sheet.memory)),
        "k params": number(sum(line.params for line in sheet.lines) / 1e3),
        "MMAC": number(sheet.cost.macs / 1e6),
        "M pool": number(sheet.cost.pool_ops / 1e6),
        "% MAC": "100.0" if sheet.cost.macs else "",
    }
    if sheet.times:
        bound = sum(map(sheet.bound_ms, sheet.lines))
        ms = sum(map(sheet.ms, sheet.lines))
        found |= {"ms": f"{ms:.3f}", "bound": f"{bound:.3f}", "gap ×": f"{ms / bound:.1f}" if bound else ""}
    return found


def summary(sheet: Sheet) -> list[str]:
    """The lines under the table."""
    cost = sheet.cost
    said = [f"parameters   {cost.params:,}"]
    if cost.unread:
        names = ", ".join(f"{name} {n:,}" for name, n in cost.unread)
        said.append(f"  not read   {sum(n for _, n in cost.unread):,}: no operation uses {names}")
    said.append(
        f"MACs         {cost.macs:,}; pool operations {cost.pool_ops:,}; together {cost.macs + cost.pool_ops:,}"
    )
    said.append(f"memory       {kb(sheet.memory):,.1f} KB = {kb(sheet.memory) / KB:,.2f} MB, by the convention below")
    said.append(f"peak         {mb(sheet.inference_bytes)} of activations for inference, at {sheet.inference_at}")
    if sheet.training_bytes is not None:
        said.append(f"             {mb(sheet.training_bytes)} kept for the backward pass in training")
    if sheet.times:
        t = sheet.times
        said.append(
            f"time         {t.whole_ms:.2f} ms a pass, median of {t.n}, {t.peak.threads} threads, {t.peak.device}; "
            f"at best here {t.peak.macs_per_s / 1e9:.1f} GMAC/s and {t.peak.bytes_per_s / 1e9:.1f} GB/s; "
            "gap: time over that bound"
        )
    return [*said, "", *sheet.remarks()]


def mb(memory_bytes: float) -> str:
    return f"{memory_bytes / KB / KB:,.2f} MB"


def _short(name: str) -> str:
    half = PATH // 2
    return name if len(name) <= PATH else f"{name[: half - 1]}…{name[-half:]}"


def records(sheet: Sheet) -> list[dict[str, Any]]:
    """Every line, exact."""
    found = []
    for line in sheet.lines:
        row = line.row
        record = {
            "path": row.path,
            "kind": line.kind,
            "input": list(row.input),
            "filters": row.filters or None,
            "kernel": list(row.kernel),
            "stride": list(row.stride),
            "pad": list(row.pad),
            "groups": row.groups,
            "rounds_up": row.ceil,
            "output": list(row.output),
            "memory_bytes": line.memory,
            "params": line.params,
            "macs": row.macs,
            "pool_ops": row.pool_ops,
            "field_px": [None if r is None else r.size for r in row.field],
            "jump_px": [None if r is None else r.jump for r in row.field],
            "share_of_macs": row.macs / sheet.cost.macs if sheet.cost.macs else None,
            "share_of_params": line.params / sheet.cost.params if sheet.cost.params else None,
            "share_of_memory": line.memory / sheet.memory if sheet.memory else None,
        }
        if sheet.times:
            record |= {"ms": sheet.ms(line), "bound_ms": sheet.bound_ms(line)}
        found.append(record)
    return found


CSV_HEAD = "net,path,kind,"  # what the CSV begins with


def as_csv(sheets: Sequence[Sheet]) -> str:
    """One record a line of every sheet; (64, 56, 56) is written 64x56x56, all of the picture as "all"."""
    file = io.StringIO()
    writer = None
    for sheet in sheets:
        for record in records(sheet):
            flat = {"net": sheet.cost.name} | {key: _flat(value) for key, value in record.items()}
            if writer is None:
                writer = csv.DictWriter(file, list(flat), lineterminator="\n")
                writer.writeheader()
            writer.writerow(flat)
    return file.getvalue()


def _flat(value: Any) -> Any:
    if isinstance(value, list):
        return "x".join("all" if v is None else f"{v:g}" for v in value)
    return int(value) if isinstance(value, bool) else value


def as_json(sheet: Sheet) -> dict[str, Any]:
    """Everything on the sheet, for json.dumps."""
    found = {
        "net": sheet.cost.name,
        "inputs": [list(shape) for shape in sheet.cost.shapes],
        "convention": sheet.convention.name,
        "params": sheet.cost.params,
        "macs": sheet.cost.macs,
        "pool_ops": sheet.cost.pool_ops,
        "memory_bytes": sheet.memory,
        "peak_inference_bytes": sheet.inference_bytes,
        "peak_training_bytes": sheet.training_bytes,
        "unread": dict(sheet.cost.unread),
        "facts": list(sheet.facts),
        "remarks": sheet.remarks(),
        "layers": records(sheet),
    }
    if sheet.times:
        found["time"] = {
            "whole_ms": sheet.times.whole_ms,
            "n": sheet.times.n,
            "threads": sheet.times.peak.threads,
            "device": sheet.times.peak.device,
            "macs_per_s": sheet.times.peak.macs_per_s,
            "bytes_per_s": sheet.times.peak.bytes_per_s,
        }
    return found
