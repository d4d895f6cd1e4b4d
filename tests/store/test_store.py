"""The store: what goes in comes out, in UTC; foreign and broken files are refused; the recorder keeps its promises."""

import shutil
import sqlite3
import subprocess
import sys
import threading
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from lineside.cli.main import main
from lineside.errors import LineError
from lineside.store import open as opening
from lineside.store import outbox
from lineside.store.audit import audit
from lineside.store.events import events
from lineside.store.open import default_store, open_store, reading
from lineside.store.recorder import Recorder
from lineside.store.records import Event, Inspection, Run
from lineside.store.tables import EVENT, INSPECTION, METADATA, RUN, VERSION
from tests.store.rows import WHEN, a_run, event, inspection, record

NOTHING_FORGOTTEN = {"forgotten": 0, "forgotten_event": None}  # the store's own note; no line gives it


def test_what_goes_in_comes_out(store):
    record(store, [inspection(1), inspection(2)])
    with store.begin() as connection:
        (run,) = connection.execute(select(RUN)).mappings()
        first, second = connection.execute(select(INSPECTION).order_by(INSPECTION.c.sequence)).mappings()
    assert dict(run) == asdict(a_run()) | {"ended": WHEN} | NOTHING_FORGOTTEN
    assert dict(first) == asdict(inspection(1))
    assert second["decide_ms"] is None
    assert (first["captured"].tzinfo, first["captured"]) == (UTC, WHEN)


def test_records_are_the_tables():
    assert [f.name for f in fields(Event)] == [c.name for c in EVENT.columns]
    assert [f.name for f in fields(Inspection)] == [c.name for c in INSPECTION.columns]
    assert {f.name for f in fields(Run)} == {c.name for c in RUN.columns} - set(NOTHING_FORGOTTEN)


def test_the_same_tables_in_postgresql():
    text = " ".join(str(CreateTable(table).compile(dialect=postgresql.dialect())) for table in METADATA.sorted_tables)
    assert "captured TIMESTAMP WITH TIME ZONE NOT NULL" in text
    assert "scores JSON" in text


def test_a_naive_time_is_refused(store):
    from sqlalchemy.exc import StatementError

    with pytest.raises(StatementError, match="has no time zone"), store.begin() as connection:
        connection.execute(insert(RUN), asdict(a_run()) | {"started": datetime(2026, 1, 1)})


def test_events_alone_are_stored_and_nothing_has_failed(store):
    """A line that waits for its first part, or is halted and waits for a person, notes nothing else."""
    failed = []
    recorder = Recorder(store, a_run(), tell=lambda group: None, failed=failed.append)
    recorder.note(event(1))
    recorder.close(WHEN, 10.0)
    assert (failed, recorder.error, recorder.events_lost) == ([], "", 0)


def test_an_inspection_is_stored_once(store):
    record(store, [inspection(1)])
    found = []
    again = record(store, [inspection(1)], failed=found.append, run=a_run("s" * 32))
    assert again.lost == 1
    assert "UNIQUE constraint failed" in again.error == found[0]


def test_the_disk_has_it_before_anyone_is_told(store):
    path = store.url.database
    seen = []

    def tell(group):
        connection = sqlite3.connect(path)  # another connection sees only what is committed
        seen.append(connection.execute("SELECT max(sequence) FROM inspection").fetchone()[0] - group[-1].sequence)
        connection.close()

    record(store, [inspection(n) for n in range(1, 200)], tell=tell)
    assert seen
    assert set(seen) == {0}


def test_commits_are_forced_to_the_disk(store):
    with store.begin() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"


def test_product_and_views_come_out_as_they_went_in(store):
    views = [{"camera": "top", "margin": float("inf"), "scores": {"good": 0.5}}, {"camera": "side", "margin": None}]
    record(store, [inspection(1, product="m8", views=views), inspection(2)])
    with store.begin() as connection:
        first, second = connection.execute(select(INSPECTION).order_by(INSPECTION.c.sequence)).mappings()
    assert (first["product"], first["views"]) == ("m8", [views[0] | {"margin": None}, views[1]])
    assert (second["product"], second["views"]) == (None, None)


def test_events_keep_their_place_among_inspections_and_reach_who_wants_them(store):
    told = []
    boxes = [outbox.Box("wants", 9, events=True), outbox.Box("does not", 9)]
    given = [event(1), inspection(1), event(2, run_id=None), inspection(2)]
    done = record(store, given, tell=told.extend, boxes=boxes)
    assert (done.committed, done.lost, done.events_lost) == (2, 0, 0)
    assert [one.sequence for one in told] == [1, 2]  # sinks that are told at once take results
    with store.begin() as connection:
        letters = outbox.page(connection, "wants", 9)
        assert [(letter.number, letter.record.id) for letter in letters] == [*enumerate((g.id for g in given), 1)]
        assert [letter.run and letter.run.id for letter in letters] == ["r" * 32, "r" * 32, None, "r" * 32]
        assert [letter.record for letter in outbox.page(connection, "wants", 3)] == given[:3]
        assert [letter.record.id for letter in outbox.page(connection, "does not", 9)] == [given[1].id, given[3].id]
        assert outbox.pending(connection, "wants").oldest == given[0].at
        outbox.close(connection, "wants", [1], WHEN)
        assert outbox.pending(connection, "wants").oldest == given[1].decided


