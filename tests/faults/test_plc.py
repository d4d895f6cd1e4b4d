"""A PLC that vanishes with parts on the belt: by its process's death, or silently, as when a cable is cut."""

import signal

import pytest

from tests.faults.shop import PARTS, VERDICT, gate_is_stored, good, moved, so_far, sqlite, store_is_whole
from tests.line.gate.doubles import plc as plc_double

pytestmark = pytest.mark.slow
DEADLINE = "deadline_ms=3000&pass_ms=1"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_plc_that_vanishes(shop, plc, tmp_path, how):
    """The line stops. What the PLC had confirmed it acts on; everything behind has no COUNT there, and is rejected."""
    shop.furnish()
    line = shop.line("--gate", f"modbus://127.0.0.1:{plc.port}?{DEADLINE}")
    line.until(lambda: so_far(plc) >= 400)
    plc.process.send_signal(how)
    assert line.ends() == 6, line.said()
    assert "the line stopped, and rejected what was in flight: " in line.said()
    assert "modbus://127.0.0.1" in line.said()
    found = store_is_whole(sqlite(shop.store), shop.store)
    summary = line.summary()
    assert (summary["stored"], summary["lost"]) == (len(found), 0)
    (at_gate,) = moved(plc)
    confirmed = summary["wire_ms"]["n"]
    # the last one may have been done and its confirmation be cut off: it was decided all the same
    assert confirmed <= len(at_gate) <= confirmed + 1
    assert len(at_gate) <= len(found) < PARTS  # as many where a heartbeat noticed it, with no part in flight
    for one, row in zip(at_gate, found, strict=False):
        assert VERDICT[one["verdict"]] == row.verdict
        assert good(row.name) or not one["passes"]


def test_a_plc_that_is_back_gets_the_next_runs_verdicts(shop, plc, tmp_path):
    shop.furnish()
    line = shop.line("--gate", f"modbus://127.0.0.1:{plc.port}?{DEADLINE}")
    line.until(lambda: so_far(plc) >= 200)
    plc.process.kill()
    assert line.ends() == 6, line.said()
    (tmp_path / "new").mkdir()
    with plc_double(tmp_path / "new", count=17) as back:
        gate = ("--gate", f"modbus://127.0.0.1:{back.port}?deadline_ms=30000&pass_ms=1")
        summary = shop.run(*gate, "--parts", str(PARTS - 200))
        (at_gate,) = moved(back)
    assert summary["wire_ms"]["n"] == PARTS - 200 == len(at_gate)
    assert all(one["passes"] == good(name) for one, name in zip(at_gate, shop.names, strict=False))
    store_is_whole(sqlite(shop.store), shop.store)


def test_a_second_line_at_the_gate_of_one_that_runs(shop, plc):
    """It is refused before it has told the PLC or a store anything; the first goes on to its end."""
    shop.furnish()
    gate = ("--gate", f"modbus://127.0.0.1:{plc.port}?deadline_ms=30000&pass_ms=1")
    first = shop.line(*gate, "--parts", str(PARTS))
    first.until(lambda: so_far(plc) >= 200)
    beside = shop.folder / "beside.db"
    second = shop.line(*gate, store=beside)
    assert second.ends() == 6
    assert "another line tells this PLC its verdicts" in second.said()
    assert first.process.poll() is None, "the first was to be running all the time"
    assert first.ends() == 0, first.said()
    assert not beside.exists() or sqlite(beside)("SELECT count(*) FROM inspection") == [(0,)]
    found = store_is_whole(sqlite(shop.store), shop.store)
    assert len(found) == PARTS
    gate_is_stored(plc, found, shop.names)
