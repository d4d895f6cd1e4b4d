"""An engine that hangs: a real graph that goes round in a loop for one part, in onnxruntime."""

import pytest

from tests.faults.graphs import hanging
from tests.faults.shop import PARTS, gate_is_stored, rows, sqlite
from tests.line.tiny import png

pytestmark = pytest.mark.slow
BAD_LUCK = 400  # the part that the engine hangs on
FOR_EVER = 10**15  # rounds: a thousand years
GREEN = (250, 200, 30)  # a good part otherwise: had it an answer in time, it would be accepted


def unlucky(shop, trips: int, parts: int = PARTS) -> None:
    shop.furnish(parts, extra={"model.onnx": hanging(trips)})
    name = f"{BAD_LUCK:05}-good.png"
    (shop.parts / shop.names[BAD_LUCK - 1]).unlink()
    (shop.parts / name).write_bytes(png(GREEN))
    shop.names[BAD_LUCK - 1] = name


@pytest.mark.parametrize(("trips", "comes_back"), [(FOR_EVER, False), (300_000, True)])
def test_an_engine_that_hangs(shop, plc, trips, comes_back):
    """The part and those behind it are rejected at their deadlines, in order, by the gate too; none of them passes."""
    unlucky(shop, trips)
    line = shop.line("--gate", f"modbus://127.0.0.1:{plc.port}?deadline_ms=30000&pass_ms=1", "--deadline-ms", "200")
    code = line.ends()
    assert code == 0 or not comes_back, line.said()
    summary = line.summary()
    assert (summary["parts"], summary["stored"]) == (PARTS, PARTS)
    found = rows(sqlite(shop.store))
    assert [row.sequence for row in found] == list(range(1, PARTS + 1))
    assert [row.name for row in found] == shop.names
    assert (found[BAD_LUCK - 1].verdict, found[BAD_LUCK - 1].reason) == ("reject", "deadline")
    assert {row.reason for row in found} == {"decided", "deadline"}
    gate_is_stored(plc, found, shop.names)
    assert (found[-1].reason == "decided") == comes_back
    if not comes_back:
        assert {row.reason for row in found[BAD_LUCK - 1 :]} == {"deadline"}


def test_a_line_whose_engine_hangs_ends_in_order(shop):
    unlucky(shop, FOR_EVER, parts=BAD_LUCK + 10)
    line = shop.line("--deadline-ms", "200", fps=500)
    assert line.ends() in (0, 6)
    assert "terminate called" not in line.said()
