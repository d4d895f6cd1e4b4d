"""`lineside forget`: old and acknowledged goes; the chain still fits; what waits for a consumer stays."""

from datetime import UTC, datetime, timedelta

import pytest

from lineside.cli.main import main
from lineside.store import outbox, retention
from lineside.store.audit import audit
from lineside.store.history import Question, history
from lineside.store.open import open_store, reading
from lineside.store.outbox import Box
from lineside.store.retention import forget
from tests.store.rows import WHEN, a_run, event, inspection, record

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 4)
    engine = open_store(tmp_path / "line.db")
    yield engine
    engine.dispose()


def left(store):
    return [one.inspection.sequence for one in history(store, Question())]


def test_old_ones_go_and_the_chain_still_fits(store):
    record(store, [inspection(n) for n in range(1, 31)])
    whole = audit(store)
    assert forget(store, WHEN + timedelta(seconds=11), NOW).inspections == 10
    assert left(store) == list(range(11, 31))
    found = audit(store)
    assert (found.inspections, found.deleted, found.broken, found.hash) == (20, 10, None, whole.hash)
    assert forget(store, WHEN + timedelta(seconds=16), NOW).inspections == 5
    assert audit(store).deleted == 15


def test_the_chain_goes_on_when_all_were_forgotten(store):
    record(store, [inspection(n) for n in range(1, 4)])
    assert forget(store, NOW, NOW).inspections == 3
    assert audit(store).broken is None
    record(store, [inspection(n, "b" * 32) for n in (1, 2)], run=a_run("b" * 32))
    found = audit(store)
    assert (found.inspections, found.place, found.deleted, found.broken) == (2, 5, 3, None)


def test_what_is_not_acknowledged_stays_and_so_does_all_after_it(store):
    record(store, [inspection(n) for n in range(1, 11)], boxes=[Box("mqtt://b/t", 100)])
    with store.begin() as connection:
        outbox.close(connection, "mqtt://b/t", [1, 2, 3, 5, 6], NOW)
    found = forget(store, NOW, NOW)
    assert (found.inspections, found.waiting) == (3, 7)
    assert left(store) == list(range(4, 11))
    with reading(store) as connection:
        assert outbox.pending(connection, "mqtt://b/t").count == 5
    assert audit(store).broken is None


def test_events_go_with_the_inspections_around_them(store):
    record(store, [inspection(1), event(2), inspection(3), event(4), inspection(5)], boxes=[Box("m", 9, events=True)])
    with store.begin() as connection:
        outbox.close(connection, "m", [1, 2, 3], NOW)
    found = forget(store, NOW, NOW)
    assert (found.inspections, found.events, found.waiting) == (2, 1, 1)  # the event that is open holds back the fifth
    assert (audit(store).events, audit(store).deleted, audit(store).broken) == (1, 2, None)
    with store.begin() as connection:
        outbox.close(connection, "m", [4, 5], NOW)
    assert forget(store, WHEN + timedelta(seconds=4), NOW).events == 0  # too young
    assert forget(store, WHEN + timedelta(seconds=5), NOW).events == 1
    assert left(store) == [5]


def test_numbers_of_an_outbox_never_come_again(store):
    record(store, [inspection(1)], boxes=[Box("mqtt://b/t", 100)])
    with store.begin() as connection:
        outbox.close(connection, "mqtt://b/t", [1], NOW)
    forget(store, NOW, NOW)
    record(store, [inspection(1, "b" * 32)], run=a_run("b" * 32), boxes=[Box("mqtt://b/t", 100)])
    with reading(store) as connection:
        assert [letter.number for letter in outbox.page(connection, "mqtt://b/t", 10)] == [2]


def test_the_command(store, capsys):
    record(store, [inspection(n) for n in range(1, 4)])
    path = store.url.database
    assert main(["forget", path, "--before", "2026-11-22T13:00:03Z"]) == 0
    assert "2 inspections and 0 events from before 2026-11-22 13:00 UTC are deleted" in capsys.readouterr().out
    assert main(["verify", "--store", path]) == 0
    assert "2 before them were deleted by retention" in capsys.readouterr().out
    assert main(["forget", path, "--before", "soon"]) == 2


def test_nothing_is_old_enough(store):
    record(store, [inspection(1)])
    assert forget(store, WHEN, NOW).inspections == 0
    assert audit(store).deleted == 0
