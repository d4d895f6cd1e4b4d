"""mqtt: against a real mosquitto: what is sent, who may send it, and what counts as an acknowledgement."""

import json
import ssl
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineside.errors import LineError, SettingsError
from lineside.line.books import run_row
from lineside.line.courier import Courier
from lineside.line.pace import Pace
from lineside.line.secret import read_secret
from lineside.line.sink import mqtt
from lineside.line.sink.acknowledgement import acknowledged_id
from lineside.line.sink.catalog import open_sink
from lineside.line.sink.durable import Durable
from lineside.line.sink.message import message, payload
from lineside.line.sink.plant import recipes
from lineside.line.source.frame import Frame, Source
from lineside.line.summary import text
from lineside.line.view import View
from lineside.store.outbox import Box, Letter
from tests.line.broker import Consumer, Mosquitto, needs_mosquitto, until
from tests.line.tiny import BLUE, GREY, RED, picture, run, stub
from tests.store.rows import a_run, event, inspection, record

ASKED = "plain=true&anonymous=true"


@pytest.fixture
def broker(tmp_path):
    broker = Mosquitto(tmp_path).start()
    yield broker
    broker.stop()


def source(*colors) -> Source:
    frames = [Frame(f"p{n}", n, f"{n}.png", picture=picture(c)) for n, c in enumerate(colors, 1)]
    return Source("mem:", iter(frames), len(frames))


def sink(broker, options="", topic="plant/3") -> Durable:
    found = open_sink(f"mqtt://127.0.0.1:{broker.port}/{topic}?{ASKED}{options}")
    assert isinstance(found, Durable)
    return found


@needs_mosquitto
def test_results_reach_the_consumer_and_are_closed_when_he_says_so(broker, store):
    consumer = Consumer(broker.port, "plant/3")
    summary = run(stub(), source(RED, BLUE, GREY), [sink(broker)], store)
    status = [consumer.status.get(timeout=30) for _ in range(2)]  # the last is on its way while the line ends
    consumer.close()
    assert status == ["online", "offline"]
    assert [one["ResultMetaData"]["ResultEvaluation"] for one in consumer.seen] == [1, 2, 3]
    assert [one["lineside"]["number"] for one in consumer.seen] == [1, 2, 3]
    (sent,) = summary.outboxes
    assert (sent.acknowledged, sent.again, sent.strange, sent.pending, sent.trouble) == (3, 0, 0, 0, "")
    assert f"mqtt://127.0.0.1:{broker.port}/plant/3" in text(summary)


@needs_mosquitto
def test_without_an_acknowledgement_results_wait_for_the_next_start(broker, store, monkeypatch):
    monkeypatch.setattr("lineside.line.courier.PATIENCE_S", 0.5)
    deaf = Consumer(broker.port, "plant/3", answer=False)
    said = []
    summary = run(stub(), source(RED, RED), [sink(broker, "&timeout_s=0.2")], store, say=said.append)
    deaf.close()
    assert (summary.fault, summary.outboxes[0].pending, summary.outboxes[0].acknowledged) == ("", 2, 0)
    assert len(deaf.once) == 1  # the second is not sent before the first is done
    (trouble,) = (one for one in said if one.event == "sink")
    assert "were not acknowledged in time, from number 1 (part p1)" in trouble.sentence
    assert "2 WAIT in the outbox for the next start" in text(summary)

    consumer = Consumer(broker.port, "plant/3")
    summary = run(stub(), source(BLUE), [sink(broker)], store)
    consumer.close()
    assert [one["lineside"]["number"] for one in consumer.seen] == [1, 2, 3]
    assert consumer.once[0] == deaf.once[0]
    assert summary.outboxes[0].pending == 0


@needs_mosquitto
def test_a_broker_that_is_down_does_not_stop_the_line(broker, store, monkeypatch):
    monkeypatch.setattr("lineside.line.courier.PATIENCE_S", 0.3)
    broker.kill()
    said = []
    summary = run(stub(), source(*[RED] * 20), [sink(broker)], store, say=said.append)
    assert (summary.parts, summary.stored, summary.fault) == (20, 20, "")
    assert summary.outboxes[0].pending == 20
    (trouble,) = (one for one in said if one.event == "sink")
    assert "the broker can not be reached (Connection refused)" in trouble.sentence


