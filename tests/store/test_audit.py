"""The hash chain: whatever is changed behind its back is named, and the first row of it."""

import re
import sqlite3

import pytest

from lineside.cli.main import main
from lineside.store.audit import audit
from lineside.store.chain import GENESIS, row_hash, run_hash
from lineside.store.open import open_store
from lineside.store.tables import EVENT, INSPECTION
from tests.store.rows import a_run, event, inspection, record


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "line.db"
    engine = open_store(path)
    for run in "ab":
        record(engine, [inspection(n, run * 32) for n in range(1, 31)], run=a_run(run * 32))
    engine.dispose()
    return path


def audited(path):
    engine = open_store(path)
    found = audit(engine)
    engine.dispose()
    return found


def change(path, *statements):
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_a_store_that_nobody_touched_fits(path, capsys):
    found = audited(path)
    assert (found.inspections, found.place, found.deleted, found.broken) == (60, 60, 0, None)
    assert main(["verify", "--store", str(path)]) == 0
    assert found.hash in capsys.readouterr().out


def test_the_hash_is_that_of_the_documentation(path):
    import hashlib
    import json

    connection = sqlite3.connect(path)
    (first,) = connection.execute("SELECT hash FROM chain WHERE place = 1").fetchone()
    connection.close()
    run = {"bundle": "nuts.bundle", "bundle_sha256": "ab" * 32, "id": "a" * 32, "lineside": "0.1.0",
           "settings": {"deadline_ms": 20.0}, "source": "nuts:",
           "started": "2026-11-22T13:00:00.123456+00:00"}  # fmt: skip
    row = {"id": inspection(1, "a" * 32).id, "run_id": "a" * 32, "sequence": 1, "part_id": "1", "name": "a\n'ä.png",
           "sha256": "ab" * 32, "label": "good", "score": 0.9, "scores": {"bad": 0.1, "good": 0.9}, "margin": 2.2,
           "verdict": "accept", "reason": "decided", "detail": "", "truth": None, "decode_ms": 0.1, "infer_ms": 2.0,
           "decide_ms": None, "total_ms": 2.5, "captured": "2026-11-22T13:00:00.123456+00:00",
           "decided": "2026-11-22T13:00:01.123456+00:00"}  # fmt: skip

    def digest(value):
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

    inner = hashlib.sha256(digest(run)).hexdigest()
    assert first == hashlib.sha256(f"{'0' * 64}\n{inner}\n".encode() + digest(row)).hexdigest()


@pytest.mark.parametrize("column", [c.name for c in INSPECTION.columns if c.name not in ("id", "run_id")])
def test_every_column_is_held(path, column):
    value = {"scores": "'{\"bad\": 0.2}'", "captured": "'2026-01-01 00:00:00.000000'", "decided":
             "'2026-01-01 00:00:00.000000'", "sequence": 99, "verdict": "'reject'"}.get(column, "0.125")  # fmt: skip
    id = inspection(7, "b" * 32).id
    change(path, f"UPDATE inspection SET {column} = {value} WHERE id = '{id}'")
    found = audited(path)
    assert found.inspections == 36
    assert found.broken is not None
    assert found.broken.startswith("row 37 (run " + "b" * 32)
    assert "does not fit its hash" in found.broken


@pytest.mark.parametrize(
    ("statements", "says"),
    [
        (["UPDATE run SET bundle_sha256 = 'x' WHERE id LIKE 'b%'"], "row 31 "),
        (["UPDATE chain SET hash = 'x' WHERE place = 5"], "row 5 "),
        (["DELETE FROM chain WHERE place = 5"], "row 5 is missing: after row 4 comes row 6"),
        (["DELETE FROM inspection WHERE sequence = 5 AND run_id LIKE 'a%'"], "row 5: its inspection .* is gone"),
        (["DELETE FROM chain WHERE place = 60"], "is in no row of the chain"),
        (["DELETE FROM chain WHERE place = 1", "DELETE FROM inspection WHERE sequence = 1 AND run_id LIKE 'a%'"],
         "row 1 is missing"),
        (["INSERT INTO inspection SELECT 'f' || substr(id, 2), run_id, 1000, part_id, name, sha256, label, score, "
          "scores, margin, verdict, reason, detail, truth, captured, decided, decode_ms, infer_ms, decide_ms, "
          "total_ms, product, views FROM inspection LIMIT 1"], "is in no row of the chain: it was put in by hand"),
        (["UPDATE chain SET place = 1000 WHERE place = 5", "UPDATE chain SET place = 5 WHERE place = 6",
          "UPDATE chain SET place = 6 WHERE place = 1000"], "row 5 "),
    ],
)  # fmt: skip
def test_rows_that_are_taken_out_put_in_or_exchanged_are_seen(path, statements, says, capsys):
    change(path, *statements)
    broken = audited(path).broken
    assert broken is not None
    assert re.search(says, broken)
    assert main(["verify", "--store", str(path)]) == 1
    assert "row" in capsys.readouterr().out


