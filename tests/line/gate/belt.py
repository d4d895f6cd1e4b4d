"""A belt, and the PLC that runs docs/plc.md's program over it (st.py), on the memory of the Modbus double.

The PLC's time and the belt's way are one virtual count of ms that stands still when this machine is slow: a part is
never past the gate because a test was not given the processor.
"""

import json
import time
from collections.abc import Callable, Mapping

from tests.line.gate.doubles import Plc
from tests.line.gate.st import Block, program

TICK_MS = 5  # the PLC's cycle
WIDE = {"verdict": 2, "reason": 3, "count": 12, "heartbeat": 0, "state": 1}  # registers, docs/plc.md
SEQUENCE = 4


class Image:
    """The memory of the double as its PLC copies it before a cycle. Final."""

    def __init__(self, double: Plc):
        self._log, self._at = double.log, len(double.log.read_bytes().splitlines(keepends=True)[0])  # behind the port
        self.coils, self.registers = [True, False], [0] * 16

    def read(self) -> None:
        with self._log.open("rb") as file:
            file.seek(self._at)
            whole = file.read().rpartition(b"\n")[0]
        self._at += len(whole) + bool(whole)
        for line in whole.splitlines():
            one = json.loads(line)
            if "function" in one:
                memory = self.coils if one["function"] == 15 else self.registers
                memory[one["at"] : one["at"] + len(one["values"])] = one["values"]

    def inputs(self) -> dict[str, int | bool]:
        high, low = self.registers[SEQUENCE : SEQUENCE + 2]
        coils = {"reject_coil": self.coils[0], "pass_coil": self.coils[1]}
        return coils | {name: self.registers[at] for name, at in WIDE.items()} | {"sequence": high << 16 | low}


class Belt:
    """Parts that come to the camera, and `way` ms later to the gate. Final."""

    def __init__(self, double: Plc, *, way: int, settle: int, slack: int = 20):
        self._image, self._way = Image(double), way
        self.plc = Block(program(), WAY=way, SLACK=slack, SETTLE=settle, SILENT=1000)
        self.now = 0
        self.fired: list[int] = []
        self.passed: dict[int, bool] = {}

    def run(
        self,
        parts: Mapping[int, int],
        fire: Callable[[int], None],
        at: Mapping[int, Callable[[], None]] | None = None,
        *,
        there: Callable[[int], None] = lambda n: None,
    ) -> dict[int, bool]:
        """Which of the parts pass. parts: number → ms at the camera; fire: the camera's trigger, with that part before
        it; at: what happens when; there: is told of each part at the camera, fired or not."""
        camera = {ms // TICK_MS: n for n, ms in parts.items()}
        gate = {(ms + self._way) // TICK_MS: n for n, ms in parts.items()}
        events = {ms // TICK_MS: call for ms, call in (at or {}).items()}
        started = time.monotonic() - self.now / 1000
        for tick in range(self.now // TICK_MS, max(gate) + 1):
            time.sleep(max(0.0, started + tick * TICK_MS / 1000 - time.monotonic()))
            if tick in events:
                events[tick]()
            self.cycle(tick * TICK_MS, tick in camera)
            if tick in camera:
                there(camera[tick])
                if self.plc.values["fire"]:
                    self.fired.append(camera[tick])
                    fire(camera[tick])
            if tick in gate:
                self.passed[gate[tick]] = self.plc.values["gate_open"]
        return self.passed

    def cycle(self, ms: int, part: bool) -> None:
        self.now = ms
        self._image.read()
        self.plc.cycle(**self._image.inputs(), now=ms, belt=ms, part_at_camera=part)
        self._image.coils[:2] = [self.plc.values["reject_coil"], self.plc.values["pass_coil"]]