@needs_mosquitto
def test_a_full_outbox_is_a_fault_and_nothing_decided_is_lost(broker, store, monkeypatch):
    monkeypatch.setattr("lineside.line.courier.PATIENCE_S", 0.3)
    broker.kill()
    frames = (Frame(f"p{n}", n, "x", picture=picture(RED)) for n in range(1, 100_000))
    summary = run(stub(), Source("mem:", frames, None), [sink(broker, "&limit=30")], store)
    assert "results wait in the outbox and nobody acknowledges them; its limit is 30" in summary.fault
    assert summary.parts == summary.stored == summary.outboxes[0].pending
    assert summary.lost == 0


@needs_mosquitto
@pytest.mark.parametrize("extra", ["", "&window=50"])
def test_strange_acknowledgements_close_nothing(broker, store, monkeypatch, extra):
    monkeypatch.setattr("lineside.line.courier.PATIENCE_S", 0.6)
    consumer = Consumer(broker.port, "plant/3", answer=False)
    wrong = [b"", b"\xff" * 32, b"0" * 32, b"{", b'{"ResultId": 5}', b"[]", b"null", b"x" * 9000, b"A" * 32]
    for one in wrong:
        consumer.client.publish("plant/3/ack", one, qos=1, retain=True)  # an old answer, kept by the broker
    original = consumer._heard

    def heard(client, userdata, message):
        original(client, userdata, message)
        if message.topic.endswith("/result"):
            for one in wrong:
                client.publish("plant/3/ack", one, qos=1)

    consumer.client.on_message = heard
    summary = run(stub(), source(RED, RED), [sink(broker, f"&timeout_s=0.3{extra}")], store)
    consumer.close()
    assert summary.outboxes[0].pending == 2
    assert summary.outboxes[0].strange > len(wrong)


@needs_mosquitto
def test_last_will_and_takeover(broker, store):
    """A line that is killed is "lost" for the plant; one that comes back says "online" last."""
    consumer = Consumer(broker.port, "plant/3")
    halt = threading.Event()
    first = sink(broker).start("who", halt)
    first.ready()
    assert consumer.status.get(timeout=20) == "online"
    first._client.socket().close()  # as the system does for a killed program
    assert consumer.status.get(timeout=20) == "lost"
    second = sink(broker).start("who", halt)
    second.ready()
    assert consumer.status.get(timeout=20) == "online"
    third = sink(broker).start("who", halt)  # the broker ends the second, whose will comes before our word
    third.ready()
    assert [consumer.status.get(timeout=20) for _ in range(2)] == ["lost", "online"]
    with pytest.raises(LineError, match="the connection to the broker is lost"):
        until(second.ready)
    third.close()
    assert consumer.status.get(timeout=20) == "offline"
    consumer.close()


@needs_mosquitto
def test_nobody_subscribed_is_said(broker, store):
    wire = sink(broker, "&timeout_s=0.5").start("who", threading.Event())
    with pytest.raises(LineError, match="nobody has subscribed to plant/3/result"):
        wire.deliver([Letter(1, inspection(1), a_run(), "00")])
    with pytest.raises(LineError, match="nobody has subscribed to plant/3/event"):
        wire.deliver([Letter(2, event(1), a_run(), "00")])
    wire.close()


@needs_mosquitto
def test_two_lines_on_one_store_send_each_result_once(broker, store):
    consumer = Consumer(broker.port, "plant/3")
    summaries = []

    def line(color):
        summaries.append(run(stub(), source(*[color] * 60), [sink(broker)], store, max_fps=100))

    threads = [threading.Thread(target=line, args=(color,)) for color in (RED, BLUE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rest = run(stub(), source(RED), [sink(broker)], store)  # what the first to end could not send, the next one does
    consumer.close()
    assert rest.outboxes[0].pending == 0
    assert len(consumer.seen) == len(consumer.once) == 121
    assert [one["lineside"]["number"] for one in consumer.seen] == list(range(1, 122))
    assert {s.outboxes[0].again for s in summaries} == {0}


# Who may send


def passwords(folder: Path) -> str:
    file = folder / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(file), "station3", "s3cret-word"], check=True)
    return f"allow_anonymous false\npassword_file {file}\n"


