"""The machine's clock jumps by an hour while a line runs, forward and back, for its process alone (wall_clock.c).

Verdicts, deadlines, order and outbox live by the monotonic clock, which no jump moves. Times in the store are the
machine's own, wrong or right; what asks by time (history, retention) must not lose anything by them.
"""

import json
import shutil
import struct
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.faults.shop import (
    PARTS,
    gate_is_stored,
    rows,
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


@pytest.mark.parametrize("hours", [1, -1])
def test_the_clock_jumps_by_an_hour(shop, consumer, plc, tmp_path, library, hours):
    shop.furnish()
    offset = tmp_path / "offset"
    offset.write_bytes(struct.pack("q", 0))
    ask = sqlite(shop.store)
    begun = datetime.now(UTC)
    flags = ("--to", consumer.url(), "--gate", f"modbus://127.0.0.1:{plc.port}?deadline_ms=30000&pass_ms=1")
    line = shop.line(
        *flags, "--deadline-ms", "20000", LD_PRELOAD=str(library), LINESIDE_TEST_CLOCK=str(offset)
    )  # fmt: skip
    line.until(lambda: len(plc.parts()) > 300)
    set_to(offset, 3600 * hours)
    line.until(lambda: len(plc.parts()) > 600)
    set_to(offset, 0)
    assert line.ends() == 0, line.said()
    until(lambda: waiting(ask) == 0)
    summary = line.summary()
    assert (summary["parts"], summary["stored"], summary["fault"]) == (PARTS, PARTS, "")
    found = store_is_whole(ask, shop.store)
    assert {row.reason for row in found} == {"decided"}  # no deadline of 20 s was missed by a jump of 3,600
    gate_is_stored(plc, found, shop.names)
    told_is_stored(consumer.seen(), found)

    there = begun + timedelta(hours=hours)
    ahead = [abs(stamp.replace(tzinfo=UTC) - there) < timedelta(minutes=10) for stamp in stamps(ask)]
    assert 100 < sum(ahead) < 600  # the jump was seen: the store has the machine's own times
    first, last = ahead.index(True), PARTS - 1 - ahead[::-1].index(True)
    assert all(ahead[first : last + 1])

    # by time, history finds what has such a time; by order, everything
    middle = begun + timedelta(minutes=30 * hours)
    since = [row for row, far in zip(found, ahead, strict=True) if far == (hours > 0) or (hours < 0 and not far)]
    assert _history(shop, "--since", middle.isoformat()) == [row.id for row in since]
    assert _history(shop) == [row.id for row in found]

    # retention deletes a beginning of the chain: never what is younger than asked for, whatever the clock said
    _lineside("forget", str(shop.store), "--before", middle.isoformat())
    _lineside("verify", "--store", str(shop.store))
    left = rows(ask)
    gone = PARTS - len(left)
    assert [row.id for row in found[gone:]] == [row.id for row in left]
    kept = {row.id for row in left}
    assert all(row.id in kept for row in since)
    assert gone == (first if hours > 0 else 0)


def set_to(offset: Path, seconds: int) -> None:
    """In place: the process has the file in its memory."""
    with offset.open("r+b") as file:
        file.write(struct.pack("q", seconds))


def _history(shop, *flags: str) -> list[str]:
    return [json.loads(line)["id"] for line in _lineside("history", str(shop.store), "--json", *flags).splitlines()]


def _lineside(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "lineside", *words], capture_output=True, text=True, check=True)
    return done.stdout
