"""What the store holds, for others: as CSV, Parquet, JSON lines, or a table for a shell.

Inspections have the columns of every sink and five more, the last word of a person and the line; events have their own.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from lineside.errors import MissingExtra, SettingsError
from lineside.line.sink.csv import field, line
from lineside.line.sink.sink import COLUMNS, EVENT_COLUMNS, scalar
from lineside.store.history import Found
from lineside.store.records import Event
from lineside.terminal import shown

GROUP = 10_000  # rows of a Parquet row group: what is in memory at once
INSPECTIONS = (*COLUMNS, "override", "override_who", "override_why", "override_at", "line")
EVENTS = EVENT_COLUMNS
FLOATS = ("score", "margin", "decode_ms", "infer_ms", "decide_ms", "total_ms")
TIMES = ("captured", "decided", "override_at", "at")
Row = dict[str, Any]  # by column


def inspection(found: Found) -> Row:
    """By INSPECTIONS."""
    said = found.override
    word = (said.detail["verdict"], said.who, said.detail["why"], said.at) if said else (None,) * 4
    own = (getattr(found.inspection, column) for column in COLUMNS)
    return dict(zip(INSPECTIONS, (*own, *word, found.line), strict=True))


def event(one: Event) -> Row:
    """By EVENTS."""
    return {column: getattr(one, column) for column in EVENTS}


def write_csv(rows: Iterable[Row], columns: tuple[str, ...], path: Path) -> int:
    """How many rows were written; the file is whole or not there. Texts as the csv: sink writes them."""

    def write(unfinished: Path) -> int:
        n = 0
        with unfinished.open("wb") as file:
            file.write(line(columns))
            for row in rows:
                file.write(line([field(scalar(value)) for value in row.values()]))
                n += 1
        return n

    return _whole(path, write)


def write_parquet(rows: Iterable[Row], columns: tuple[str, ...], path: Path) -> int:
    """The same columns; times as timestamps in UTC with microseconds, scores, views and detail as JSON text."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise MissingExtra("--parquet", "pyarrow", "parquet") from None
    kinds = {"sequence": pa.int64()}
    kinds |= dict.fromkeys(FLOATS, pa.float64()) | dict.fromkeys(TIMES, pa.timestamp("us", tz="UTC"))
    schema = pa.schema([(column, kinds.get(column, pa.string())) for column in columns])

    def plain(value: Any) -> Any:
        return json.dumps(value, allow_nan=False) if isinstance(value, dict | list) else value

    def write(unfinished: Path) -> int:
        n = 0
        with parquet.ParquetWriter(unfinished, schema, compression="zstd") as file:
            left: Iterator[Row] = iter(rows)
            while group := list(islice(left, GROUP)):
                file.write_table(pa.table({c: [plain(row[c]) for row in group] for c in columns}, schema=schema))
                n += len(group)
        return n

    return _whole(path, write)


def json_lines(rows: Iterable[Row]) -> Iterator[str]:
    for row in rows:
        yield json.dumps({column: scalar(value) for column, value in row.items()}, allow_nan=False)


def table(rows: Iterable[Row], lines: bool = False) -> Iterator[str]:
    """One row a part, for people; lines: with the name of each one's line."""
    for raw in rows:
        row = _shown(raw)
        margin = "" if row["margin"] is None else f"{row['margin']:+.2f}"
        said = f"{raw['override']} by {raw['override_who']}: {raw['override_why']}" if raw["override"] else ""
        rest = shown(" ".join(f"{raw['detail']} {said and '→ ' + said}".split()))  # a person's lines are one here
        whose = f"{row['line'] or '':<12} " if lines else ""
        yield (
            f"{_when(row['decided'])}  {whose}{row['part_id']:<14} {row['verdict']:<7} {row['reason']:<10} "
            f"{row['label'] or '':<12} {margin:>7}  {row['id']}  {rest}"
        ).rstrip()


def event_table(rows: Iterable[Row]) -> Iterator[str]:
    """One line an event, for people."""
    for raw in rows:
        row = _shown(raw)
        detail = ", ".join(f"{key} {value}" for key, value in row["detail"].items())
        said = shown(" ".join(f"{raw['who']}: {detail}".split()))
        yield f"{_when(row['at'])}  {row['kind']:<12} {row['subject']:<32}  {said}"


def _shown(row: Row) -> Row:
    """Names of parts and classes are foreign text: it must neither steer the terminal nor make a line of its own."""
    return {column: shown(value) if isinstance(value, str) else value for column, value in row.items()}


def _when(value: Any) -> str:
    return str(scalar(value))[:23].replace("T", " ")


def _whole(path: Path, write: Callable[[Path], int]) -> int:
    if path.exists():
        raise SettingsError(f"{path}: is there already; name a new file, or move it away")
    unfinished = path.with_name(f"{path.name}.part")
    try:
        n = write(unfinished)
        os.replace(unfinished, path)
    except OSError as error:
        raise SettingsError(f"{path}: can not be written ({error.strerror}); look at its folder and the disk") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return n