@needs_mosquitto
def test_user_and_password_from_environment_or_a_private_file(tmp_path, monkeypatch):
    broker = Mosquitto(tmp_path, passwords(tmp_path)).start()
    url = f"mqtt://127.0.0.1:{broker.port}/plant/3?plain=true&user=station3"
    halt = threading.Event()
    try:
        monkeypatch.setenv("LINESIDE_MQTT_PASSWORD", "s3cret-word")
        good = open_sink(url)
        wire = good.start("who", halt)
        wire.ready()
        wire.close()
        file = tmp_path / "password"
        file.write_text("wrong-word\n")
        file.chmod(0o600)
        refused = open_sink(f"{url}&password_file={file}").start("who", halt)
        with pytest.raises(LineError, match=r"the broker takes no connection \(.*[Nn]ot authorized\)") as told:
            refused.ready()
        assert "word" not in str(told.value)
        assert "s3cret" not in repr(good)
    finally:
        broker.stop()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_secret_that_others_can_read_is_refused(tmp_path, mode):
    file = tmp_path / "password"
    file.write_text("s3cret")
    file.chmod(mode)
    with pytest.raises(SettingsError, match=f"others can read it \\(mode {mode:o}\\).*chmod 600") as told:
        open_sink(f"mqtt://broker/t?user=x&password_file={file}")
    assert "s3cret" not in str(told.value)


def test_secrets_are_plain_files_with_something_in_them(tmp_path):
    empty = tmp_path / "empty"
    empty.touch(0o600)
    for path, says in (
        (empty, "is empty"),
        (tmp_path, "plain file|can not be read"),
        (tmp_path / "no", "No such file"),
    ):
        with pytest.raises(SettingsError, match=says):
            read_secret(path, "a password")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mqtt://broker/t", r"who are we for the broker\? Add user=NAME, or ask for no user with anonymous=true"),
        ("mqtt://broker/t?user=x", "no password for x; name a file with password_file=PATH, or set LINESIDE_MQTT"),
        ("mqtt://x:hunter2@broker/t", "mqtt:: the URL holds a password, which others can read in the list of process"),
        ("mqtt:broker", "expected mqtt://HOST/TOPIC"),
        ("mqtt://broker", "expected mqtt://HOST/TOPIC"),
        ("mqtt:///t", "expected mqtt://HOST/TOPIC"),
        ("mqtt://broker:99999/t", "the port is no number from 1 to 65535"),
        ("mqtt://broker/a/+/b?anonymous=true", "holds a wildcard"),
        ("mqtt://broker/t?anonymus=true", "anonymus: unknown key; did you mean anonymous"),
        ("mqtt://broker/t?anonymous=yes", "anonymous: expected true or false, got 'yes'"),
        ("mqtt://broker/t?anonymous=true&user=x", "has a user and anonymous=true; choose one"),
        ("mqtt://broker/t?anonymous=true&plain=true&ca=x", "plain=true does not encrypt"),
        ("mqtt://broker/t?anonymous=true&ca=/no/ca.pem", r"the certificates can not be used \(No such file"),
        ("mqtt://broker/t?anonymous=true&window=0", "window: expected a whole number from 1 to 500, got 0"),
        ("mqtt://broker/t?anonymous=true&window=1.5", "window: expected a whole number, got '1.5'"),
        ("mqtt://broker/t?anonymous=true&timeout_s=nan", "timeout_s: expected a number from 0.1 to 3600, got nan"),
        ("mqtt://broker/t?anonymous=true&limit=1&limit=2", "limit is given twice"),
        ("mqtt://broker/t?anonymous=true&timeout_ms=500", r"did you mean timeout_s\? It is in seconds"),
        ("mqtt://x:hunter2@broker", "the URL holds a password"),
        ("mqtt://broker:hunter2/t", "the port is no number from 1 to 65535"),
        ("mqtt://broker/t?anonymous=true&password=hunter2", "password: unknown key; did you mean password_"),
    ],
)
def test_wrong_urls_are_sentences_without_secrets(url, says):
    with pytest.raises(SettingsError, match=says) as told:
        open_sink(url)
    assert "hunter2" not in str(told.value)


def test_options_do_not_change_whose_outbox_it_is():
    one = open_sink("mqtt://broker/t?anonymous=true&window=5&limit=7")
    other = open_sink("mqtt://broker:8883/t?anonymous=true&timeout_s=1")
    assert isinstance(one, Durable)
    assert one.key == other.key == "mqtt://broker:8883/t"
    assert (one.window, one.limit) == (5, 7)


def certificates(folder: Path) -> None:
    """A CA, a server's certificate for localhost, a client's, and another CA that nobody trusts."""

    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, cwd=folder, capture_output=True)

    for ca in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-days",
                "2", "-subj", f"/CN={ca}", "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
    for name in ("server", "client"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj",
                f"/CN={name}", "-addext", "subjectAltName=DNS:localhost")  # fmt: skip
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out",
                f"{name}.pem", "-days", "2", "-copy_extensions", "copy")  # fmt: skip


