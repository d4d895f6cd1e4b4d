"""An indexing PLC: it moves one part under the camera, triggers, and waits for its verdict before it moves on.

Pictures are lost on the network. What docs/plc.md asks of such a PLC (a patience of its own; SEQUENCE compared with its
triggers) is its program here, over the Modbus double; and what a PLC without it would do is shown, too.
"""

import queue
import threading
import time
from dataclasses import dataclass

from lineside.line.gate.catalog import open_gate
from lineside.line.messages import Finish
from lineside.line.source.device import Grab
from lineside.line.source.live import live
from lineside.line.source.settings import Camera
from lineside.store.open import open_store
from tests.line.gate.doubles import Plc, Wired, plc, until
from tests.line.tiny import BLUE, RED, picture, run, stub

PARTS = 24
LOST = (5, 6, 13, 20)  # their pictures never arrive; 5 and 6 in a row
BAD = (2, 6, 7, 14, 20)  # before, in and behind the gaps
DEADLINE_MS, GATE_MS = 1000, 1000
PATIENCE_S = (DEADLINE_MS + GATE_MS) / 1000 + 0.2


@dataclass
class Indexed(Wired):
    """A camera with a hardware trigger on a network that loses frames."""

    lost: tuple[int, ...]
    triggered: int = 0

    def expose(self, color: tuple[int, int, int]) -> None:
        """The PLC's trigger output."""
        self.triggered += 1
        if self.triggered not in self.lost:
            self.wire.put(Grab(picture(color), time.monotonic_ns(), frame_id=self.triggered))


def index(double: Plc, camera: Indexed, compares: bool) -> dict[int, bool]:
    """The PLC's program: whether it lets each part pass. compares: SEQUENCE with the number of its triggers."""
    passed: dict[int, bool] = {}
    taken = 0  # verdicts
    for n in range(1, PARTS + 1):
        camera.expose(BLUE if n in BAD else RED)
        passed[n], until_s = False, time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s:
            verdicts = double.parts()[taken:]
            if not verdicts:
                time.sleep(0.002)
                continue
            taken += 1
            assert verdicts[0]["sequence"] <= n, "more verdicts than triggers: a PLC would stop here"
            if compares and verdicts[0]["sequence"] < n:
                continue  # of a part that has gone: not used
            passed[n] = verdicts[0]["passes"]
            break
    return passed


def shift(folder, compares: bool) -> tuple[dict[int, bool], list[dict]]:
    """What passes in one run of the line, and what the PLC was told."""
    camera, inbox = Indexed(LOST), queue.SimpleQueue()
    source = live("indexed:", lambda: camera, Camera(trigger="hardware"))
    with plc(folder) as double:
        gate = open_gate(f"modbus://127.0.0.1:{double.port}?deadline_ms={GATE_MS}&pass_ms=1")
        line = threading.Thread(
            target=run,
            args=(stub(), source, [], open_store(folder / "line.db")),
            kwargs={"deadline_ms": DEADLINE_MS, "gate": gate, "inbox": inbox},
        )
        line.start()
        until(lambda: any(one.get("at") == 1 and one["values"][0] == 10 for one in written(double)))  # continuous
        passed = index(double, camera, compares)
        inbox.put(Finish())
        line.join(60)
        assert not line.is_alive()
        return passed, double.parts()


def written(double: Plc) -> list[dict]:
    """Registers, one by one: {"at", "values"}."""
    single = []
    for one in double.seen():
        if one.get("function") == 16:
            single += [{"at": one["at"] + i, "values": [value]} for i, value in enumerate(one["values"])]
    return single


def test_a_plc_that_compares_sequence_passes_the_good_parts_and_no_other(tmp_path):
    passed, told = shift(tmp_path, compares=True)
    assert passed == {n: n not in BAD and n not in LOST for n in range(1, PARTS + 1)}
    assert [one["sequence"] for one in told] == list(range(1, PARTS + 1))  # each part once, the lost ones behind time
    assert [one["sequence"] for one in told if one["verdict"] == 3] == sorted({*BAD, *LOST})


def test_one_that_takes_each_count_for_its_last_part_falls_behind(tmp_path):
    passed, _ = shift(tmp_path, compares=False)
    assert not any(passed[n] for n in BAD if n < LOST[0])
    assert passed[14]  # a bad part, by the verdict of part 12
