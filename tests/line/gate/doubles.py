"""What the tests of gates talk to: the PLC double as a process, and a wire that is plain functions."""

import contextlib
import json
import queue
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lineside.line.gate.wire import Telegram, Wire
from lineside.line.source.device import Grab


@dataclass
class Plc:
    process: subprocess.Popen
    port: int
    log: Path

    def seen(self) -> list[dict[str, Any]]:
        """What it has printed so far, whole lines only; the first is its port."""
        lines = self.log.read_text().rpartition("\n")[0].splitlines()[1:]
        return [json.loads(line) for line in lines]

    def parts(self) -> list[dict[str, Any]]:
        return [one for one in self.seen() if "sequence" in one]

    def coils(self) -> list[list[bool]]:
        """[REJECT, PASS], each time that they were written."""
        return [one["values"] for one in self.seen() if one.get("function") == 15]


@dataclass(kw_only=True)
class Wired:
    """A camera with a hardware trigger, whose frames are what somebody puts on its wire."""

    wire: queue.SimpleQueue = field(default_factory=queue.SimpleQueue)
    name: str = "wired"
    shape: tuple[int, int, int] = (16, 16, 3)
    notes: tuple[str, ...] = ()
    ids: int = 0

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...
    def fire(self) -> None: ...
    def alive(self) -> str:
        return ""

    def grab(self, timeout_s: float) -> Grab | None:
        with contextlib.suppress(queue.Empty):
            return self.wire.get(timeout=timeout_s)
        return None


@contextlib.contextmanager
def plc(folder: Path, count: int = 0, *belt: str) -> Iterator[Plc]:
    """The double; ended by its process, whatever happens. belt: its encoder's first reading, and how it runs."""
    log = folder / "plc.log"
    with log.open("w") as out:
        process = subprocess.Popen([sys.executable, "-m", "tests.line.gate.plc", str(count), *belt], stdout=out)
    try:
        until(lambda: log.read_text().endswith("\n") or process.poll() is not None)
        assert process.poll() is None
        yield Plc(process, int(log.read_text().splitlines()[0]), log)
    finally:
        process.kill()
        process.wait()


def until(true: Callable[[], Any], patience_s: float = 60.0) -> None:
    """Wait until it is so; nothing is said about how long that takes."""
    for _ in range(round(patience_s / 0.005)):
        if true():
            return
        time.sleep(0.005)
    raise AssertionError(f"not so within {patience_s:g} s")


@dataclass
class Fake:
    """A wire that notes what it was asked, and does what `then` says."""

    told: list[Telegram] = field(default_factory=list)
    log: list[Any] = field(default_factory=list)  # "rest", ("beat", n, state), ("tell", sequence), "close"
    then: Callable[[str], None] = lambda what: None
    encoder: Callable[[], int] = lambda: 0

    def wire(self, count: int = 0) -> Wire:
        def tell(telegram: Telegram) -> None:
            self.log.append(("tell", telegram.sequence))
            self.then("tell")
            self.told.append(telegram)

        def rest() -> None:
            self.log.append("rest")
            self.then("rest")

        def beat(n: int, state: int) -> None:
            self.log.append(("beat", n, state))
            self.then("beat")

        return Wire("fake:", count, lambda: (0, 0), tell, rest, beat, lambda: self.log.append("close"), self.encoder)