@needs_mosquitto
def test_tls_with_certificates_on_both_sides(tmp_path, store):
    certificates(tmp_path)
    tls = f"cafile {tmp_path}/ca.pem\ncertfile {tmp_path}/server.pem\nkeyfile {tmp_path}/server.key\n"
    broker = Mosquitto(tmp_path, f"{tls}require_certificate true\nuse_identity_as_username true\n").start()
    halt = threading.Event()

    def url(host="localhost", ca="ca", client=True):
        mine = f"&cert={tmp_path}/client.pem&key={tmp_path}/client.key" if client else ""
        return f"mqtt://{host}:{broker.port}/plant/3?anonymous=true&ca={tmp_path}/{ca}.pem{mine}"

    try:
        (tmp_path / "client.key").chmod(0o644)
        with pytest.raises(SettingsError, match=r"client\.key: holds a key and others can read it"):
            open_sink(url())
        (tmp_path / "client.key").chmod(0o600)
        context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        context.load_cert_chain(tmp_path / "client.pem", tmp_path / "client.key")
        consumer = Consumer(broker.port, "plant/3", tls=context, host="localhost")
        summary = run(stub(), source(RED), [open_sink(url())], store)
        consumer.close()
        assert summary.outboxes[0].acknowledged == 1
        for wrong in (url(ca="other"), url(host="127.0.0.1")):
            with pytest.raises(LineError, match=r"can not be reached \(.*certificate"):
                open_sink(wrong).start("who", halt).ready()
        with pytest.raises(LineError):
            open_sink(url(client=False)).start("who", halt).ready()
    finally:
        broker.stop()


# What is said


def test_the_message_has_the_fields_of_opc_40001_101():
    letter = Letter(7, inspection(1), a_run(), "ab")
    found = json.loads(payload(letter))
    assert found["ResultMetaData"] == {
        "ResultId": inspection(1).id,
        "IsPartial": False,
        "IsSimulated": True,
        "ResultState": 1,
        "PartId": "1",
        "InternalRecipeId": "ab" * 32,
        "JobId": "r" * 32,
        "CreationTime": "2026-11-22T13:00:01.123456Z",
        "ProcessingTimes": {
            "StartTime": "2026-11-22T13:00:00.123456Z",
            "EndTime": "2026-11-22T13:00:01.123456Z",
            "ProcessingDuration": 2.5,
        },
        "ResultEvaluation": 1,
        "ResultEvaluationDetails": {"Locale": "en", "Text": "accept: decided"},
    }
    assert found["lineside"]["number"] == 7
    assert found["lineside"]["name"] == "a\n'ä.png"
    assert payload(letter) == payload(letter)


def test_each_part_is_told_with_the_bundles_of_its_own_product():
    def model(name, digit):
        return replace(stub(path=Path(f"{name}.bundle")), sha256=digit * 64)

    def told(product, *views):
        run = run_row("press-3", views, "m8", Pace(), (), None)
        run = replace(run, settings=json.loads(json.dumps(run.settings)))  # as the store gives it back
        found = message(Letter(1, inspection(1, product=product), run, ""))
        return found["ResultMetaData"]["InternalRecipeId"], found["lineside"]["bundle"]

    def view(camera, **models):
        return View(camera, source(), models, dict.fromkeys(models))

    top = view("top", m8=model("m8", "a"), m10=model("m10", "b"))
    side = view("side", m8=model("m8", "a"), m10=model("side", "c"))
    assert told("m8", view("top", m8=model("m8", "a"))) == ("a" * 64, "m8.bundle")
    assert told("m10", top) == ("b" * 64, "m10.bundle")
    assert told("m8", top, side) == ("a" * 64, "m8.bundle")
    assert told("m10", top, side) == (recipes([top, side])[1].sha256, "m10.bundle side.bundle")
    assert told(None, top, side) == told("m8", top, side)  # where nobody has named products


@pytest.mark.parametrize(
    ("verdict", "reason", "evaluation", "state"),
    [
        ("accept", "decided", 1, 1),
        ("reject", "decided", 2, 1),
        ("hold", "decided", 3, 1),
        ("reject", "deadline", 0, 3),
        ("reject", "stopped", 0, 3),
        ("reject", "fault", 0, 3),
        ("reject", "unreadable", 0, 4),
        ("reject", "not-finite", 0, 4),
        ("reject", "engine", 0, 4),
        ("accept", "something new", 0, 4),  # never OK without the model's word
    ],
)
def test_verdicts_are_mapped_honestly(verdict, reason, evaluation, state):
    meta = message(Letter(1, inspection(1, verdict=verdict, reason=reason), a_run(), ""))["ResultMetaData"]
    assert (meta["ResultEvaluation"], meta["ResultState"]) == (evaluation, state)


