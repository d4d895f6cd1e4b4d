"""modbus: against a PLC double in a process of its own, with the program that docs/plc.md asks for."""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lineside.errors import LineError
from lineside.line.events import Part
from lineside.line.gate.catalog import open_gate
from lineside.line.gate.modbus import registers
from lineside.line.gate.wire import Telegram
from lineside.line.source.frame import Frame, Source
from lineside.line.summary import text
from tests.line.gate.doubles import plc, until
from tests.line.tiny import BLUE, GREY, RED, logits_of, picture, png, run, stub, write_bundle

SLOW = "deadline_ms=30000"  # these tests are about what is told, on a machine that may be busy


def frames(*colors):
    for n, color in enumerate(colors, 1):
        yield Frame(f"p{n}", n, f"{n}.png", picture=picture(color))


def test_every_part_moves_as_it_was_decided_and_the_rest_state_is_reject(tmp_path, store):
    colors = [RED, BLUE, GREY, RED, RED, BLUE]
    with plc(tmp_path, count=65_533) as double:
        gate = open_gate(f"modbus://127.0.0.1:{double.port}?{SLOW}&pass_ms=1")
        summary = run(stub(), Source("mem:", frames(*colors), 6), [], store, gate=gate)
        parts, coils, seen = double.parts(), double.coils(), double.seen()
    assert [(one["sequence"], one["verdict"], one["passes"]) for one in parts] == [
        (1, 1, True), (2, 3, False), (3, 2, False), (4, 1, True), (5, 1, True), (6, 3, False),
    ]  # fmt: skip
    assert coils[0] == coils[-1] == [True, False]
    assert coils.count([False, True]) == 3
    assert all(reject != passing for reject, passing in coils)
    states = [one["values"][1] for one in seen if one.get("at") == 0 and one["function"] == 16]
    assert (states[0], states[-1]) == (1, 2)
    assert summary.wire_ms is not None
    assert (summary.fault, summary.wire_ms.n) == ("", 6)
    assert "verdict → confirmed by the PLC" in text(summary)
    assert "NOT confirmed" not in text(summary)


def test_coils_come_before_the_count_that_makes_them_count(tmp_path):
    with plc(tmp_path) as double:
        gate = open_gate(f"modbus://127.0.0.1:{double.port}?{SLOW}&heartbeat_ms=60000&pass_ms=60000")
        gate.start(lambda sentence: None)
        gate.actuate(Part("a", 70_000), "accept", "decided", 0)
        gate.actuate(Part("b", 70_001), "reject", "not-finite", 0)
        until(lambda: gate.confirmed == 2)
        gate.close("fault")
        seen = double.seen()
    assert seen == [
        {"function": 15, "at": 0, "values": [True, False]},
        {"function": 16, "at": 0, "values": [1, 1]},
        {"function": 15, "at": 0, "values": [False, True]},
        {"function": 16, "at": 2, "values": [1, 1, 1, 4464, 0, 1, 0, 0, 0, 0, 1]},
        {"sequence": 70_000, "verdict": 1, "reason": 1, "passes": True},
        {"function": 15, "at": 0, "values": [True, False]},
        {"function": 16, "at": 2, "values": [3, 3, 1, 4465, 0, 1, 0, 0, 0, 1, 2]},
        {"sequence": 70_001, "verdict": 3, "reason": 3, "passes": False},
        {"function": 15, "at": 0, "values": [True, False]},
        {"function": 16, "at": 0, "values": [2, 3]},
    ]


def test_the_count_goes_on_over_a_restart_and_a_start_is_no_verdict(tmp_path):
    with plc(tmp_path, count=7) as double:
        for n in (1, 2):
            gate = open_gate(f"modbus://127.0.0.1:{double.port}?{SLOW}")
            gate.start(lambda sentence: None)
            gate.actuate(Part("a", n), "accept", "decided", 0)
            until(lambda gate=gate: gate.confirmed == 1)
            gate.close("stopped")
        assert [(one["sequence"], one["passes"]) for one in double.parts()] == [(1, True), (2, True)]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_plc_that_is_gone_faults_the_line_and_no_part_passes_any_more(tmp_path, store, how):
    """SIGKILL: the connection breaks; SIGSTOP: it stays, and nobody answers, as when the cable is cut."""
    sent = threading.Event()

    def infer(pictures):
        if pictures[0, 0, 0, 0] == 201 and not sent.is_set():
            until(lambda: len(double.parts()) == 5)
            os.kill(double.process.pid, how)
            sent.set()
        return logits_of(pictures)

    def endless():
        yield from frames(*[RED] * 5)
        n = 5
        while True:
            n += 1
            yield Frame(f"p{n}", n, f"{n}.png", picture=picture((201, 30, 30)))

    with plc(tmp_path) as double:
        gate = open_gate(f"modbus://127.0.0.1:{double.port}?deadline_ms=1000")
        summary = run(stub(infer), Source("mem:", endless(), None), [], store, gate=gate)
        parts = double.parts()
    assert "modbus://127.0.0.1" in summary.fault
    seen_by = ("not confirmed", "no confirmation", "64 verdicts wait for the PLC")  # whichever comes first
    assert any(how in summary.fault for how in seen_by)
    assert [one["sequence"] for one in parts if one["passes"]] == [1, 2, 3, 4, 5]
    assert summary.wire_ms is not None
    assert summary.wire_ms.n == 5
    assert summary.parts > 5
    assert summary.lost == 0
    assert "verdicts were NOT confirmed by the PLC" in text(summary)


