"""PostgreSQL that is killed, or hangs, while a line writes to it; two lines on one database."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.faults.shop import (
    PARTS,
    as_stored,
    by_run,
    gate_is_stored,
    moved,
    rows,
    so_far,
    store_is_whole,
    told_is_stored,
    until,
    waiting,
)
from tests.line.broker import needs_mosquitto
from tests.store.postgres import BIN, Postgres, needs_postgresql

pytestmark = [pytest.mark.slow, needs_postgresql]
SLOW = "deadline_ms=30000"


class Server(Postgres):
    """With kill -9 of all its processes, and their standing still."""

    def processes(self) -> list[int]:
        assert self.process
        parent = self.process.pid
        return [parent, *(pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _parent(pid) == parent)]

    def signal(self, number: signal.Signals) -> None:
        for pid in self.processes():
            os.kill(pid, number)

    def kill(self) -> None:
        """The server first: it would tell the others to end in order."""
        assert self.process
        self.signal(signal.SIGKILL)
        self.process.wait()

    def ask(self, query: str) -> list[tuple]:
        """By psql, which is no part of the program."""
        assert BIN
        command = [BIN / "psql", self.url, "-X", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-c", query]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return [
            tuple(int(v) if v.isdigit() and len(v) < 20 else v for v in line.split("\t"))
            for line in done.stdout.splitlines()
        ]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has ended meanwhile
        return 0


@pytest.fixture
def server():
    server = Server().start()
    yield server
    server.signal(signal.SIGCONT) if server.process and server.process.poll() is None else None
    server.remove()


def stop_midway(shop, plc, *flags, server, at=300):
    """A line whose database is killed when so many parts are through the gate, and comes back; the line, ended."""
    line = shop.line(*flags, "--gate", f"modbus://127.0.0.1:{plc.port}?{SLOW}&pass_ms=1", store=server.url)
    line.until(lambda: so_far(plc) >= at)
    server.kill()
    line.until(lambda: len(states(plc)) and states(plc)[-1] == 3)
    server.start()
    assert line.ends() == 6, line.said()
    return line


def states(plc) -> list[int]:
    """STATE, each time that the heartbeat wrote it: 1 running, 2 stopped, 3 fault."""
    return [one["values"][1] for one in plc.seen() if one.get("at") == 0 and one["function"] == 16]


@needs_mosquitto
def test_kill_9_of_the_database(shop, consumer, plc, server):
    """The line goes to its safe state; what the store had confirmed is there, and is told by the next line."""
    shop.furnish()
    flags = ("--to", consumer.url())
    line = stop_midway(shop, plc, *flags, server=server)
    assert "the line stopped, and rejected what was in flight: postgresql://" in line.said()
    assert "look at the database server" in line.said()
    summary = line.summary()
    assert summary["parts"] == len(moved(plc)[0]) < PARTS
    assert summary["stored"] + summary["lost"] == summary["parts"]
    # a commit whose confirmation was cut off may be there all the same
    assert summary["stored"] <= len(rows(server.ask)) <= summary["parts"]
    rest = ("--parts", str(PARTS - 300))
    shop.run(*flags, *rest, "--gate", f"modbus://127.0.0.1:{plc.port}?{SLOW}&pass_ms=1", store=server.url)
    until(lambda: waiting(server.ask) == 0)
    found = store_is_whole(server.ask, server.url)
    gate_is_stored(plc, found, shop.names)
    told_is_stored(consumer.seen(), found)


def test_what_was_decided_while_the_database_died_is_kept(shop, plc, server):
    """The line's process lives, and holds every verdict that the gate was told: none of them may be gone."""
    shop.furnish()
    stop_midway(shop, plc, server=server)
    (stored,) = by_run(rows(server.ask)).values()
    (told,) = moved(plc)
    assert server.ask("SELECT count(*) FROM run WHERE ended IS NULL") == [(0,)]
    assert all(as_stored(one, row) for one, row in zip(told, stored, strict=True))


def test_a_database_that_hangs(shop, plc, server):
    """No verdict waits for it while there is room; then the line takes no part that it could not reject in time."""
    shop.furnish()
    gate = f"modbus://127.0.0.1:{plc.port}?{SLOW}&pass_ms=1"
    line = shop.line("--gate", gate, "--deadline-ms", "1000", store=server.url)
    line.until(lambda: so_far(plc) >= 200)
    server.signal(signal.SIGSTOP)
    assert 3 not in states(plc)
    line.until(lambda: states(plc)[-1] == 3)
    at_gate = len(moved(plc)[0])
    server.signal(signal.SIGCONT)
    assert line.ends() == 6, line.said()
    assert "its deadline passed while the store and the sinks had no room" in line.said()
    summary = line.summary()
    assert (summary["stored"], summary["lost"]) == (at_gate, 0)
    gate_is_stored(plc, store_is_whole(server.ask, server.url), shop.names)


@needs_mosquitto
def test_two_lines_on_one_database_and_one_is_killed(shop, consumer, server):
    shop.furnish()
    flags = ("--to", consumer.url())
    first, second = (shop.line(*flags, store=server.url) for _ in range(2))
    second.until(lambda: consumer.so_far() > 300)
    first.kill()
    assert second.ends() == 0, second.said()
    shop.run(*flags, "--parts", "1", store=server.url)
    until(lambda: waiting(server.ask) == 0)
    found = store_is_whole(server.ask, server.url)
    assert sorted(len(run) for run in by_run(found).values())[-1] == PARTS
    assert len(by_run(found)) == 3
    told_is_stored(consumer.seen(), found)