# What counts as an acknowledgement

IDS = st.text("0123456789abcdef", min_size=32, max_size=32)


@given(st.one_of(st.binary(max_size=200), st.text().map(str.encode), IDS.map(str.encode)))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_no_crash_and_no_false_acknowledgement(data):
    found = acknowledged_id(data)
    assert found is None or data.strip() == found.encode() or json.loads(data)["ResultId"] == found


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text() | IDS, lambda x: st.lists(x) | st.dictionaries(
    st.text() | st.just("ResultId"), x)))  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_any_json_is_no_crash_and_no_false_acknowledgement(value):
    found = acknowledged_id(json.dumps(value).encode())
    assert found is None or value["ResultId"] == found


@given(IDS)
def test_the_two_ways_to_acknowledge(id):
    assert (
        acknowledged_id(id.encode())
        == acknowledged_id(f" {id}\n".encode())
        == acknowledged_id(b'{"ResultId": "%s"}' % id.encode())
        == id
    )


def test_deep_json_is_no_crash():
    assert acknowledged_id(b'{"a":' + b"[" * 4000) is None


@given(st.lists(st.binary(max_size=60) | IDS.map(str.encode)), st.booleans())
@settings(max_examples=50, deadline=None)
def test_only_what_is_under_way_can_be_acknowledged(payloads, retained):
    wire = mqtt.Connection(
        mqtt.Broker("mqtt://b/t", "b", 1, "t", None, lambda: None, None, 1.0), "who", threading.Event()
    )
    wire._open = {"a" * 32, "b" * 32}

    class Message:
        retain = retained

    for payload_ in [*payloads, b"a" * 32]:
        Message.payload = payload_
        wire._heard(None, None, Message)
    assert wire._acknowledged <= {one.decode() for one in payloads if one in (b"a" * 32, b"b" * 32)} | {"a" * 32}
    assert ("a" * 32 in wire._acknowledged) is not retained


def test_the_courier_needs_no_broker_to_be_asked(store):
    halted = replace(open_sink("mqtt://127.0.0.1:1/t?" + ASKED), url="mqtt://x/t")
    courier = Courier(store, halted, "who")
    assert courier.sent().pending == 0


class Stubborn:
    """A wire whose first tries fail."""

    strange = 0

    def __init__(self, failures: int):
        self.failures, self.delivered, self.idled, self.sizes = failures, [], 0, []

    def ready(self) -> None:
        if self.failures:
            self.failures -= 1
            raise LineError("x: not yet")

    def idle(self) -> None:
        self.idled += 1

    def deliver(self, letters):
        self.sizes.append(len(letters))
        self.delivered += [letter.number for letter in letters]
        return [letter.record.id for letter in letters]

    def close(self) -> None:
        pass


def courier_of(store, wire, **given) -> Courier:
    record(store, [inspection(n) for n in range(1, 101)], boxes=[Box("x", 1000)])
    return Courier(store, Durable("x", "x", lambda who, halt: wire, window=30), "who", **given)


def test_at_the_end_of_the_run_a_long_pause_is_not_waited_for(store, monkeypatch):
    monkeypatch.setattr("lineside.line.courier.FIRST_S", 30.0)
    wire = Stubborn(1)
    courier = courier_of(store, wire)
    courier.start()
    until(lambda: courier.sent().trouble == "x: not yet")
    courier.close()
    assert wire.delivered == list(range(1, 101))
    assert courier.sent().pending == 0


def test_the_window_opens_after_the_first_acknowledgement(store):
    wire = Stubborn(0)
    courier = courier_of(store, wire)
    courier.start()
    courier.close()
    assert wire.sizes[:3] == [1, 30, 30]
    assert wire.delivered == list(range(1, 101))


def test_trouble_and_its_end_are_said_once(store, monkeypatch):
    monkeypatch.setattr("lineside.line.courier.FIRST_S", 0.001)
    said = []
    courier = courier_of(store, Stubborn(5), say=said.append)
    courier.start()
    courier.close()
    assert [str(one) for one in said] == ["x: not yet", "x: results are acknowledged again"]
    assert [one.level for one in said] == ["warning", "info"]
