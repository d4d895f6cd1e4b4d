"""The machine's clock jumps by an hour while a line runs, forward and back, for its process alone (wall_clock.c).

Verdicts, deadlines, order and outbox live by the monotonic clock, which no jump moves. Times in the store are the
machine's own, wrong or right; what asks by time (history, retention) must not lose anything by them.
"""

import json
import shutil
import struct
import subprocess
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

import pytest

from lineside.cli.main import main
from tests.faults.shop import (
    PARTS,
    gate_is_stored,
    rows,
    so_far,
    sqlite,
    store_is_whole,
    told_is_stored,
    until,
    waiting,
)
from tests.line.broker import needs_mosquitto

CC = shutil.which("cc")
pytestmark = [
    pytest.mark.slow,
    needs_mosquitto,
    pytest.mark.skipif(CC is None, reason="there is no C compiler: apt-get install gcc libc6-dev"),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    assert CC
    made = tmp_path_factory.mktemp("clock") / "wall_clock.so"
    source = Path(__file__).with_name("wall_clock.c")
    subprocess.run([CC, "-Wall", "-Werror", "-O1", "-shared", "-fPIC", "-o", made, source], check=True)
    return made


def stamps(ask) -> list[datetime]:
    query = "SELECT decided FROM chain JOIN inspection ON inspection.id = chain.inspection_id ORDER BY place"
    return [datetime.fromisoformat(found) for (found,) in ask(query)]


def test_the_clock_jumps_by_an_hour(shop, consumer, plc, tmp_path, library, capsys):
    """An hour forward, two back, one forward: three stretches of parts that are told nothing of it."""
    shop.furnish()
    offset = tmp_path / "offset"
    offset.write_bytes(struct.pack("q", 0))
    ask = sqlite(shop.store)
    begun = datetime.now(UTC)
    line = shop.line(
        "--to", consumer.url(), "--gate", f"modbus://127.0.0.1:{plc.port}?deadline_ms=30000&pass_ms=1",
        "--deadline-ms", "20000", LD_PRELOAD=str(library), LINESIDE_TEST_CLOCK=str(offset),
    )  # fmt: skip
    for parts, hours in ((200, 1), (500, -1), (800, 0)):
        line.until(lambda parts=parts: so_far(plc) > parts)
        set_to(offset, 3600 * hours)
    assert line.ends() == 0, line.said()
    until(lambda: waiting(ask) == 0)
    summary = line.summary()
    assert (summary["parts"], summary["stored"], summary["fault"]) == (PARTS, PARTS, "")
    found = store_is_whole(ask, shop.store)
    assert {row.reason for row in found} == {"decided"}  # no deadline of 20 s was missed by a jump of 3,600
    gate_is_stored(plc, found, shop.names)
    told_is_stored(consumer.seen(), found)

    # the jumps were seen: the store has the machine's own times
    off = [round((stamp.replace(tzinfo=UTC) - begun) / timedelta(hours=1)) for stamp in stamps(ask)]
    assert [hours for hours, _ in groupby(off)] == [0, 1, -1, 0]

    # by time, history finds what has such a time; by order, everything
    ahead = [row.id for row, hours in zip(found, off, strict=True) if hours == 1]
    soon, lately = begun + timedelta(minutes=30), begun - timedelta(minutes=30)
    assert history(shop, capsys, "--since", soon.isoformat()) == ahead
    assert history(shop, capsys) == [row.id for row in found]

    # retention deletes a beginning of the chain, and never what is younger than asked for, whatever the clock said
    for before, gone in ((lately, 0), (soon, off.index(1))):
        assert main(["forget", str(shop.store), "--before", before.isoformat()]) == 0
        assert main(["verify", "--store", str(shop.store)]) == 0
        assert rows(ask) == found[gone:]


def set_to(offset: Path, seconds: int) -> None:
    """In place: the process has the file in its memory."""
    with offset.open("r+b") as file:
        file.write(struct.pack("q", seconds))


def history(shop, capsys, *flags: str) -> list[str]:
    capsys.readouterr()
    assert main(["history", str(shop.store), "--json", *flags]) == 0
    return [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()]
