"""s7: against python-snap7's own server, which emulates a PLC's memory and no more."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from snap7.server import Server
from snap7.type import SrvArea

from lineside.errors import LineError
from lineside.line.events import Part
from lineside.line.gate import s7
from lineside.line.gate.catalog import open_gate
from lineside.line.gate.s7 import SIZE, block
from lineside.line.gate.wire import Telegram
from lineside.line.source.frame import Frame, Source
from lineside.store.open import open_store
from tests.line.gate.doubles import until
from tests.line.tiny import BLUE, RED, picture, run, stub

SLOW = "deadline_ms=30000"


@contextlib.contextmanager
def plc(count: int = 0, size: int = SIZE) -> Iterator[tuple[Server, bytearray, int]]:
    """(server, memory of DB 100, port)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    memory = bytearray(size)
    if size == SIZE:
        memory[20:22] = struct.pack(">H", count)
    server = Server(log=False)
    server.register_area(SrvArea.DB, 100, memory)
    server.start(port)
    try:
        yield server, memory, port
    finally:
        server.stop()
        server.destroy()


def test_the_block_is_as_the_page_says():
    data = block(Telegram("accept", "decided", 2**24, 1, 2, 3, 65_535))
    assert data == bytes([2, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 255, 255])
    assert block(Telegram("hold", "other", 1, 0, 1, 0, 1))[:3] == bytes([1, 2, 255])


def test_verdicts_reach_the_block_and_the_rest_state_is_reject(tmp_path):
    store = open_store(tmp_path / "line.db")
    colors = [RED, BLUE, RED]
    with plc(count=65_534) as (_, memory, port):
        gate = open_gate(f"s7://127.0.0.1:{port}?{SLOW}&pass_ms=1")
        source = Source("mem:", (Frame(f"p{n}", n, "x", picture=picture(c)) for n, c in enumerate(colors, 1)), 3)
        summary = run(stub(), source, [], store, gate=gate)
        bits, verdict, reason, sequence, accepted, held, rejected, count, beats, state = struct.unpack(
            ">BBBxIIIIHHBx", bytes(memory)
        )
    store.dispose()
    assert (summary.fault, summary.wire_ms and summary.wire_ms.n) == ("", 3)
    assert (bits, verdict, reason, sequence) == (0b01, 1, 1, 3)  # PASS has ended
    assert (accepted, held, rejected, count) == (2, 0, 1, 1)
    assert (beats >= 2, state) == (True, 2)


def test_pass_is_on_while_an_accepted_part_passes():
    with plc() as (_, memory, port):
        gate = open_gate(f"s7://127.0.0.1:{port}?{SLOW}&pass_ms=60000&heartbeat_ms=60000")
        gate.start(lambda sentence: None)
        assert bytes(memory)[0] == 0b01
        gate.actuate(Part("a", 1), "accept", "decided", 0)
        until(lambda: gate.confirmed == 1)
        assert bytes(memory)[0] == 0b10
        gate.close("fault")
        assert bytes(memory)[0] == 0b01


def test_a_second_line_at_the_same_block_is_refused():
    with plc() as (_, memory, port):
        gate = open_gate(f"s7://127.0.0.1:{port}?{SLOW}")
        gate.start(pytest.fail)
        with pytest.raises(LineError, match="another line tells this PLC its verdicts"):
            open_gate(f"s7://127.0.0.1:{port}?{SLOW}")
        gate.close("stopped")
        assert memory[24] == 2
        open_gate(f"s7://127.0.0.1:{port}?{SLOW}").close("stopped")


def test_the_protocols_own_counter_wraps():
    """Its reference numbers have 16 bits, and a heartbeat uses one four times a second: 4.5 hours."""
    from snap7.client import Client

    with plc() as (_, memory, port):
        client = Client()
        client.connect("127.0.0.1", 0, 1, port)
        client.protocol.sequence = 65_530
        for n in range(12):
            client.db_write(100, 0, bytearray([n]))
            assert bytes(memory)[0] == n
        client.disconnect()


def test_a_block_that_is_not_there_or_too_short():
    with (
        plc() as (_, _, port),
        pytest.raises(LineError, match=r"count: not confirmed .*; if it was refused, look at db="),
    ):
        open_gate(f"s7://127.0.0.1:{port}?{SLOW}&db=7")
    with plc(size=10) as (_, _, port), pytest.raises(LineError, match="count: not confirmed"):
        open_gate(f"s7://127.0.0.1:{port}?{SLOW}")


def test_nobody_at_the_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(LineError, match=r"no connection .* are rack= and slot= right, is PUT/GET access allowed"):
        open_gate(f"s7://127.0.0.1:{port}")


def test_one_that_trickles_while_it_connects_does_not_keep_us(monkeypatch):
    """A head that promises 65,535 bytes, and one of them every 20 ms: each receive is in time, their sum is 22 min."""
    monkeypatch.setattr(s7, "CONNECT_S", 0.3)
    stopped = threading.Event()

    def trickle() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"\3\0\xff\xff")
                while not stopped.wait(0.02):
                    connection.sendall(b"\0")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=trickle)
        thread.start()
        with pytest.raises(LineError, match="no connection"):
            open_gate(f"s7://127.0.0.1:{listening.getsockname()[1]}")
        stopped.set()
        thread.join(30)


def test_a_plc_that_goes_is_a_fault():
    faults = []
    with plc() as (_, _, port):
        gate = open_gate(f"s7://127.0.0.1:{port}?deadline_ms=1000&heartbeat_ms=10")
        gate.start(faults.append)
    until(lambda: faults)
    gate.close("fault")
    assert "heartbeat: not confirmed" in faults[0] or "no confirmation" in faults[0]
