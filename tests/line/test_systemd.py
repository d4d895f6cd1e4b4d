"""What systemd hears, over a real socket of the kind it listens on."""

import os
import queue
import socket
import subprocess
import sys

import pytest

from lineside.line.messages import Finish
from lineside.line.source.frame import Frame, Source
from lineside.line.systemd import NOBODY, OFTEN, STOP_S, service
from lineside.store.open import open_store
from tests.line.tiny import RED, picture, png, run, stub, write_bundle

STOPPING = f"STOPPING=1\nWATCHDOG_USEC={STOP_S}000000".encode()
UP = [f"STATUS=the station is {state}".encode() for state in ("initialized", "ready", "continuous")]
HALTED = b"STATUS=the station is halted: the line ends"


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    """(the address as systemd writes it, its socket)."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@lineside-{tmp_path.name}-{id(tmp_path)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind("\0" + address[1:] if request.param == "abstract" else address)
        one.settimeout(60)
        yield address, one


def heard(one: socket.socket) -> list[bytes]:
    """All that has come so far."""
    one.setblocking(False)
    found = []
    while True:
        try:
            found.append(one.recv(4096))
        except BlockingIOError:
            return found


def test_ready_alive_stopping(manager):
    address, ear = manager
    clock = [0.0]
    told = service({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "42"}, 42)
    told._monotonic = lambda: clock[0]
    assert told.every_s == 10 * OFTEN
    told.ready()
    for _ in range(100):  # over ten seconds
        clock[0] += 0.1
        told.alive()
    told.stopping()
    said = heard(ear)
    assert (said[0], said[-1]) == (b"READY=1", STOPPING)
    assert set(said[1:-1]) == {b"WATCHDOG=1"}
    assert 4 <= len(said[1:-1]) <= 6  # every half of every_s: neither seldom nor with each part


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "43"},  # another process is meant
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "0"},
    ],
)
def test_without_a_watchdog_nothing_is_due(manager, environment):
    address, ear = manager
    told = service({"NOTIFY_SOCKET": address, **environment}, 42)
    told.alive()
    assert told.every_s is None
    assert heard(ear) == []
    assert told.patience_s(None) is None
    assert told.patience_s(7.0) == 7.0


def test_the_line_waits_no_longer_than_it_may_be_silent():
    told = service({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "10000000"}, 1)
    assert told.patience_s(None) == told.patience_s(3600.0) == 10 * OFTEN
    assert told.patience_s(0.5) == 0.5


def test_what_a_person_says_is_one_line_of_the_state(manager):
    """Else who may order could tell the service manager anything, such as which process is the line."""
    address, ear = manager
    service({"NOTIFY_SOCKET": address}, 1).state("the station is halted: look\nMAINPID=1\r\n\x0bREADY=1")
    assert heard(ear) == [b"STATUS=the station is halted: look MAINPID=1 READY=1"]


def test_a_manager_that_is_gone_or_does_not_listen_holds_up_nobody(tmp_path, manager):
    service({"NOTIFY_SOCKET": str(tmp_path / "gone")}, 1).ready()
    NOBODY.ready()
    address, ear = manager
    told = service({"NOTIFY_SOCKET": address}, 1)
    for _ in range(10_000):  # far more than its buffer holds
        told.stopping()
    assert STOPPING in heard(ear)


def test_a_line_that_waits_for_its_next_part_is_alive(tmp_path, manager):
    """The camera gives one part, then none until the watchdog has been fed three times."""
    address, ear = manager
    store, inbox = open_store(tmp_path / "line.db"), queue.SimpleQueue()
    said: list[bytes] = []

    def frames():
        yield Frame("p1", 1, "1.png", picture=picture(RED))
        while said.count(b"WATCHDOG=1") < 3:
            said.append(ear.recv(4096))
        inbox.put(Finish())

    told = service({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "20000"}, 1)
    summary = run(stub(), Source("mem:", frames(), None), [], store, inbox=inbox, service=told)
    store.dispose()
    said += heard(ear)
    assert summary.parts == 1
    assert [one for one in said if one != b"WATCHDOG=1"] == [*UP, b"READY=1", HALTED, STOPPING]


def test_a_line_that_hangs_is_silent(tmp_path, manager):
    """An actuator that does not return holds the main thread: verdicts no longer leave, and nothing is said."""
    address, ear = manager
    store = open_store(tmp_path / "line.db")
    silence: list[list[bytes]] = []

    def actuate(part, verdict, reason, triggered_ns):
        heard(ear)
        ear.setblocking(True)
        ear.settimeout(0.3)  # fifteen times WatchdogSec
        with pytest.raises(TimeoutError):
            silence.append([ear.recv(4096)])

    told = service({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "20000"}, 1)
    frames = iter([Frame("p1", 1, "1.png", picture=picture(RED))])
    summary = run(stub(), Source("mem:", frames, 1), [], store, actuate=actuate, service=told)
    store.dispose()
    assert (summary.fault, silence) == ("", [])


def test_from_the_command_line(tmp_path, manager):
    address, ear = manager
    write_bundle(tmp_path / "tiny.bundle")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "1.png").write_bytes(png(RED))
    command = [sys.executable, "-m", "lineside", "run", str(tmp_path / "tiny.bundle"), "--source"]
    done = subprocess.run(
        [*command, f"folder:{tmp_path}/parts"], capture_output=True, text=True, timeout=120,
        env=os.environ | {"NOTIFY_SOCKET": address},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert heard(ear) == [*UP, b"READY=1", HALTED, STOPPING]
