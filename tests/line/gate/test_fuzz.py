"""A PLC that goes mad in the middle of a shift: the gate as a whole, by seeds.

Between gate and double stands a proxy that passes everything on until a reply of its choice, and from then on attacks
every reply. Whatever it does: no crash, no hang, nothing counted as confirmed that the PLC did not confirm, and one
sentence at the end.
"""

import contextlib
import random
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from lineside.errors import LineError
from lineside.line.events import Part
from lineside.line.gate import gate as gates
from lineside.line.gate.catalog import open_gate
from tests.line.gate import test_s7
from tests.line.gate.doubles import plc, until

ATTACKS = ("garbage", "flip", "cut", "slow", "hang up", "reset", "refuse", "replay", "silent", "endless")
# Bytes of a reply that say whether it is the right one. Modbus: all of its head, and what was written. S7 has reserved
# bytes, which nobody looks at.
TELLING = {"modbus": range(12), "s7": (0, 7, 11, 12, 17, 18, 19, 20, 21)}
HEAD = {
    "modbus": (6, lambda head: 6 + struct.unpack(">H", head[4:6])[0]),
    "s7": (4, lambda head: head[2] << 8 | head[3]),
}
PARTS = 6


def frame_of(connection: socket.socket, protocol: str) -> bytes:
    """One whole request or reply; b"" at the end."""
    size, length = HEAD[protocol]
    data = b""
    while len(data) < size or len(data) < length(data):
        more = connection.recv((length(data) if len(data) >= size else size) - len(data))
        if not more:
            return b""
        data += more
    return data


def is_verdict(protocol: str, request: bytes) -> bool:
    """Whether a reply to it makes a verdict confirmed."""
    if protocol == "modbus":
        return request[7] == 16 and request[8:10] == b"\0\2"
    return len(request) == 35 + 22 and request[17] == 5


def refusal(protocol: str, rng: random.Random, reply: bytes) -> bytes:
    if protocol == "modbus":
        return reply[:4] + b"\0\3" + reply[6:7] + bytes([reply[7] | 0x80, rng.choice([1, 2, 3, 4, 6, 10, 11, 99])])
    return reply[:17] + bytes([rng.randrange(1, 256), rng.randrange(256)]) + reply[19:]


class Mad:
    """One connection through the proxy. intact: verdicts whose replies went through whole and unchanged."""

    def __init__(self, protocol: str, target: int, rng: random.Random):
        self.protocol, self.target, self.rng = protocol, target, rng
        self.attack = rng.choice(ATTACKS)
        self.begins = rng.randrange(2, 20)  # which reply is the first that is attacked
        self.intact = self.attacked = 0
        self.stopped = threading.Event()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self.listening.accept()
            connection.settimeout(30)
            with connection, socket.create_connection(("127.0.0.1", self.target), 30) as behind:
                before = b""
                for n in range(10_000):
                    if not (request := frame_of(connection, self.protocol)):
                        return
                    behind.sendall(request)
                    reply = frame_of(behind, self.protocol)
                    if n < self.begins:
                        connection.sendall(reply)
                        self.intact += is_verdict(self.protocol, request)
                    elif not self._mad(connection, request, reply, before):
                        return
                    before = reply

    def _mad(self, connection: socket.socket, request: bytes, reply: bytes, before: bytes) -> bool:
        """Whether to go on."""
        self.attacked += 1
        rng, telling = self.rng, TELLING[self.protocol]
        match self.attack:
            case "garbage":
                connection.sendall(rng.randbytes(rng.randrange(1, 300)))
            case "flip":
                changed = bytearray(reply)
                at = rng.choice([i for i in telling if i < len(reply)])
                changed[at] ^= rng.randrange(1, 256)
                connection.sendall(changed)
            case "cut":
                connection.sendall(reply[: rng.randrange(len(reply))])
            case "slow":
                for one in reply:
                    connection.sendall(bytes([one]))
                    if self.stopped.wait(0.02):
                        return False
                self.intact += is_verdict(self.protocol, request)  # late, but the PLC did say it
            case "hang up":
                return False
            case "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            case "refuse":
                connection.sendall(refusal(self.protocol, rng, reply))
            case "replay":
                connection.sendall(before)
            case "silent":
                pass
            case "endless":  # a head that promises more than ever comes, and bytes without end
                connection.sendall(b"\3\0\xff\xff" if self.protocol == "s7" else reply[:4] + b"\xff\xff")
                while not self.stopped.wait(0.005):
                    connection.sendall(rng.randbytes(20))
                return False
        return True

    def close(self) -> None:
        self.stopped.set()
        with contextlib.suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.thread.join(60)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def mad(protocol: str, target: int, seed: int) -> Iterator[Mad]:
    proxy = Mad(protocol, target, random.Random(f"{protocol} {seed}"))
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    with plc(tmp_path_factory.mktemp("plc"), 0, "0", "[[1, 1000]]") as double, test_s7.plc(size=64) as (_, _, port):
        yield {"modbus": double.port, "s7": port}


WAYS = {"at once": "", "by time": "&delay_ms=30", "by encoder": "&delay_counts=1000000&encoder={}&poll_ms=1"}


@pytest.mark.parametrize("protocol", ["modbus", "s7"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", range(12))
def test_whatever_the_plc_answers_the_gate_ends_in_a_sentence(targets, monkeypatch, protocol, way, seed):
    monkeypatch.setattr(gates, "BELT_S", 0.0)
    monkeypatch.setattr(gates, "CLOSE_S", 0.3)  # for a library that reads bytes without end
    faults: list[str] = []
    with mad(protocol, targets[protocol], seed) as proxy:
        query = "deadline_ms=60&heartbeat_ms=5&pass_ms=1" + WAYS[way].format({"modbus": 20, "s7": 40}[protocol])
        url = f"{protocol}://127.0.0.1:{proxy.port}?{query}"
        confirmed = 0
        try:
            gate = open_gate(url)
            gate.start(faults.append)
        except LineError as error:
            faults.append(str(error))
        else:
            for n in range(1, PARTS + 1):
                gate.actuate(Part(f"p{n}", n), "accept", "decided", time.monotonic_ns())
            until(lambda: faults, 30)  # the heartbeat alone comes to every attack
            gate.close("fault")
            confirmed = gate.confirmed
            assert faults[0] == gate.error
        assert confirmed <= proxy.intact
    assert len(faults) == 1
    assert faults[0].startswith(f"{url}: ")
    assert "\n" not in faults[0]
    assert not [thread for thread in threading.enumerate() if thread.name == "gate-watch"]