def test_a_sink_that_wants_no_events_any_more_gets_the_results_behind_them(store):
    record(store, [event(1), inspection(1), event(2)], boxes=[outbox.Box("m", 9, events=True)])
    later = [inspection(1, "s" * 32), event(3, run_id="s" * 32)]
    boxes = [outbox.Box("m", 9), outbox.Box("other", 9, events=True)]
    assert record(store, later, run=a_run("s" * 32), boxes=boxes).error == ""
    with reading(store) as connection:
        letters = outbox.page(connection, "m", 9)
        assert [(letter.number, letter.record) for letter in letters] == [(2, inspection(1)), (4, later[0])]
        assert outbox.pending(connection, "m").count == 2
        word = outbox.page(connection, "other", 9)[0].record
    assert (word.run_id, word.kind, word.subject, word.detail) == ("s" * 32, "outbox", "m", {"dropped": 2})
    assert (audit(store).events, audit(store).broken) == (4, None)
    record(store, [], run=a_run("t" * 32), boxes=boxes)
    assert len(list(events(store, kind="outbox"))) == 1  # said once


def test_who_is_told_is_woken_for_an_event_alone(store):
    groups = []
    record(store, [event(1)], tell=groups.append)
    assert groups == [[]]


def test_an_event_that_can_not_be_stored_is_a_fault(store):
    record(store, [event(1)])
    found = []
    again = record(store, [event(1), event(2), inspection(1)], failed=found.append, run=a_run("s" * 32))
    assert (again.lost, again.events_lost) == (1, 2)
    assert "UNIQUE constraint failed: event.id" in again.error == found[0]


def test_room_is_given_back(store):
    recorder = Recorder(store, a_run(), tell=lambda group: None, failed=lambda sentence: None, room=3)
    assert [recorder.enter(0.01) for _ in range(4)] == [True, True, True, False]
    for n in (1, 2, 3):
        recorder.put(lambda n=n: inspection(n))
    assert all(recorder.enter(10) for _ in range(3))
    recorder.close(WHEN, 30)


def test_after_a_sink_has_failed_nobody_is_told_and_everything_is_stored(store):
    told, failures = [], []

    def tell(group):
        told.extend(group)
        raise LineError("mqtt: the broker does not answer")

    recorder = Recorder(store, a_run(), tell=tell, failed=failures.append)
    recorder.put(lambda: inspection(1))
    for _ in range(500):
        if failures:
            break
        threading.Event().wait(0.01)
    recorder.put(lambda: inspection(2))
    recorder.close(WHEN, 30)
    assert failures == ["mqtt: the broker does not answer"]
    assert [one.sequence for one in told] == [1]
    assert (recorder.committed, recorder.lost) == (2, 0)
    with store.begin() as connection:
        assert connection.execute(select(RUN.c.ended)).scalar_one() == WHEN


def test_a_hung_sink_is_told_at_the_end(store):
    release = threading.Event()
    recorder = Recorder(store, a_run(), tell=lambda group: release.wait(20), failed=lambda sentence: None)
    recorder.put(lambda: inspection(1))
    with pytest.raises(LineError, match="has not taken the last results within 0 s; 1 are stored"):
        recorder.close(WHEN, 0.3)
    release.set()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"x", "file is not a database: this is no SQLite file; move it away"),
        (b"not a database" * 100, "this is no SQLite file"),
    ],
)
def test_a_file_that_is_no_store_is_left_alone(tmp_path, content, says):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(LineError, match=says):
        open_store(path)
    assert path.read_bytes() == content


