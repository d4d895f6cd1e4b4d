"""Sinks: the same inspections told by each, csv on odd texts and odd files."""

import csv
import errno
import importlib
import inspect
import io
import json
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from lineside.bundle.folder import open_bundle
from lineside.errors import BundleError, LineError, SettingsError
from lineside.line.sink.catalog import DURABLE, SINKS, open_sink
from lineside.line.sink.durable import Durable
from lineside.line.sink.sink import COLUMNS
from lineside.store.records import Inspection
from tests.line.tiny import write_bundle

WHEN = datetime(2026, 11, 22, 14, 0, 0, 5000, tzinfo=timezone(timedelta(hours=1)))


def inspection(sequence=1, **changed) -> Inspection:
    given = {
        "id": f"{sequence:032x}",
        "run_id": "r" * 32,
        "sequence": sequence,
        "part_id": f"{sequence:06d}",
        "name": "good/1.png",
        "sha256": "ab" * 32,
        "label": "good",
        "score": 0.9,
        "scores": {"bad": 0.1, "good": 0.9},
        "margin": -2.197,
        "verdict": "accept",
        "reason": "decided",
        "detail": "",
        "truth": None,
        "captured": WHEN,
        "decided": WHEN,
        "decode_ms": 0.1,
        "infer_ms": 2.0,
        "decide_ms": 0.01,
        "total_ms": 2.5,
    }
    return Inspection(**(given | changed))


@pytest.mark.parametrize("scheme", SINKS)
def test_every_sink_is_there(scheme):
    assert SINKS[scheme] == f"lineside.line.sink.{scheme}"
    made = inspect.signature(importlib.import_module(SINKS[scheme]).connect).return_annotation
    assert (scheme in DURABLE) == (made is Durable)


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def test_csv_round_trip_and_append(tmp_path):
    path = tmp_path / "r.csv"
    for sequence in (1, 2):
        sink = open_sink(f"csv:{path}")
        sink.tell([inspection(sequence)])
        sink.close()
    first, second = rows(path)
    assert list(first) == list(COLUMNS)
    assert (first["sequence"], second["sequence"]) == ("1", "2")
    assert (first["margin"], first["truth"], first["captured"]) == ("-2.197", "", "2026-11-22T13:00:00.005000Z")
    assert json.loads(first["scores"]) == {"bad": 0.1, "good": 0.9}


def test_csv_is_rfc_4180_and_runs_no_formula(tmp_path):
    path = tmp_path / "r.csv"
    odd = ["a,b", 'a "b"', "a\nb", "=1+1", "+1", "-1", "@x", "\tx", "ä€😀", "'x"]
    sink = open_sink(f"csv:{path}")
    sink.tell([inspection(n, name=name) for n, name in enumerate(odd, 1)])
    sink.close()
    data = path.read_bytes()
    assert data.endswith(b"\r\n")
    assert re.sub(rb'"[^"]*"', b"", data).count(b"\n") == data.count(b"\r\n") == len(odd) + 1
    assert [row["name"] for row in rows(path)] == [
        "a,b",
        'a "b"',
        "a\nb",
        "'=1+1",
        "'+1",
        "'-1",
        "'@x",
        "'\tx",
        "ä€😀",
        "'x",
    ]
    assert rows(path)[0]["margin"] == "-2.197"  # a number is a number


@pytest.mark.parametrize(
    ("before", "says"),
    [
        ("a,b\r\n", "has another header than Lineside's results; name a new file"),
        (",".join(COLUMNS) + "\r\n1,2,3", "ends in the middle of a row"),
        ("x", "has another header"),
    ],
)
def test_csv_leaves_a_strange_file_alone(tmp_path, before, says):
    path = tmp_path / "r.csv"
    path.write_bytes(before.encode())
    with pytest.raises(LineError, match=says):
        open_sink(f"csv:{path}")
    assert path.read_bytes() == before.encode()


def test_csv_is_written_by_one_line_only(tmp_path):
    sink = open_sink(f"csv:{tmp_path}/r.csv")
    with pytest.raises(LineError, match="another line writes to this file; give each line its own"):
        open_sink(f"csv:{tmp_path}/r.csv")
    sink.close()
    open_sink(f"csv:{tmp_path}/r.csv").close()


def test_csv_that_can_not_be_written(tmp_path):
    with pytest.raises(LineError, match="can not be opened"):
        open_sink(f"csv:{tmp_path}/no/r.csv")
    with pytest.raises(LineError, match=r"csv:/dev/full: can not be written \(No space left on device\)"):
        open_sink("csv:/dev/full")


def test_stdout_is_one_json_object_a_line(capsys):
    sink = open_sink("stdout:")
    sink.tell([inspection(1, name="a\nb"), inspection(2, margin=None, score=None)])
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert list(first) == list(COLUMNS)
    assert (first["name"], first["decided"]) == ("a\nb", "2026-11-22T13:00:00.005000Z")
    assert second["margin"] is None


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (BrokenPipeError(), "stdout: nobody reads any more; every result is in the store"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            r"stdout: can not be written \(No space left on device\); every result is in the store; free space",
        ),
    ],
)
def test_stdout_that_takes_no_more(monkeypatch, tmp_path, error, says):
    class Gone(io.StringIO):
        def flush(self):
            raise error

        def fileno(self):
            return spare.fileno()

    with (tmp_path / "spare").open("w") as spare:
        monkeypatch.setattr("sys.stdout", Gone())
        with pytest.raises(LineError, match=says):
            open_sink("stdout:").tell([inspection()])


def test_no_sink_writes_into_the_bundle(tmp_path):
    bundle = write_bundle(tmp_path / "tiny.bundle")
    (tmp_path / "link").symlink_to(bundle)
    for folder in (bundle, tmp_path / "link", bundle / "samples"):
        with pytest.raises(BundleError, match=r"is inside the bundle .*, which holds only its own files"):
            open_sink(f"csv:{folder}/r.csv", bundle)
    open_bundle(bundle)
    open_sink(f"csv:{tmp_path}/r.csv", bundle).close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("csv:", r"'csv:': no path after the colon .*; expected csv:PATH"),
        ("cvs:x", r"did you mean csv:x\?"),
        ("stdout:x", "takes nothing after the colon; a file is csv:PATH"),
        ("results.csv", "a sink is written SCHEME:WHERE, such as csv:PATH"),
    ],
)
def test_wrong_urls_are_sentences(url, says):
    with pytest.raises(SettingsError, match=says):
        open_sink(url)


def test_times_are_told_in_utc():
    assert WHEN.astimezone(UTC).hour == 13
