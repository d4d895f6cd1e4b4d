"""What was decided outlives its process: written before it is told, dropped when it is stored, else taken over."""

import dataclasses
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from lineside.cli.main import main
from lineside.store import journal as journals
from lineside.store.audit import audit
from lineside.store.events import events
from lineside.store.history import Question, history
from lineside.store.journal import Journal, left, memory
from lineside.store.open import open_store, where
from lineside.store.outbox import Box, close, page
from lineside.store.recorder import Recorder
from lineside.store.records import Given
from lineside.store.retention import forget
from lineside.store.tables import CHAIN
from lineside.store.takeover import take_over
from tests.store.rows import WHEN, a_run, event, inspection

BOX = Box("mqtt://b/t", 99, events=True)
ODD = {"product": "m8", "detail": "ä\n", "truth": "good", "total_ms": 0.25}


def given(n, **changed) -> Given:
    """What is remembered of rows.inspection(n)."""
    whole = inspection(n, **changed)
    return Given(**{field.name: getattr(whole, field.name) for field in dataclasses.fields(Given)})


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "shm"
    made.mkdir()
    return made


def killed(store, folder, records, committed=()) -> Path:
    """A run whose recorder committed some, and whose process died; its journal."""
    recorder = Recorder(store, a_run(), tell=lambda group: None, failed=pytest.fail, boxes=[BOX])
    for one in committed:
        recorder.put(lambda one=one: one)
    recorder.close(WHEN, 10.0)
    journal = Journal(folder, store, a_run().id, [BOX], pytest.fail)
    for one in records:
        journal.write(one)
    (path,) = folder.iterdir()
    journal._file.close()  # as the kernel does it: the lock is gone, the file is not
    return path


def acknowledged(store, count: int) -> None:
    with store.begin() as connection:
        close(connection, BOX.key, range(1, count + 1), WHEN)


def test_what_a_dead_line_left_is_stored_once_in_order_and_told(each_store, folder):
    store = each_store
    path = killed(store, folder, [given(2, **ODD), event(7), given(3)], committed=[inspection(1)])
    (sentence,) = take_over(store, folder, WHEN)
    assert sentence.endswith("2 results and 1 events are taken over from its journal")
    assert not path.exists()
    found = [one.inspection for one in history(store, Question())]
    assert found == [inspection(1), given(2, **ODD).inspection(), given(3).inspection()]
    assert (found[1].verdict, found[1].detail, found[1].score) == ("accept", "ä\n", None)
    with store.connect() as connection:
        letters = page(connection, BOX.key, 99)
    noted = list(events(store))
    assert [one.kind for one in noted] == ["drift", "recovered"]
    assert noted[1].detail == {"inspections": 2, "events": 1, "torn": 0}
    assert [one.record.id for one in letters] == [
        inspection(1).id, inspection(2).id, event(7).id, inspection(3).id, noted[1].id
    ]  # fmt: skip
    assert main(["verify", "--store", where(store)]) == 0
    assert take_over(store, folder, WHEN) == []


def test_what_was_deleted_is_not_brought_back(each_store, folder):
    """`lineside forget` before the next start: a killed line's journal holds what was stored, told and deleted."""
    store = each_store
    records = [given(1), event(1), given(2), given(3), event(2), given(4), event(3)]
    killed(store, folder, records, committed=[inspection(1), event(1), inspection(2), inspection(3), event(2)])
    acknowledged(store, 5)
    assert forget(store, WHEN + timedelta(seconds=3), WHEN).inspections == 2
    (sentence,) = take_over(store, folder, WHEN)
    assert "1 results and 1 events are taken over" in sentence
    assert sorted(one.inspection.sequence for one in history(store, Question())) == [3, 4]
    assert [one.id for one in events(store) if one.kind == "drift"] == [event(2).id, event(3).id]
    assert audit(store).broken is None


def test_where_all_was_deleted_only_what_came_later_is_taken_over(each_store, folder):
    store = each_store
    killed(store, folder, [given(2), given(3), event(2), given(4)], committed=[inspection(1), inspection(2), event(1)])
    acknowledged(store, 3)
    assert forget(store, WHEN + timedelta(days=1), WHEN).inspections == 2
    take_over(store, folder, WHEN)
    assert sorted(one.inspection.sequence for one in history(store, Question())) == [3, 4]
    assert [one.id for one in events(store) if one.kind == "drift"] == [event(2).id]


def test_a_torn_last_line_costs_no_other(store, folder):
    path = killed(store, folder, [given(1), given(2)])
    path.write_bytes(path.read_bytes()[:-20])
    take_over(store, folder, WHEN)
    assert [one.inspection.sequence for one in history(store, Question())] == [1]
    assert next(iter(events(store))).detail == {"inspections": 1, "events": 0, "torn": 1}


def test_a_line_that_is_alive_keeps_its_own(store, folder):
    Recorder(store, a_run(), tell=lambda group: None, failed=pytest.fail).close(WHEN, 10.0)
    journal = Journal(folder, store, a_run().id, [], pytest.fail)
    journal.write(given(1))
    assert take_over(store, folder, WHEN) == []
    assert len(list(folder.iterdir())) == 1
    journal.drop([inspection(1)])
    assert journal.close() == ""
    assert list(folder.iterdir()) == []


