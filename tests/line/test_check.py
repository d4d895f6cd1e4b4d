"""`lineside run --check`: it finds what is there and what is wrong, all of it, and moves nothing."""

import json
import os
import socket
import sqlite3
from pathlib import Path

import pytest

from lineside.cli.main import main
from lineside.line import check as checks
from lineside.line.settings import read_line
from lineside.store.open import open_store
from tests.bundle.test_signature import key_pair, sign
from tests.line.broker import Consumer, Mosquitto, free_port, needs_mosquitto
from tests.line.gate.doubles import plc
from tests.line.test_webhook import Receiver
from tests.line.tiny import RED, png, write_bundle

HEAD = """
[products.m8]
bundle = "m8.bundle"
[[cameras]]
source = "folder:parts"
[parts]
deadline_ms = 60000
"""


@pytest.fixture
def shop(tmp_path):
    write_bundle(tmp_path / "m8.bundle")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "1.png").write_bytes(png(RED, side=32))
    return tmp_path


def look(shop: Path, text: str) -> dict[str, checks.Found]:
    (shop / "line.toml").write_text(text)
    return {one.what: one for one in checks.check(read_line(shop / "line.toml"))}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@needs_mosquitto
def test_a_line_that_will_do_is_looked_at_and_nothing_is_moved(shop, capsys, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("LINESIDE_WEBHOOK_SECRET", "0123456789abcdef")
    elsewhere = tmp_path_factory.mktemp("elsewhere")  # where broker and PLC keep what is theirs
    broker = Mosquitto(elsewhere).start()
    consumer = Consumer(broker.port, "plant/3")
    port = free_port()
    try:
        with plc(elsewhere) as double, Receiver() as receiver:
            sinks = [
                "csv:results.csv",
                f"mqtt://127.0.0.1:{broker.port}/plant/3?plain=true&anonymous=true",
                f"webhook:http://127.0.0.1:{receiver.port}/results?token=geheim",
            ]
            gate = f"modbus://127.0.0.1:{double.port}?deadline_ms=2000"
            text = f'sinks = {json.dumps(sinks)}\ngate = "{gate}"\n' + HEAD
            more = f'[control]\nsocket = "order"\n[log]\nfile = "{port}.log"\n[web]\nmetrics = "127.0.0.1:{port}"\n'
            (shop / "line.toml").write_text(text + more)
            before = files(shop)
            assert main(["run", str(shop / "line.toml"), "--check", "--json"]) == 0
            assert files(shop) == before
            (shop / "line.toml").write_text(text)
            before = files(shop)
            assert main(["run", str(shop / "line.toml"), "--check"]) == 0
            assert files(shop) == before
            assert double.seen() == []  # a PLC double that says each write
            assert receiver.requests == []
        assert consumer.seen == []
        assert consumer.status.empty()
    finally:
        consumer.close()
        broker.stop()
    out = capsys.readouterr().out
    assert "geheim" not in out
    out = out[out.rindex("}") + 2 :]
    assert all(line.startswith("ok: ") for line in out.splitlines()), out
    assert "ok: camera camera: folder:" in out
    assert "32 × 32 pixels, brightness 8" in out
    assert "good (1.000), would be accept; " in out
    assert "no store yet; it is made at the first start" in out
    assert "plant/3/ack can be read; nothing was published" in out
    assert "the receiver answers" in out
    assert "the PLC answers; nothing was written" in out
    assert "intervals are measured to" in out


def test_all_that_is_wrong_is_shown_and_not_only_the_first(shop, capsys, monkeypatch):
    monkeypatch.setenv("LINESIDE_WEBHOOK_SECRET", "0123456789abcdef")
    nobody = free_port()
    sinks = [f"mqtt://127.0.0.1:{nobody}/t?plain=true&anonymous=true", "csv:no/x.csv",
             f"webhook:http://127.0.0.1:{nobody}/r"]  # fmt: skip
    text = f"""
sinks = {json.dumps(sinks)}
gate = "modbus://127.0.0.1:{nobody}"
product = "m8"
[products.m8]
bundle = "m8.bundle"
[products.m9]
bundle = "m9.bundle"
[[cameras]]
name = "top"
source = "folder:parts"
[[cameras]]
name = "side"
source = "folder:none"
[parts]
deadline_ms = 50.0
[store]
url = "no/line.db"
"""
    (shop / "line.toml").write_text(text)
    assert main(["run", str(shop / "line.toml"), "--check", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is False
    bad = {one["what"].removesuffix(str(nobody)): one["said"] for one in said["findings"] if not one["ok"]}
    assert len(bad) == 7, bad
    found = " | ".join(f"{one['what']}: {one['said']}" for one in said["findings"] if not one["ok"])
    for part in (
        "m9.bundle: there is no", "camera side: folder:", "does not exist",
        "no does not exist; make it", "the broker can not be reached", "the folder ", "no answer (", "no connection (",
    ):  # fmt: skip
        assert part in found, part
    good = [one["what"] for one in said["findings"] if one["ok"]]
    assert f"bundle {shop}/m8.bundle" in good
    assert "camera top, m8" in good


@pytest.mark.parametrize(
    ("change", "what", "says"),
    [
        (lambda shop, text: (shop / "parts" / "1.png").write_bytes(png((0, 0, 0))), "camera camera", "is black"),
        (lambda shop, text: (shop / "parts" / "1.png").write_bytes(png((255,) * 3)), "camera camera", "is white"),
        (lambda shop, text: (shop / "parts" / "1.png").write_bytes(b"x"), "camera camera", "1.png"),
        (lambda shop, text: text.replace("60000", "0.001"), "camera camera", "parts.deadline_ms is 0.001: every part"),
        (lambda shop, text: write_bundle(shop / "m8.bundle", accept=()), "bundle", "this bundle sorts only"),
        (
            lambda shop, text: text.replace("folder:", "watch:") .replace("[parts]", "timeout_s = 0.2\n[parts]"),
            "camera camera", "no picture came within .* nothing triggered it",
        ),
        (
            lambda shop, text: text.replace("folder:", "watch:").replace("[parts]", "[parts]\nmax_fps = 3"),
            "camera camera", r"parts\.max_fps: this camera sets the pace by itself",
        ),
        (lambda shop, text: 'sinks = ["csv:m8.bundle/x.csv"]\n' + text, "sink", "is inside the bundle"),
        (lambda shop, text: text + '[store]\nurl = "m8.bundle/x.db"\n', "store", "is inside the bundle"),
        (lambda shop, text: text + '[store]\npictures = "all"\nquota_gb = 1e6\n', "disk of", "GB are for pictures"),
    ],
)  # fmt: skip
def test_one_thing_is_wrong(shop, monkeypatch, change, what, says):
    import re

    monkeypatch.setattr(checks, "GRACE_S", 0.5)
    made = change(shop, HEAD)
    found = look(shop, made if isinstance(made, str) else HEAD)
    assert any(re.search(says, one.said) for name, one in found.items() if name.startswith(what) and not one.ok), found


def test_two_sinks_with_one_outbox_are_found_before_the_start(shop, monkeypatch):
    monkeypatch.setenv("LINESIDE_WEBHOOK_SECRET", "0123456789abcdef")
    sinks = [f"webhook:http://127.0.0.1:{free_port()}/r?{n}" for n in "ab"]
    alike = [f"{sinks[0]}", f"{sinks[0]}#timeout_s=3"]
    assert "the same outbox" in look(shop, f"sinks = {json.dumps(alike)}\n{HEAD}")["sinks"].said
    found = look(shop, f"sinks = {json.dumps(sinks)}\n{HEAD}")["sinks"]
    assert (found.ok, found.said) == (True, "2 with an outbox, each with its own")


def test_a_store_is_looked_at_and_not_brought_up(shop):
    open_store(shop / "line.db").dispose()
    text = HEAD + '[store]\nurl = "line.db"\n'
    assert "as this program's" in look(shop, text)[f"store {shop}/line.db"].said
    for version, says in ((1, "a store of version 1; it is brought to"), (99, "the store has version 99")):
        connection = sqlite3.connect(shop / "line.db")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.close()
        assert says in look(shop, text)[f"store {shop}/line.db"].said
    connection = sqlite3.connect(shop / "line.db")
    assert connection.execute("PRAGMA user_version").fetchone() == (99,)
    connection.execute("PRAGMA application_id = 7")
    connection.close()
    assert "belongs to another program" in look(shop, text)[f"store {shop}/line.db"].said
    (shop / "line.db").write_text("no database, but a text that is long enough for a header of SQLite" * 9)
    assert "SQLite file" in look(shop, text)[f"store {shop}/line.db"].said


def test_a_file_that_another_line_writes_and_a_port_that_is_taken(shop):
    from lineside.line.sink.catalog import open_sink

    other = open_sink(f"csv:{shop}/r.csv")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        text = f'sinks = ["csv:r.csv"]\n{HEAD}[web]\nmetrics = "127.0.0.1:{port}"\n'
        found = look(shop, text)
    other.close()
    assert "another line writes to this file" in found[f"sink csv:{shop}/r.csv"].said
    assert "is another line or server on this port" in found[f"metrics 127.0.0.1:{port}"].said
    assert "goes on with a file of" in look(shop, text)[f"sink csv:{shop}/r.csv"].said


def test_the_files_for_tls_are_looked_at(shop):
    text = HEAD + '[web]\nmetrics = "127.0.0.1:0"\ncertificate = "none.pem"\nkey = "none.key"\n'
    found = look(shop, text)["metrics 127.0.0.1:0"]
    assert not found.ok
    assert "none.pem" in found.said
    assert "can not be used for TLS (No such file" in found.said


def test_a_server_is_looked_at_without_a_start(shop):
    pytest.importorskip("asyncua", reason="the OPC UA server is an extra")
    port = free_port()
    text = f'sinks = ["opcua://127.0.0.1:{port}?anonymous=true"]\n{HEAD}'
    before = files(shop)
    (found,) = [one for name, one in look(shop, text).items() if name.startswith("sink")]
    assert (found.ok, found.said.split(";")[0]) == (True, "the port is free")
    assert set(files(shop)) - set(before) == {str(shop / "line.toml")}
    with socket.create_server(("127.0.0.1", port)):
        (found,) = [one for name, one in look(shop, text).items() if name.startswith("sink")]
    assert "can not listen there" in found.said


def test_a_clock_before_its_bundle(shop):
    from datetime import UTC, datetime

    (shop / "line.toml").write_text(HEAD)
    found = list(checks.check(read_line(shop / "line.toml"), now=lambda: datetime(2001, 1, 1, tzinfo=UTC)))
    assert "set the clock" in found[-1].said
    assert not found[-1].ok


def test_cameras_are_free_again(shop):
    found = [look(shop, HEAD)["camera camera"].ok for _ in range(2)]
    assert found == [True, True]
    assert os.listdir(shop / "parts") == ["1.png"]


def test_a_line_that_names_a_key_takes_bundles_with_its_signature_only(shop, capsys):
    """Unsigned, by another key, by this one; the check and the run say the same."""
    (private, _), (other, _) = key_pair(shop), key_pair(shop, "other")
    text = 'signed_by = "key.pub.pem"\n' + HEAD  # beside the file
    bundle = shop / "m8.bundle"
    for key, says in ((None, "is not signed, and a signature by"), (other, "was signed by the key")):
        if key:
            sign(bundle, key)
        found = look(shop, text)[f"bundle {bundle}"]
        assert (found.ok, says in found.said) == (False, True)
        assert main(["run", str(shop / "line.toml")]) == 4
        assert says in capsys.readouterr().err
        assert not (shop / "m8.bundle.db").exists()
    sign(bundle, private)
    assert look(shop, text)[f"bundle {bundle}"].ok
    assert main(["run", str(shop / "line.toml")]) == 0
