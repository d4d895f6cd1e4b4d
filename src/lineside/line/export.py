"""Inspections out of the store: as CSV (as the csv: sink writes it), Parquet, JSON lines, or a table for a shell."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from lineside.errors import MissingExtra, SettingsError
from lineside.line.sink.csv import field, line
from lineside.line.sink.sink import COLUMNS, written
from lineside.store.records import Inspection

GROUP = 10_000  # rows of a Parquet row group: what is in memory at once


def write_csv(inspections: Iterable[Inspection], path: Path) -> int:
    """How many rows were written; the file is whole or not there."""

    def write(unfinished: Path) -> int:
        n = 0
        with unfinished.open("wb") as file:
            file.write(line(COLUMNS))
            for one in inspections:
                file.write(line([field(value) for value in written(one).values()]))
                n += 1
        return n

    return _whole(path, write)


def write_parquet(inspections: Iterable[Inspection], path: Path) -> int:
    """The same columns; times as timestamps in UTC with microseconds, scores and views as JSON text."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise MissingExtra("--parquet", "pyarrow", "parquet") from None
    floats = ("score", "margin", "decode_ms", "infer_ms", "decide_ms", "total_ms")
    kinds = dict.fromkeys(COLUMNS, pa.string()) | dict.fromkeys(floats, pa.float64())
    kinds |= {"sequence": pa.int64()} | dict.fromkeys(("captured", "decided"), pa.timestamp("us", tz="UTC"))
    schema = pa.schema(list(kinds.items()))

    def plain(one: Inspection, name: str):
        value = getattr(one, name)
        return json.dumps(value, allow_nan=False) if isinstance(value, dict | list) else value

    def write(unfinished: Path) -> int:
        n = 0
        with parquet.ParquetWriter(unfinished, schema, compression="zstd") as file:
            rows: Iterator[Inspection] = iter(inspections)
            while group := list(islice(rows, GROUP)):
                columns = {name: [plain(one, name) for one in group] for name in COLUMNS}
                file.write_table(pa.table(columns, schema=schema))
                n += len(group)
        return n

    return _whole(path, write)


def json_lines(inspections: Iterable[Inspection]) -> Iterator[str]:
    return (json.dumps(written(one), allow_nan=False) for one in inspections)


def table(inspections: Iterable[Inspection]) -> Iterator[str]:
    """One line a part, for people."""
    for one in inspections:
        margin = "" if one.margin is None else f"{one.margin:+.2f}"
        when = written(one)["decided"][:23].replace("T", " ")
        detail = " ".join(one.detail.split())
        yield f"{when}  {one.part_id:<14} {one.verdict:<7} {one.reason:<10} {one.label or '':<12} {margin:>7}  {detail}"


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