def test_another_programs_database_is_left_alone(tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(LineError, match="belongs to another program; name another file with --store FILE"):
        open_store(path)
    assert path.read_bytes() == before


def test_a_newer_store_is_refused(store, tmp_path):
    with sqlite3.connect(tmp_path / "line.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LineError, match=f"has version 99, this program knows {VERSION}; update it with"):
        open_store(tmp_path / "line.db")


def test_a_damaged_store_is_a_sentence(store, tmp_path):
    record(store, [inspection(n) for n in range(1, 60)])
    store.dispose()
    path = tmp_path / "line.db"
    data = path.read_bytes()
    path.write_bytes(data[:100] + b"\xff" * (len(data) - 100))
    with pytest.raises(LineError, match=r"line\.db: .*(damaged|name another)"):
        record(open_store(path), [inspection(60)])


def test_places_where_no_store_can_be(tmp_path):
    with pytest.raises(LineError, match=r"the folder .*/no does not exist; make it, or name another file"):
        open_store(tmp_path / "no" / "line.db")
    with pytest.raises(LineError, match=r"unable to open database file: .* in a writable folder, with --store FILE"):
        open_store(Path("/proc/line.db"))
    with pytest.raises(LineError, match="unable to open database file"):
        open_store(tmp_path)


def test_a_store_that_may_not_be_written(tmp_path):
    open_store(tmp_path / "line.db").dispose()
    engine = open_store(tmp_path / "line.db")

    from sqlalchemy import event

    @event.listens_for(engine, "begin")
    def _(connection):
        connection.exec_driver_sql("PRAGMA query_only = ON")

    with pytest.raises(LineError, match="attempt to write a readonly database: the store can not be written"):
        Recorder(engine, a_run(), tell=lambda group: None, failed=lambda sentence: None)
    engine.dispose()


def test_the_store_lies_beside_its_bundle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert default_store(Path("a/nuts.bundle")) == Path("a/nuts.bundle.db")
    assert default_store(Path("nuts.zip")) == Path("nuts.zip.db")
    assert default_store(Path()) == tmp_path.parent / f"{tmp_path.name}.db"


WRITER = """
import sys
from pathlib import Path
from tests.store.rows import a_run, inspection, record
from lineside.store.open import open_store
run = sys.argv[2] * 32
engine = open_store(Path(sys.argv[1]))
done = record(engine, [inspection(n, run) for n in range(1, 301)], run=a_run(run))
print(done.committed, done.lost, done.error)
"""


def test_two_processes_make_and_fill_one_store(tmp_path):
    root = Path(__file__).parents[2]
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "line.db"), name], stdout=subprocess.PIPE, text=True, cwd=root
        )
        for name in "ab"
    ]
    assert [job.communicate(timeout=50)[0].strip() for job in jobs] == ["300 0", "300 0"]
    connection = sqlite3.connect(tmp_path / "line.db")
    found = connection.execute("SELECT run_id, count(*), max(sequence) FROM inspection GROUP BY run_id").fetchall()
    connection.close()
    assert found == [("a" * 32, 300, 300), ("b" * 32, 300, 300)]


def test_a_store_held_by_another_program_is_a_sentence(store, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "BUSY_S", 0.2)
    engine = open_store(tmp_path / "line.db")
    holder = sqlite3.connect(tmp_path / "line.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LineError, match="database is locked: another program has held the store"):
        Recorder(engine, a_run(), tell=lambda group: None, failed=lambda sentence: None)
    holder.close()
    engine.dispose()


@pytest.fixture
def read_only(tmp_path):
    """A folder, and what makes it read-only."""
    place = tmp_path / "medium"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "none", place]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    yield place, lambda: subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    subprocess.run(["umount", "-l", place], check=True)


def numbers(path: Path) -> list[int]:
    store = open_store(path, make=False)
    with reading(store) as connection:
        found = [one.sequence for one in connection.execute(select(INSPECTION).order_by(INSPECTION.c.sequence))]
    store.dispose()
    return found


def test_a_store_on_a_read_only_medium_can_be_read_and_not_written(read_only, tmp_path, capsys):
    medium, freeze = read_only
    line = tmp_path / "line.db"
    store = open_store(line)
    record(store, [inspection(n) for n in (1, 2, 3)])
    for name, endings in {"torn": ("", "-wal"), "whole": ("", "-wal", "-shm")}.items():
        for ending in endings:
            (medium / f"{name}.db{ending}").write_bytes(Path(f"{line}{ending}").read_bytes())
    store.dispose()  # that puts all of it into the file
    alone, link = medium / "alone.db", tmp_path / "link.db"
    alone.write_bytes(line.read_bytes())
    link.symlink_to(medium / "torn.db")
    with sqlite3.connect(medium / "old.db") as old:
        old.execute(f"PRAGMA application_id = {opening.APPLICATION_ID}")
        old.execute("PRAGMA user_version = 2")
    old.close()
    freeze()
    assert numbers(alone) == numbers(medium / "whole.db") == [1, 2, 3]
    assert main(["verify", "--store", str(alone)]) == 0
    assert main(["history", str(alone)]) == 0
    assert capsys.readouterr().out.count("accept") == 3
    copy = open_store(alone, make=False)
    with pytest.raises(LineError, match=r"alone\.db: attempt to write a readonly database: the store can not"):
        record(copy, [inspection(4)], run=a_run("s" * 32))
    copy.dispose()
    for torn in (medium / "torn.db", link):
        with pytest.raises(LineError, match=r"torn\.db-wal holds results that are not in it yet"):
            open_store(torn, make=False)
    with pytest.raises(LineError, match=rf"has version 2, this program reads {VERSION}, .*copy it to another disk"):
        open_store(medium / "old.db", make=False)
