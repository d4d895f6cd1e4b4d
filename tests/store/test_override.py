"""A person's word on a result: beside the machine's, in the chain, told to who was told of the result."""

import csv
import json
import re
import threading
from datetime import timedelta

import pytest

from lineside.cli.main import main
from lineside.errors import SettingsError
from lineside.evidence.drift import Alarm
from lineside.line import note
from lineside.line.courier import Courier
from lineside.line.sink.catalog import open_sink
from lineside.line.sink.message import message
from lineside.line.sink.signature import HEADER, verify
from lineside.store import outbox
from lineside.store.audit import audit
from lineside.store.events import events
from lineside.store.history import Question, history
from lineside.store.open import open_store, reading
from lineside.store.outbox import Box, Letter
from lineside.store.override import override
from tests.line.broker import Consumer, Mosquitto, needs_mosquitto, until
from tests.line.test_webhook import SECRET, Receiver
from tests.store.rows import WHEN, a_run, event, inspection, record

ID = inspection(2).id


@pytest.fixture
def store(each_store):
    """Three results; the second is a reject."""
    boxes = [Box("wants", 99, events=True), Box("does not", 99)]
    record(each_store, [inspection(n, verdict="reject" if n == 2 else "accept") for n in (1, 2, 3)], boxes=boxes)
    return each_store


def say(engine, verdict, id=ID, who="M. Ito", reason="within drawing", n=1):
    return override(engine, id, verdict, who=who, reason=reason, at=WHEN + timedelta(hours=n), new_id=f"{n:f>32x}")


def test_the_word_stands_beside_the_machines_verdict(store):
    done = say(store, "accept")
    assert (done.told, done.untold) == (("wants",), ("does not",))
    assert done.event.detail == {
        "verdict": "accept", "before": "reject", "machine": "reject", "why": "within drawing",
    }  # fmt: skip
    say(store, "hold", n=2, reason="measure it again")
    say(store, "reject", n=3, reason="it was the burr after all")
    found = list(history(store, Question()))
    assert [one.inspection.verdict for one in found] == ["accept", "reject", "accept"]
    assert [one.override and one.override.detail["verdict"] for one in found] == [None, "reject", None]
    assert [one.detail["before"] for one in events(store)] == ["reject", "accept", "hold"]
    assert [one.inspection.id for one in history(store, Question(overridden=True))] == [ID]
    assert [one.inspection.id for one in history(store, Question(limit=2))] == [ID, inspection(3).id]
    assert (audit(store).inspections, audit(store).events, audit(store).broken) == (3, 3, None)


def test_what_is_refused(store):
    for given, says in [
        ({"id": "0" * 32}, "no result in .* has this id"),
        ({"reason": " \n"}, "--why: is empty"),
        ({"who": ""}, "--who: is empty"),
        ({"verdict": "reject"}, r"is reject already \(by the machine\); nothing was written"),
    ]:
        with pytest.raises(SettingsError, match=says):
            say(store, **({"verdict": "accept"} | given))
    say(store, "accept")
    with pytest.raises(SettingsError, match=r"is accept already \(by M\. Ito, 2026-11-22 14:00 UTC\)"):
        say(store, "accept", n=2)
    assert len(list(events(store))) == 1


def test_of_two_persons_at_once_only_one_can_say_the_same(store):
    start, refused = threading.Barrier(4), []

    def one(n):
        start.wait()
        try:
            say(store, "accept", n=n)
        except SettingsError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=one, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 3
    assert (audit(store).events, audit(store).broken) == (1, None)


def test_an_outbox_holds_it_after_the_results(store):
    say(store, "accept")
    with reading(store) as connection:
        letters = outbox.page(connection, "wants", 9)
        assert [type(letter.record).__name__ for letter in letters] == ["Inspection"] * 3 + ["Event"]
        assert len(outbox.page(connection, "does not", 9)) == 3
    assert letters[3].run == letters[0].run
    assert letters[3].hash == audit(store).hash


def test_a_sink_that_wants_events_from_now_on(store):
    with store.begin() as connection:
        outbox.enlist(connection, Box("does not", 99, events=True))
    assert say(store, "accept").told == ("does not", "wants")


def test_only_who_was_told_of_the_result_is_told_of_the_word(store):
    record(store, [inspection(1, "b" * 32)], run=a_run("b" * 32), boxes=[Box("another line", 9, events=True)])
    assert say(store, "accept").told == ("wants",)


