"""`lineside history`: what was asked for, in order, as a table, JSON, CSV and Parquet."""

import csv
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from lineside.cli.main import main
from lineside.errors import SettingsError
from lineside.store import paging
from lineside.store.events import events
from lineside.store.history import Question, history, moment
from lineside.store.lines import names
from lineside.store.open import open_store
from tests.store.rows import WHEN, a_run, event, inspection, record

NOW = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)


@pytest.fixture
def path(tmp_path):
    engine = open_store(tmp_path / "line.db")
    verdicts = {0: "accept", 1: "hold", 2: "reject"}
    record(engine, [inspection(n, verdict=verdicts[n % 3], detail="=1+1" if n == 3 else "") for n in range(1, 31)])
    engine.dispose()
    return tmp_path / "line.db"


def asked(path, **question):
    engine = open_store(path)
    found = [one.inspection.sequence for one in history(engine, Question(**question))]
    engine.dispose()
    return found


def test_questions(path):
    assert asked(path) == list(range(1, 31))
    assert asked(path, verdict="reject") == list(range(2, 31, 3))
    assert asked(path, part="7") == [7]
    assert asked(path, limit=3) == [28, 29, 30]
    assert asked(path, verdict="hold", limit=2) == [25, 28]
    assert asked(path, since=WHEN + timedelta(seconds=28)) == [28, 29, 30]


def test_several_lines_in_one_store(each_store):
    """A run of a version that did not store its line's name has none."""
    for n, name in enumerate(("press-3", "press-4", None)):
        id = "abc"[n] * 32
        settings = {"deadline_ms": 50} | ({} if name is None else {"line": name})
        told = [inspection(1, id), event(n + 1, run_id=id)]
        record(each_store, told, run=replace(a_run(id), settings=settings))
    assert names(each_store) == ["press-3", "press-4"]
    assert [one.line for one in history(each_store, Question())] == ["press-3", "press-4", None]
    assert [one.inspection.run_id for one in history(each_store, Question(line="press-4"))] == ["b" * 32]
    assert [one.run_id for one in events(each_store, line="press-3")] == ["a" * 32]


def test_the_line_stands_in_the_table_where_there_are_several(path, capsys):
    def said(*flags):
        assert main(["history", str(path), "--limit", "2", *flags]) == 0
        return capsys.readouterr().out.splitlines()

    engine = open_store(path)
    for n, name in enumerate(("press-3", "press-4")):
        id = "ab"[n] * 32
        record(engine, [inspection(1, id)], run=replace(a_run(id), settings={"line": name}))
        if name == "press-3":
            assert not any("press-3" in row for row in said())
    engine.dispose()
    assert ["press-3" in row for row in said()] == [True, False]
    assert [json.loads(row)["line"] for row in said("--json")] == ["press-3", "press-4"]
    assert len(said("--line", "press-4")) == 1
    assert main(["history", str(path), "--line", "press-5"]) == 2
    assert "no such line has written here; there are: press-3, press-4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-22", datetime(2026, 11, 22, tzinfo=UTC)),
        ("2026-11-22T14:00+01:00", NOW),
        ("30m", NOW - timedelta(minutes=30)),
        ("12h", NOW - timedelta(hours=12)),
        ("7d", NOW - timedelta(days=7)),
    ],
)
def test_since(text, time):
    assert moment(text, NOW) == time


def test_since_that_is_no_time():
    with pytest.raises(SettingsError, match="--since yesterday: expected a time such as"):
        moment("yesterday", NOW)


def test_table_and_json(path, capsys):
    assert main(["history", str(path), "--limit", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2:5] for line in lines] == [["29", "reject", "decided"], ["30", "accept", "decided"]]
    assert main(["history", str(path), "--json", "--part", "5"]) == 0
    assert json.loads(capsys.readouterr().out)["sequence"] == 5


def test_a_name_neither_steers_the_terminal_nor_tears_a_line(tmp_path, capsys):
    evil = "\x1b[31mbad\x07\nrow\u202e"
    engine = open_store(tmp_path / "line.db")
    told = [inspection(1, label=evil, part_id=evil, detail=evil), event(1, who=evil, subject=evil, detail={evil: evil})]
    record(engine, told)
    engine.dispose()
    for flags in ([], ["--events", "all"]):
        assert main(["history", str(tmp_path / "line.db"), *flags]) == 0
        (line,) = capsys.readouterr().out.splitlines()
        assert line.isprintable()
        assert r"\x1b[31mbad\x07\nrow\u202e" in line  # a name, as it is
        assert r"\x1b[31mbad\x07 row\u202e" in line  # words: of several lines one
    assert main(["history", str(tmp_path / "line.db"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["label"] == evil
    assert main(["history", str(tmp_path / "line.db"), "--csv", str(tmp_path / "a.csv")]) == 0
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        assert next(csv.DictReader(file))["label"] == evil


def test_csv_and_parquet_hold_the_same(path, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install 'lineside[parquet]'")
    assert main(["history", str(path), "--csv", str(tmp_path / "a.csv")]) == 0
    assert main(["history", str(path), "--parquet", str(tmp_path / "a.parquet")]) == 0
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert [row["id"] for row in rows] == [row["id"] for row in found]
    assert (rows[2]["detail"], found[2]["detail"]) == ("'=1+1", "=1+1")
    assert found[0]["decided"] == WHEN + timedelta(seconds=1)
    assert found[0]["decide_ms"] is None
    assert json.loads(found[0]["scores"]) == {"bad": 0.1, "good": 0.9}


def test_a_file_that_is_there_is_left_alone(path, tmp_path, capsys):
    (tmp_path / "a.csv").write_text("mine")
    assert main(["history", str(path), "--csv", str(tmp_path / "a.csv")]) == 2
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "a.csv").read_text() == "mine"


@pytest.mark.parametrize("limit", [None, 25])
def test_it_is_read_in_pages_and_holds_no_transaction_between_them(path, monkeypatch, limit):
    """What a line writes meanwhile is not waited for, and its write-ahead log can be emptied: nobody holds it."""
    monkeypatch.setattr(paging, "PAGE", 4)
    engine = open_store(path)
    found = history(engine, Question(limit=limit))
    first = next(found).inspection.sequence
    record(engine, [inspection(n, "s" * 32) for n in range(31, 60)], run=a_run("s" * 32))
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    assert [first, *(one.inspection.sequence for one in found)] == list(range(31 - (limit or 30), 31))
    engine.dispose()


@pytest.mark.parametrize(
    ("flags", "says"),
    [((), "no inspections\n"), (("--json",), "no inspections\n"), (("--events", "all"), "no events\n")],
)
def test_a_store_without_anything_says_so(tmp_path, capsys, flags, says):
    open_store(tmp_path / "new.db").dispose()
    assert main(["history", str(tmp_path / "new.db"), *flags]) == 0
    assert capsys.readouterr() == ("", says)