def test_what_is_stored_is_dropped_and_the_file_stays_small(store, folder, monkeypatch):
    monkeypatch.setattr(journals, "GROWN", 2_000)
    journal = Journal(folder, store, a_run().id, [], pytest.fail)
    for n in range(1, 101):
        journal.write(given(n))
        journal.drop([inspection(n - 3)])
        (path,) = folder.iterdir()
        assert path.stat().st_size < 6_000
    lines = path.read_bytes().splitlines()[1:]
    assert {json.loads(line)["given"]["sequence"] for line in lines} >= {98, 99, 100}
    assert journal.close() == str(path)
    (found,) = left(folder, store)
    assert [one.sequence for one in found.records][-3:] == [98, 99, 100]


def test_a_recorder_drops_what_it_has_committed(store, folder):
    recorder = Recorder(
        store, a_run(), tell=lambda group: None, failed=pytest.fail,
        journal=Journal(folder, store, a_run().id, [], pytest.fail),
    )  # fmt: skip
    recorder.remember(given(1))
    assert len(next(folder.iterdir()).read_bytes().splitlines()) == 2
    recorder.put(lambda: inspection(1))
    recorder.note(event(1))
    assert recorder.close(WHEN, 10.0) == ""
    assert list(folder.iterdir()) == []


def test_other_stores_other_users_and_links_are_left_alone(store, folder, tmp_path):
    path = killed(store, folder, [given(1)])
    other = open_store(tmp_path / "other.db")
    assert take_over(other, folder, WHEN) == []
    other.dispose()
    path.chmod(0o622)  # anybody could have written it
    assert take_over(store, folder, WHEN) == []
    path.chmod(0o600)
    aside = path.rename(tmp_path / "aside")
    path.symlink_to(aside)
    assert take_over(store, folder, WHEN) == []
    os.mkfifo(path.with_name(path.name.replace("r.journal", "s.journal")))
    assert take_over(store, folder, WHEN) == []
    with store.connect() as connection:
        assert connection.execute(select(CHAIN)).all() == []


def test_a_journal_of_a_run_that_the_store_does_not_know_stays_and_says_so(store, folder, tmp_path):
    path = killed(store, folder, [given(1)])
    (tmp_path / "line.db").unlink()
    anew = open_store(tmp_path / "line.db")
    (sentence,) = take_over(anew, folder, WHEN)
    anew.dispose()
    assert sentence == (
        f"{path}: a killed line's results are left there: they are of a run that this store does not know; move it away"
    )
    assert path.exists()


def test_where_it_can_not_be_written_the_line_goes_on_and_says_so_once(store, tmp_path):
    said = []
    journal = Journal(tmp_path / "nowhere", store, a_run().id, [], said.append)
    journal.write(given(1))
    journal.drop([inspection(1)])
    assert journal.close() == ""
    (sentence,) = said
    assert "the journal can not be written (No such file or directory): if the line were killed" in sentence


def test_a_disk_that_is_full_is_said_once(store, folder):
    """/dev/full stands for a tmpfs without space."""
    said = []
    journal = Journal(folder, store, a_run().id, [], said.append)
    journal._file.close()
    with Path("/dev/full").open("ab", buffering=0) as journal._file:
        journal.write(given(1))
        journal.write(given(2))
    assert len(said) == 1
    assert "No space left on device" in said[0]


@pytest.mark.parametrize("changed", [{}, ODD], ids=["plain", "odd"])
def test_what_is_written_is_what_is_read(store, folder, changed):
    killed(store, folder, [given(1, **changed), event(1)])
    (found,) = left(folder, store)
    first, second = found.records
    assert first == given(1, **changed).inspection()
    assert second == event(1)
    assert (found.run_id, found.boxes, found.torn) == (a_run().id, (BOX,), 0)


def test_lines_that_nobody_has_written_are_torn(store, folder):
    path = killed(store, folder, [given(1)])
    with path.open("ab") as file:
        file.write(b'[]\n{"given": {"id": "x"}}\n{"part": {}}\n\xff\n{}\nnull\n')
    (found,) = left(folder, store)
    assert (len(found.records), found.torn) == (1, 6)


def test_memory_is_the_service_managers_folder_or_shared_memory():
    assert memory({"RUNTIME_DIRECTORY": "/run/lineside/a:/run/other"}) == Path("/run/lineside/a")
    assert memory({}) == (Path("/dev/shm") if Path("/dev/shm").is_dir() else Path("/tmp"))


KILLED = """
import os, signal, sys
from pathlib import Path
from lineside.store.journal import Journal
from lineside.store.open import open_store, where
from lineside.store.recorder import Recorder
from lineside.store.records import Given
from lineside.store.retention import forget
from tests.store.test_journal import given
from tests.store.rows import a_run
store = open_store(Path(sys.argv[1]))
journal = Journal(Path(sys.argv[2]), store, a_run().id, [], print)
recorder = Recorder(store, a_run(), tell=lambda group: None, failed=print, journal=journal)
for n in range(1, 51):
    recorder.remember(given(n))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_kill_9(folder, tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "line.db", folder], cwd=Path(__file__).parents[2])
    assert done.returncode == -9
    engine = open_store(tmp_path / "line.db")
    take_over(engine, folder, WHEN)
    assert {one.inspection.sequence for one in history(engine, Question())} == set(range(1, 51))
    engine.dispose()