@pytest.fixture
def noted(tmp_path):
    """Inspection, event, inspection, event, and one more that belongs to no run."""
    path = tmp_path / "events.db"
    engine = open_store(path)
    events = [event(1), event(2, subject="x" * 32, detail={"margin": float("nan"), "of": [0.1]}), event(3, run_id=None)]
    record(engine, [inspection(1), events[0], inspection(2), *events[1:]])
    engine.dispose()
    return path


def test_events_are_in_the_chain_where_they_happened(noted, capsys):
    found = audited(noted)
    assert (found.inspections, found.events, found.place, found.broken) == (2, 3, 5, None)
    connection = sqlite3.connect(noted)
    places = connection.execute("SELECT inspection_id IS NULL FROM chain ORDER BY place").fetchall()
    connection.close()
    assert [event for (event,) in places] == [0, 1, 0, 1, 1]
    assert main(["verify", "--store", str(noted)]) == 0
    assert "2 inspections and 3 events fit; the last is row 5" in capsys.readouterr().out


@pytest.mark.parametrize("column", [c.name for c in EVENT.columns if c.name != "id"])
def test_every_column_of_an_event_is_held(noted, column):
    value = {"detail": "'{\"a\": 1}'", "at": "'2026-01-01 00:00:00.000000'", "run_id": "NULL"}.get(column, "'other'")
    change(noted, f"UPDATE event SET {column} = {value} WHERE id = '{event(2).id}'")
    found = audited(noted)
    assert found.place == 3
    assert found.broken is not None
    assert found.broken.startswith("row 4 (event ")
    assert "does not fit its hash" in found.broken


@pytest.mark.parametrize(
    ("statements", "says"),
    [
        (["UPDATE event SET run_id = 'r' WHERE run_id IS NULL"], r"row 5 \(event drift, .*: its run is gone"),
        ([f"DELETE FROM event WHERE id = '{'e' * 31}2'"], f"row 4: its event {'e' * 31}2 is gone"),
        ([f"DELETE FROM event WHERE id = '{'e' * 31}2'", "DELETE FROM chain WHERE place = 4"],
         "row 4 is missing: after row 3 comes row 5"),
        (["INSERT INTO event SELECT 'f' || substr(id, 2), run_id, at, kind, who, subject, detail FROM event LIMIT 1"],
         "the event fe+1 .* is in no row of the chain: it was put in by hand"),
        (["UPDATE chain SET event_id = NULL WHERE place = 4"], "row 4: points to nothing"),
        (["UPDATE chain SET event_id = 'x' WHERE place = 3"], "row 3: points to an inspection and an event at once"),
    ],
)  # fmt: skip
def test_events_that_are_taken_out_or_put_in_are_seen(noted, statements, says):
    change(noted, *statements)
    broken = audited(noted).broken
    assert broken is not None
    assert re.search(says, broken)


def test_what_a_chain_alone_can_not_show_is_shown_by_a_hash_held_elsewhere(path):
    """Whoever computes the rest of the chain anew is seen only by the last hash; that is what it is printed for."""
    before = audited(path).hash
    change(
        path, "DELETE FROM chain WHERE place = 60", "DELETE FROM inspection WHERE sequence = 30 AND run_id LIKE 'b%'"
    )
    after = audited(path)
    assert after.broken is None
    assert after.hash != before


def test_no_store_there(tmp_path, capsys):
    assert main(["verify", "--store", str(tmp_path / "no.db")]) == 6
    assert "there is no store here" in capsys.readouterr().err
    assert not (tmp_path / "no.db").exists()


def test_nan_and_infinity_are_null_and_fit(tmp_path):
    engine = open_store(tmp_path / "line.db")
    record(engine, [inspection(1, margin=float("nan")), inspection(2, score=float("inf"))])
    assert audit(engine).broken is None
    engine.dispose()


def test_the_chain_begins_with_zeros():
    assert GENESIS == "0" * 64
    assert len(row_hash(GENESIS, run_hash({**_fields()}), _row())) == 64


def _fields():
    from dataclasses import asdict

    return asdict(a_run())


def _row():
    from dataclasses import asdict

    return asdict(inspection(1))
