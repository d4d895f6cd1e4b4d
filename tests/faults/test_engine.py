"""An engine that hangs: a real graph that goes round in a loop for one part, in onnxruntime."""

import pytest

from tests.faults.graphs import hanging
from tests.faults.shop import PARTS, gate_is_stored, rows, sqlite
from tests.line.tiny import png

pytestmark = pytest.mark.slow
BAD_LUCK = 400  # the part that the engine hangs on
GREEN = (250, 200, 30)  # a good part otherwise: had it an answer in time, it would be accepted


@pytest.mark.parametrize(("trips", "comes_back"), [(10**15, False), (300_000, True)])
def test_an_engine_that_hangs(shop, plc, trips, comes_back):
    """The part and those behind it are rejected at their deadlines, in order, by the gate too; none of them passes."""
    shop.furnish(extra={"model.onnx": hanging(trips)})
    name = f"{BAD_LUCK:05}-good.png"
    (shop.parts / shop.names[BAD_LUCK - 1]).unlink()
    (shop.parts / name).write_bytes(png(GREEN))
    shop.names[BAD_LUCK - 1] = name
    summary = shop.run("--gate", f"modbus://127.0.0.1:{plc.port}?deadline_ms=30000&pass_ms=1", "--deadline-ms", "200")
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