def test_the_line_faults_for_another_reason_and_tells_the_plc_its_rejects(tmp_path, store):
    def broken():
        yield from frames(RED, RED)
        raise LineError("camera: gone")

    with plc(tmp_path) as double:
        gate = open_gate(f"modbus://127.0.0.1:{double.port}?{SLOW}")
        summary = run(stub(), Source("mem:", broken(), None), [], store, gate=gate)
        seen, parts = double.seen(), double.parts()
    assert summary.fault == "camera: gone"
    assert len(parts) == summary.parts
    assert summary.wire_ms is not None
    assert summary.wire_ms.n == summary.parts
    assert seen[-2:] == [
        {"function": 15, "at": 0, "values": [True, False]},
        {"function": 16, "at": 0, "values": [seen[-1]["values"][0], 3]},
    ]


def test_nobody_at_the_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(LineError, match=r"no connection .*; is the PLC on, its Modbus server enabled, the port right"):
        open_gate(f"modbus://127.0.0.1:{port}")


@pytest.mark.parametrize(("query", "says"), [("register=500", "exception 2"), ("coil=500", "exception 2")])
def test_a_map_that_the_plc_does_not_have_is_seen_before_the_first_part(tmp_path, store, query, says):
    def line(url: str) -> None:
        run(stub(), Source("mem:", frames(RED), 1), [], store, gate=open_gate(url))

    with plc(tmp_path) as double:
        with pytest.raises(LineError, match=says):
            line(f"modbus://127.0.0.1:{double.port}?{SLOW}&{query}")
        assert double.parts() == []


def test_registers_hold_32_bits_as_high_word_low_word():
    telegram = Telegram("hold", "deadline", 2**32 + 65_537, 1, 2**16, 3, 65_535)
    assert registers(telegram) == [2, 2, 1, 1, 0, 1, 1, 0, 0, 3, 65_535]
    assert registers(Telegram("reject", "a new reason", 1, 0, 0, 1, 1))[1] == 255


def test_from_the_command_line(tmp_path):
    write_bundle(tmp_path / "tiny.bundle")
    (tmp_path / "parts").mkdir()
    for n, color in enumerate((RED, BLUE, RED)):
        (tmp_path / "parts" / f"{n}.png").write_bytes(png(color))
    with plc(tmp_path) as double:
        command = [sys.executable, "-m", "lineside", "run", str(tmp_path / "tiny.bundle"), "--json"]
        command += ["--source", f"folder:{tmp_path}/parts", "--gate", f"modbus://127.0.0.1:{double.port}?{SLOW}"]
        command += ["--deadline-ms", "60000"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        passes = [one["passes"] for one in double.parts()]
        double.process.kill()
        double.process.wait()
        gone = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["wire_ms"]["n"] == 3
    assert passes == [True, False, True]
    assert gone.returncode == 6
    assert "no connection (Connection refused)" in gone.stderr
    assert "Traceback" not in gone.stderr


def test_a_kill_9_of_the_line_leaves_no_part_passing(tmp_path):
    """The line dies while PASS is on: the coil stays, count and heartbeat stand still; docs/plc.md says reject."""
    code = f"""
import os, sys
from lineside.line.gate.catalog import open_gate
from lineside.line.events import Part
gate = open_gate("modbus://127.0.0.1:" + sys.argv[1] + "?{SLOW}&pass_ms=60000")
gate.start(print)
gate.actuate(Part("a", 1), "accept", "decided", 0)
while not gate.confirmed: pass
os.kill(os.getpid(), 9)
"""
    with plc(tmp_path) as double:
        subprocess.run([sys.executable, "-c", code, str(double.port)], timeout=120, check=False)
        seen = double.seen()
        assert [one["passes"] for one in double.parts()] == [True]
        assert double.coils()[-1] == [False, True]
        gate = open_gate(f"modbus://127.0.0.1:{double.port}?{SLOW}")  # the restart puts it to rest, before any part
        gate.start(lambda sentence: None)
        until(lambda: double.coils()[-1] == [True, False])
        gate.close("stopped")
        assert len(double.parts()) == 1
    assert seen[-1]["passes"]


def test_a_second_line_at_the_same_gate_is_refused_and_the_first_goes_on(tmp_path):
    with plc(tmp_path) as double:
        url = f"modbus://127.0.0.1:{double.port}?{SLOW}"
        gate = open_gate(url)
        gate.start(pytest.fail)
        written = len(double.coils())
        with pytest.raises(LineError, match="another line tells this PLC its verdicts"):
            open_gate(url)
        assert len(double.coils()) == written
        open_gate(f"{url}&coil=10&register=16").close("stopped")  # a place of its own
        gate.actuate(Part("a", 1), "accept", "decided", 0)
        until(lambda: gate.confirmed == 1)
        gate.close("stopped")
        open_gate(url).close("stopped")


def test_the_inbox_hears_of_it(tmp_path):
    heard = queue.SimpleQueue()
    with plc(tmp_path) as double:
        gate = open_gate(f"modbus://127.0.0.1:{double.port}?deadline_ms=1000&heartbeat_ms=10")
        gate.start(heard.put)
        double.process.kill()
        assert "heartbeat: not confirmed" in heard.get(timeout=60)
        gate.close("fault")
    assert Path(double.log).exists()
