"""`lineside forget --sink`: for a consumer that will not come back nothing is kept, and the audit says who said so."""

import dataclasses
from datetime import timedelta

import pytest

from lineside.cli.main import main
from lineside.errors import LineError, SettingsError
from lineside.store import outbox
from lineside.store import release as release_module
from lineside.store.audit import audit
from lineside.store.events import events
from lineside.store.journal import Journal
from lineside.store.open import open_store, reading
from lineside.store.outbox import Box
from lineside.store.override import override
from lineside.store.records import Given
from lineside.store.release import deserted, release
from lineside.store.retention import forget
from lineside.store.takeover import take_over
from tests.store.rows import WHEN, a_run, event, inspection, record

OLD, NEW = "mqtt://old:8883/press", "mqtt://new:8883/press"
LATER = WHEN + timedelta(days=1)


@pytest.fixture
def store(each_store):
    """Three results and an event, told to two; the new one has acknowledged all."""
    record(
        each_store,
        [*(inspection(n) for n in (1, 2, 3)), event(4)],
        boxes=[Box(OLD, 99, events=True), Box(NEW, 99)],
    )
    with each_store.begin() as connection:
        outbox.close(connection, OLD, [1], WHEN)
        outbox.close(connection, NEW, [1, 2, 3], WHEN)
    return each_store


def let_go(engine, key=OLD, who="M. Ito", reason="scrapped"):
    return release(engine, key, who=who, reason=reason, at=LATER, new_id="f" * 32)


def waiting(engine):
    with reading(engine) as connection:
        return {key: found.count for key, found in outbox.waiting(connection).items()}


def test_nothing_waits_for_it_any_more_and_the_chain_says_who_and_why(store):
    assert forget(store, LATER, LATER).inspections == 1
    done = let_go(store)
    assert (done.results, done.events) == (2, 1)
    assert waiting(store) == {}
    *_, last = events(store)
    assert (last.kind, last.who, last.subject) == ("outbox", "M. Ito", OLD)
    assert last.detail == {"dropped": 3, "results": 2, "why": "scrapped"}
    assert audit(store).broken is None
    assert forget(store, LATER, LATER).inspections == 2


def test_a_persons_later_word_does_not_wait_for_it_either(store):
    let_go(store)
    done = override(store, inspection(2).id, "reject", who="a", reason="b", at=LATER, new_id="e" * 32)
    assert done.told == ()
    assert waiting(store) == {}


def test_a_line_that_names_it_again_goes_on_from_there(store):
    let_go(store)
    record(store, [inspection(1, "b" * 32)], run=a_run("b" * 32), boxes=[Box(OLD, 99)])
    with reading(store) as connection:
        (letter,) = outbox.page(connection, OLD, 10)
    assert (letter.number, letter.record.sequence) == (5, 1)


def test_one_that_a_line_sends_to_is_not_let_go(store):
    claim = outbox.claim(store, OLD)
    with pytest.raises(LineError, match="a line sends to it right now"):
        let_go(store)
    assert OLD not in deserted(store, [])
    claim.release()
    assert waiting(store) == {OLD: 3}
    assert {key: found.count for key, found in deserted(store, [NEW]).items()} == {OLD: 3}
    assert deserted(store, [OLD]) == {}


def test_who_and_why_are_asked_for_and_a_wrong_name_is_answered_with_the_right_ones(store):
    for wrong in ({"who": " "}, {"reason": ""}):
        with pytest.raises(SettingsError, match="is empty; to let a consumer go the audit needs it"):
            let_go(store, **wrong)
    with pytest.raises(SettingsError, match=f"has no outbox of this name; there are: {NEW}, {OLD}"):
        let_go(store, "mqtt://odl:8883/press")
    assert waiting(store) == {OLD: 3}


def test_as_a_command(tmp_path, capsys):
    path = str(tmp_path / "line.db")
    engine = open_store(path)
    record(engine, [inspection(1)], boxes=[Box(OLD, 99)])
    engine.dispose()
    assert main(["forget", path, "--sink", OLD]) == 2
    assert "--who: is empty" in capsys.readouterr().err
    assert main(["forget", path, "--before", "0h", "--who", "x"]) == 2
    assert "--who, --why: belong to --sink" in capsys.readouterr().err
    assert main(["forget", path, "--sink", OLD, "--who", "M. Ito", "--why", "scrapped"]) == 0
    assert "let go by M. Ito; 1 results and 0 events that waited for it are never sent" in capsys.readouterr().out


def test_a_second_time_there_is_nothing_to_let_go(store):
    let_go(store)
    with pytest.raises(SettingsError, match="nothing waits for it"):
        let_go(store)
    assert [one.kind for one in events(store)].count("outbox") == 1


def test_many_are_let_go_in_many_transactions(store, monkeypatch):
    monkeypatch.setattr(release_module, "BATCH", 2)
    done = let_go(store)
    assert (done.results, done.events) == (2, 1)
    assert waiting(store) == {}


def test_a_lock_that_can_not_be_opened_stops_no_line(store, monkeypatch):
    def of_another_user(engine, key):
        raise LineError("can not be opened (Permission denied)")

    monkeypatch.setattr(outbox, "claim", of_another_user)
    assert deserted(store, []) == {}


def test_what_a_killed_line_had_still_to_tell_does_not_bring_it_back(store, tmp_path):
    killed = Journal(tmp_path, store, "r" * 32, [Box(OLD, 99, events=True)], pytest.fail)
    late = inspection(9)
    killed.write(Given(**{field.name: getattr(late, field.name) for field in dataclasses.fields(Given)}))
    killed._file.close()  # as the kernel does it: the lock is gone, the file is not
    let_go(store)
    (sentence,) = take_over(store, tmp_path, LATER)
    assert "1 results and 0 events are taken over" in sentence
    assert waiting(store) == {}
