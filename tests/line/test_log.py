"""The line's log: what is written, what never is, and that nobody waits for it."""

import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from lineside.errors import SettingsError
from lineside.line.log import ROOM, Target, open_log, redact, redacted
from lineside.line.said import Said
from lineside.line.source.frame import Frame, Source
from lineside.line.tables import Log as LogSettings
from lineside.store.open import open_store
from tests.line.tiny import RED, picture, run, stub

ROOT = Path(__file__).parents[2]


def logged(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def to_file(tmp_path, **given):
    return open_log(LogSettings(file=tmp_path / "line.log", **given), "press-3", {})


def test_one_object_a_line_with_its_fields(tmp_path):
    with to_file(tmp_path, format="json") as log:
        log.say(
            Said("drift", "brightness has\nfallen", "warning", "p7", {"number": "brightness", "since": float("nan")})
        )
    (one,) = logged(tmp_path / "line.log")
    time = one.pop("time")
    assert len(time) == len("2026-11-23T01:02:03.004Z")
    assert time.endswith("Z")
    assert one == {
        "level": "warning",
        "event": "drift",
        "line": "press-3",
        "part_id": "p7",
        "message": "brightness has\nfallen",
        "number": "brightness",
        "since": "NaN",
    }


def test_text_is_one_line_a_message_whatever_a_name_holds(tmp_path):
    with to_file(tmp_path) as log:
        log.say(Said("note", "part \x1b[2J\n2026 error press-3 fault: forged", part_id="p\n1"))
    lines = (tmp_path / "line.log").read_text().splitlines()
    assert len(lines) == 1
    assert r"\x1b[2J\n2026 error press-3 fault: forged (part p\n1)" in lines[0]


def test_the_level_is_kept_and_libraries_are_heard_from_warnings_on(tmp_path):
    with to_file(tmp_path, format="json", level="warning") as log:
        log.say(Said("state", "quiet"))
        log.say(Said("fault", "loud", "error"))
        logging.getLogger("asyncua.server").info("chatter")
        logging.getLogger("asyncua.server").warning("a %s of it", "word")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old", DeprecationWarning, stacklevel=1)
        try:
            raise OSError("gone")
        except OSError:
            logging.getLogger("paho").exception("lost")
    found = [(one["event"], one["level"], one["message"]) for one in logged(tmp_path / "line.log")]
    assert found[:2] == [("fault", "error", "loud"), ("library", "warning", "a word of it")]
    assert "DeprecationWarning: old" in found[2][2]
    assert found[3] == ("library", "error", "lost (OSError: gone)")


def test_pythons_logging_is_given_back(tmp_path):
    before = logging.getLogger().handlers[:], logging.getLogger().level, threading.excepthook
    with to_file(tmp_path):
        assert logging.getLogger().handlers != before[0]
    assert (logging.getLogger().handlers[:], logging.getLogger().level, threading.excepthook) == before


def test_a_thread_that_dies_is_in_the_log(tmp_path):
    with to_file(tmp_path, format="json"):
        thread = threading.Thread(target=lambda: 1 / 0, name="engine")
        thread.start()
        thread.join()
    (one,) = logged(tmp_path / "line.log")
    assert (one["event"], one["message"]) == ("fault", "engine died: ZeroDivisionError: division by zero")


def test_the_file_is_rotated_and_no_more_than_so_many_are_kept(tmp_path):
    with to_file(tmp_path, format="json", file_mb=0.001, files_kept=2) as log:
        for n in range(100):
            log.say(Said("note", f"message {n}"))
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["line.log", "line.log.1", "line.log.2"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    assert logged(tmp_path / "line.log")[-1]["message"] == "message 99"


def test_what_can_not_be_logged_is_said_at_the_start(tmp_path):
    with pytest.raises(SettingsError, match=r"line\.log: the log can not be written \(No such file"):
        open_log(LogSettings(file=tmp_path / "none" / "line.log"), "l", {})
    for wrong in ({"file_mb": 0.0}, {"files_kept": 0}):
        with pytest.raises(ValueError, match="expected"):
            LogSettings(**wrong)


def test_a_full_disk_is_counted_and_stops_nothing():
    with open_log(LogSettings(file=Path("/dev/full")), "l", {}) as log:
        log.say(Said("note", "x" * 10_000))
        log.say(Said("note", "x" * 10_000))
    assert log.failed == 2


SECRETS = (
    "mqtts://line:s3cr3tpass@broker/plant",
    "mqtts://line:s3cr3tpass/with@slash@broker/plant",
    "mqtts://:s3cr3tpass@broker",
    "postgresql+psycopg://u:s3cr3tpass@db/line?sslmode=require",
    "webhook:https://host/x?token=s3cr3tpass&timeout-s=2",
    "https://host/?api_key=s3cr3tpass",
    "https://host/?client_secret=s3cr3tpass;x",
    "Authorization: Bearer s3cr3tpass",
    "authorization=s3cr3tpass",
    "{'password': 's3cr3tpass'}",
    '{"LINESIDE_MQTT_PASSWORD": "s3cr3tpass"}',
    "-----BEGIN PRIVATE KEY-----\ns3cr3tpass\n-----END PRIVATE KEY-----",
    "PASSWORD=s3cr3tpass",
)


@pytest.mark.parametrize("text", SECRETS)
def test_no_secret_is_written(text, tmp_path):
    with to_file(tmp_path, format="json") as log:
        log.say(Said("sink", f"trouble: {text}", facts={"settings": {"sinks": [text], "token": "s3cr3tpass", text: 1}}))
        logging.getLogger("paho").error("could not: %s", text)
    assert "s3cr3tpass" not in (tmp_path / "line.log").read_text()
    assert "***" in (tmp_path / "line.log").read_text()


def test_the_environments_secrets_are_hidden_wherever_they_stand(tmp_path):
    environment = {"LINESIDE_WEBHOOK_SECRET": "open sesame", "LINESIDE_CACHE": "/var/cache", "HOME": "/root"}
    with open_log(LogSettings("json", file=tmp_path / "l"), "l", environment) as log:
        log.say(Said("note", "the server said: bad signature for open sesame in /var/cache of /root"))
    assert logged(tmp_path / "l")[0]["message"] == "the server said: bad signature for *** in /var/cache of /root"


@pytest.mark.parametrize(
    "text",
    [
        "mqtts://broker:8883/line3?client-id=x&qos=1",
        "modbus://192.168.0.10:502?unit=1",
        "webhook:https://host:8443/a?key-file=/etc/lineside/key",
        "drift: brightness has become larger (alarm at part 1,204)",
        "user@host has no password set",
        "store.db.lock: is held",
    ],
)
def test_what_is_no_secret_stays(text):
    assert redact(text) == text


@settings(deadline=None)
@given(some.text(alphabet=some.characters(exclude_characters="@*", exclude_categories=["Z", "C"]), min_size=8))
@example("0/12345678")
def test_no_password_of_a_url_gets_through(password):
    assert redact(f"at mqtt://user:{password}@host/t") == "at mqtt://user:***@host/t"


@settings(deadline=None)
@given(
    some.recursive(
        some.none() | some.integers() | some.text(), lambda x: some.lists(x) | some.dictionaries(some.text(), x)
    )
)
def test_whatever_json_can_hold_can_be_redacted(value):
    json.dumps(redacted(value))


def test_where_nobody_writes_the_log_is_dropped_counted_and_told():
    from lineside.line.log import Log

    gate, lines = threading.Event(), []
    began = threading.Event()

    def write(line):
        began.set()
        gate.wait()
        lines.append(line)

    log = Log(LogSettings(), "l", Target(write), ())
    log.say(Said("note", "first"))
    assert began.wait(60)
    for n in range(ROOM + 10):
        log.say(Said("note", str(n)))  # returns, or this test never ends
    assert log.dropped == 10
    gate.set()
    log.close()
    assert len(lines) == ROOM + 2
    assert "10 messages were dropped here" in lines[1]


def test_a_pipe_that_nobody_reads_stops_neither_the_line_nor_its_end(tmp_path):
    """stderr is a pipe, full before the line begins; 600 parts and 6,000 sentences later all is stored: exit 0."""
    reading, writing = os.pipe()
    done = subprocess.run(
        [sys.executable, "-m", "tests.line.talkative", tmp_path / "line.db", "600"],
        cwd=ROOT,
        stderr=writing,
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    os.close(writing)
    os.close(reading)
    assert done.returncode == 0
    said, stored, dropped = (int(number) for number in done.stdout.split())
    assert (said, stored) == (6000 + 6, 600)  # start, four states, stop
    assert dropped in (said - ROOM, said - ROOM - 1)  # one may hang in the thread that writes


def test_the_run_says_that_it_starts_and_stops_and_why(tmp_path):
    def frames():
        yield Frame("p1", 1, "x", picture=picture(RED))
        raise OSError("unplugged")

    store = open_store(tmp_path / "line.db")
    with to_file(tmp_path, format="json") as log:
        run(stub(), Source("mem:", frames(), None), [], store, say=log.say)
    store.dispose()
    start, *states, stop = logged(tmp_path / "line.log")
    assert (start["event"], stop["event"]) == ("start", "stop")
    assert [one["state"] for one in states] == ["initialized", "ready", "continuous", "error"]
    fault = states[-1]
    assert start["bundle_sha256"] == "ab" * 32
    assert start["versions"]["lineside"]
    assert start["settings"]["engine"] == "onnxruntime"
    assert (fault["event"], fault["level"]) == ("fault", "error")
    assert fault["message"] == "the station is error: the source failed: OSError: unplugged"
    assert (stop["parts"], stop["stored"], stop["level"], stop["run"]) == (1, 1, "error", start["run"])
