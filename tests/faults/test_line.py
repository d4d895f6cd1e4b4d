"""`kill -9` of the line, again and again, with a PLC at its gate and a consumer behind a broker."""

import pytest

from lineside.line.gate.gate import ROOM
from tests.faults.shop import (
    PARTS,
    gate_is_stored,
    so_far,
    sqlite,
    store_is_whole,
    told_is_stored,
    until,
    waiting,
)
from tests.line.broker import needs_mosquitto

pytestmark = pytest.mark.slow
SLOW = "deadline_ms=30000"  # of the gate: not what is tested here, on a machine that may be busy


@needs_mosquitto
@pytest.mark.parametrize("kills", [(150, 450)])
def test_kill_9_of_the_line(shop, consumer, plc, kills):
    """What the PLC was told is in the store, though the line was killed before it was committed."""
    shop.furnish()
    flags = ("--to", consumer.url(), "--gate", f"modbus://127.0.0.1:{plc.port}?{SLOW}&pass_ms=1")
    ask = sqlite(shop.store)
    for at in kills:
        line, done = shop.line(*flags), so_far(plc)
        line.until(lambda goal=done + at: so_far(plc) >= goal)
        line.kill()
    told = len(consumer.seen())
    rest = PARTS - sum(kills)
    summary = shop.run(*flags, "--parts", str(rest))
    assert (summary["parts"], summary["stored"], summary["fault"]) == (rest, rest, "")
    until(lambda: waiting(ask) == 0)
    found = store_is_whole(ask, shop.store)
    gate_is_stored(plc, found, shop.names, in_flight=[ROOM] * len(kills))
    told_is_stored(consumer.seen(), found)
    assert 0 < told < len(found)
    assert ask("SELECT count(*) FROM run WHERE ended IS NULL") == [(len(kills),)]