def test_the_commands(tmp_path, capsys):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'lineside[parquet]'")
    from pyarrow import parquet

    path = str(tmp_path / "line.db")
    engine = open_store(path)
    record(engine, [inspection(1), event(1, detail={"group": "side"})], boxes=[Box("mqtt://b/t", 9)])
    engine.dispose()
    id = inspection(1).id
    assert main(["history", path]) == 0
    assert id in capsys.readouterr().out
    assert main(["override", path, id, "reject", "--who", "QA", "--why", "scratch\nunder the head"]) == 0
    out = capsys.readouterr().out
    assert "accept → reject (the machine: accept), QA" in out
    assert "mqtt://b/t: knows the result and is NOT told" in out
    assert main(["override", path, id, "reject", "--who", "QA", "--why", "again"]) == 2
    assert "is reject already (by QA" in capsys.readouterr().err
    assert main(["history", path]) == 0
    assert re.search(r"1 +accept +decided .*→ reject by QA: scratch under the head$", capsys.readouterr().out.strip())
    assert main(["history", path, "--json", "--overridden"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["override"], found["override_who"]) == ("accept", "reject", "QA")
    assert main(["history", path, "--events", "all"]) == 0
    drift, word = capsys.readouterr().out.splitlines()
    assert "drift " in drift
    assert id in word
    assert main(["history", path, "--events", "override", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["detail"]["why"] == "scratch\nunder the head"
    assert main(["history", path, "--events", "all", "--csv", str(tmp_path / "e.csv")]) == 0
    assert main(["history", path, "--events", "all", "--parquet", str(tmp_path / "e.parquet")]) == 0
    with (tmp_path / "e.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    table = parquet.read_table(tmp_path / "e.parquet").to_pylist()
    assert [row["id"] for row in rows] == [row["id"] for row in table]
    assert json.loads(rows[0]["detail"]) == json.loads(table[0]["detail"]) == {"group": "side"}
    assert table[0]["at"] == event(1).at
    assert main(["history", path, "--parquet", str(tmp_path / "i.parquet")]) == 0
    (row,) = parquet.read_table(tmp_path / "i.parquet").to_pylist()
    assert (row["override"], row["override_at"].tzinfo is not None, row["views"]) == ("reject", True, None)
    assert main(["history", path, "--events", "all", "--part", "1"]) == 2
    assert main(["verify", "--store", path]) == 0


def test_the_message_of_an_event():
    found = message(Letter(7, event(1, subject=ID), a_run(), "ab"))
    assert (found["kind"], found["EventId"], "ResultMetaData" in found) == ("event", event(1).id, False)
    ours = found["lineside"]
    assert (ours["schema"], ours["number"], ours["hash"], ours["bundle"]) == (1, 7, "ab", "nuts.bundle")
    assert (ours["kind"], ours["subject"], ours["at"]) == ("drift", ID, "2026-11-22T13:00:01.123456Z")
    assert "bundle" not in message(Letter(7, event(1, run_id=None), None, "ab"))["lineside"]


def send(engine, sink):
    """What a running line does, until nothing waits."""
    courier = Courier(engine, sink, "who")
    courier.start()

    def empty():
        with reading(engine) as connection:
            return outbox.pending(connection, sink.key).count == 0

    until(empty)
    courier.close()
    return courier.sent()


@needs_mosquitto
def test_an_override_and_a_drift_alarm_reach_an_mqtt_consumer_in_order(tmp_path):
    broker = Mosquitto(tmp_path).start()
    consumer = Consumer(broker.port, "plant/3", events=True)
    engine = open_store(tmp_path / "line.db")
    sink = open_sink(f"mqtt://127.0.0.1:{broker.port}/plant/3?plain=true&anonymous=true&events=true")
    alarm = note.drift("r" * 32, WHEN, Alarm(1, "sharpness", False, 1, float("inf")), "top")
    record(engine, [inspection(1), alarm, inspection(2)], boxes=[Box(sink.key, 99, sink.events)])
    send(engine, sink)
    done = override(engine, ID, "hold", who="QA", reason="why not", at=WHEN, new_id="f" * 32)
    assert done.told == (sink.key,)
    sent = send(engine, sink)
    consumer.close()
    broker.stop()
    assert (sent.acknowledged, sent.strange) == (1, 0)
    assert [one["lineside"]["number"] for one in consumer.seen] == [1, 2, 3, 4]
    assert consumer.once == [inspection(1).id, alarm.id, ID, "f" * 32]
    told = consumer.seen[1]["lineside"]
    assert (told["kind"], told["detail"]["camera"], told["detail"]["evidence"]) == ("drift", "top", None)
    assert "drift: sharpness has become smaller than in calibrate" in told["detail"]["sentence"]
    assert consumer.seen[3]["lineside"]["detail"]["verdict"] == "hold"
    assert consumer.seen[3]["lineside"]["hash"] == audit(engine).hash
    engine.dispose()


def test_an_event_is_posted_under_its_own_key(tmp_path, monkeypatch):
    monkeypatch.setenv("LINESIDE_WEBHOOK_SECRET", SECRET.decode())
    engine = open_store(tmp_path / "line.db")
    with Receiver(answers=(204, 500, 204)) as receiver:
        sink = open_sink(f"webhook:http://127.0.0.1:{receiver.port}/results#events=true")
        record(engine, [inspection(1), event(1)], boxes=[Box(sink.key, 99, sink.events)])
        sent = send(engine, sink)
    engine.dispose()
    assert (sent.acknowledged, sent.again) == (2, 1)
    keys, bodies = zip(*((headers["Idempotency-Key"], body) for _, headers, body in receiver.requests), strict=True)
    assert keys == (inspection(1).id, event(1).id, event(1).id)
    assert bodies[1] == bodies[2]
    assert json.loads(bodies[1])["kind"] == "event"
    headers = receiver.requests[1][1]
    assert verify(SECRET, headers[HEADER], bodies[1], float(headers[HEADER].split("=")[1].split(",")[0]))
