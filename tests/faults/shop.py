"""A small plant around a real `lineside run`: parts whose truth is in their names, a PLC double, a consumer; and what
must hold afterwards, read by other means than the program's own: sqlite3, the PLC's record, the consumer's file.
"""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lineside.cli.main import main
from tests.line.broker import free_port, until
from tests.line.gate.doubles import Plc
from tests.line.tiny import BLUE, GREY, RED, png, write_bundle

__all__ = ["free_port", "until"]
ROOT = Path(__file__).parents[2]
PARTS = 1000
FPS = 100  # of the conveyor: the PLC double keeps up with it on a machine that does other things, too
TRUTH = {"good": ("accept", RED), "odd": ("hold", GREY), "bad": ("reject", BLUE)}  # what the tiny bundle says of each
VERDICT = {1: "accept", 2: "hold", 3: "reject"}  # docs/plc.md
FAULT = 6  # a reason, docs/plc.md
COLUMNS = "run_id, sequence, inspection.id, name, verdict, reason"


class Row(NamedTuple):
    """Of the store, in the order of its chain."""

    run: str
    sequence: int
    id: str
    name: str
    verdict: str
    reason: str


@dataclass
class Line:
    """`lineside run` in a process of its own."""

    process: subprocess.Popen
    out: Path
    log: Path  # stderr

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def said(self) -> str:
        return self.log.read_text()

    def until(self, true: Callable[[], object]) -> None:
        """Wait for a fact while the line runs."""
        until(lambda: true() or self.process.poll() is not None, 100)
        assert true(), self.said()

    def ends(self, seconds: float = 100.0) -> int:
        return self.process.wait(seconds)

    def summary(self) -> dict[str, Any]:
        return json.loads(self.out.read_text())


@dataclass
class Shop:
    folder: Path
    names: list[str] = field(default_factory=list)  # of the parts; number k on the conveyor is names[k - 1]
    lines: list[Line] = field(default_factory=list)

    @property
    def bundle(self) -> Path:
        return self.folder / "tiny.bundle"

    @property
    def store(self) -> Path:
        return self.folder / "line.db"

    @property
    def parts(self) -> Path:
        return self.folder / "parts"

    def furnish(self, parts: int = PARTS, **bundle) -> "Shop":
        """The bundle, and so many parts, of which a third is bad; by a fixed draw."""
        write_bundle(self.bundle, **bundle)
        self.parts.mkdir()
        for truth, (_, color) in TRUTH.items():
            (self.folder / f"{truth}.png").write_bytes(png(color))
        draw = random.Random(4)
        for k in range(1, parts + 1):
            truth = draw.choice(list(TRUTH))
            self.names.append(f"{k:05}-{truth}.png")
            (self.parts / self.names[-1]).hardlink_to(self.folder / f"{truth}.png")
        return self

    def line(
        self,
        *flags: str,
        fps: float | None = FPS,
        before: Sequence[str] = (),
        source: str = "",
        store: str | Path = "",
        program: Sequence[str] = ("-m", "lineside"),
        **environment: str,
    ) -> Line:
        """Start one. before: a command that starts it. environment: more of it."""
        command = [
            *before, sys.executable, *program, "run", str(self.bundle), "--source", source or f"folder:{self.parts}",
            "--store", str(store or self.store), "--json", *(["--max-fps", f"{fps}"] if fps else []), *flags,
            *(["--deadline-ms", "600000"] if "--gate" in flags and "--deadline-ms" not in flags else []),
        ]  # fmt: skip
        out, log = (self.folder / f"line-{len(self.lines)}.{ending}" for ending in ("json", "log"))
        with out.open("w") as stdout, log.open("w") as stderr:
            process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=stdout, stderr=stderr)
        self.lines.append(Line(process, out, log))
        return self.lines[-1]

    def run(self, *flags: str, **given) -> dict[str, Any]:
        """A line that comes to its end by itself, and has to; its summary."""
        line = self.line(*flags, **given)
        assert line.ends() == 0, line.said()
        return line.summary()

    def close(self) -> None:
        for line in self.lines:
            if line.process.poll() is None:
                line.process.send_signal(signal.SIGCONT)
                line.kill()


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Shop]:
    shop = Shop(folder)
    try:
        yield shop
    finally:
        shop.close()


# ---------------------------------------------------------------------------------------------------------- consumer


@dataclass
class Kept:
    """The consumer's process and its file."""

    port: int
    path: Path
    topic: str = "plant/3"
    slow_s: float = 0.0
    process: subprocess.Popen | None = None

    def start(self) -> "Kept":
        command = [sys.executable, "-m", "tests.faults.consumer", str(self.port), self.topic, str(self.path)]
        self.process = subprocess.Popen([*command, str(self.slow_s)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n"
        return self

    def send(self, number: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout
            self.process.stdout.close()

    def seen(self) -> list[dict[str, Any]]:
        """Every arrival, in order."""
        whole = self.path.read_text().rpartition("\n")[0].splitlines() if self.path.exists() else []
        return [json.loads(line) for line in whole]

    def so_far(self) -> int:
        """How many arrivals there were; cheap enough to be asked all the time."""
        return self.path.read_bytes().count(b"\n") if self.path.exists() else 0

    def url(self, options: str = "") -> str:
        return f"mqtt://127.0.0.1:{self.port}/{self.topic}?plain=true&anonymous=true&timeout_s=2{options}"


@contextlib.contextmanager
def consuming(port: int, folder: Path, slow_s: float = 0.0) -> Iterator[Kept]:
    kept = Kept(port, folder / "kept.jsonl", slow_s=slow_s).start()
    try:
        yield kept
    finally:
        kept.kill()


# ------------------------------------------------------------------------------------------------- what is in a store

Ask = Callable[[str], list[tuple]]


def sqlite(path: Path) -> Ask:
    """Queries by the sqlite3 module."""

    def ask(query: str) -> list[tuple]:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return connection.execute(query).fetchall()

    return ask


def rows(ask: Ask) -> list[Row]:
    query = f"SELECT {COLUMNS} FROM chain JOIN inspection ON inspection.id = chain.inspection_id ORDER BY place"
    return [Row(*found) for found in ask(query)]


def waiting(ask: Ask) -> int:
    return ask("SELECT count(*) FROM outbox WHERE closed IS NULL")[0][0]


# ------------------------------------------------------------------------------------------------------- the promises


def by_run(found: Sequence[Row]) -> dict[str, list[Row]]:
    runs: dict[str, list[Row]] = {}
    for row in found:
        runs.setdefault(row.run, []).append(row)
    return runs


def good(name: str) -> bool:
    return name.endswith("-good.png")


def store_is_whole(ask: Ask, store: str | Path) -> list[Row]:
    """Nobody but good parts is accepted, each run is 1, 2, 3 …, no id twice, the chain holds. Its rows."""
    found = rows(ask)
    assert found
    assert len({row.id for row in found}) == len(found) == ask("SELECT count(*) FROM inspection")[0][0]
    for run in by_run(found).values():
        assert [row.sequence for row in run] == list(range(1, len(run) + 1))
    for row in found:
        truth = row.name.rpartition("-")[2].removesuffix(".png")
        assert row.verdict == (TRUTH[truth][0] if row.reason == "decided" else "reject"), row
    assert main(["verify", "--store", str(store)]) == 0
    return found


def told_is_stored(seen: Sequence[dict[str, Any]], found: Sequence[Row], *, all_of_it: bool = True) -> None:
    """The consumer has what the store has, in its order, each result under one id: what an idempotent one makes of it.

    all_of_it: nothing waits any more; otherwise the beginning.
    """
    first = {one["id"]: one for one in reversed(seen)}  # ids are unique in the store, so an id stands for its result
    once = [first[id] for id in dict.fromkeys(one["id"] for one in seen)]
    assert len(once) == len(found) if all_of_it else len(once) <= len(found)
    for one, row in zip(once, found, strict=False):
        assert (one["id"], one["run_id"], one["sequence"], one["verdict"]) == (
            row.id,
            row.run,
            row.sequence,
            row.verdict,
        )
    assert len({(one["run_id"], one["sequence"]) for one in seen}) == len(once)
    assert [one["number"] for one in once] == list(range(1, len(once) + 1))


def so_far(plc: Plc) -> int:
    """How many parts the PLC has acted on, over all runs; cheap enough to be asked all the time."""
    return plc.log.read_bytes().count(b'"passes"')


def moved(plc: Plc) -> list[list[dict[str, Any]]]:
    """What the PLC did with the parts, run by run: a run begins at sequence 1."""
    runs: list[list[dict[str, Any]]] = []
    for one in plc.parts():
        if one["sequence"] == 1:
            runs.append([])
        runs[-1].append(one)
    return runs


def as_stored(one: dict[str, Any], row: Row) -> bool:
    """Whether the PLC was told what the store says; what was still on its way when a fault came, may not pass."""
    return VERDICT[one["verdict"]] == row.verdict or (VERDICT[one["verdict"]], one["reason"]) == ("reject", FAULT)


def gate_is_stored(
    plc: Plc, found: Sequence[Row], names: Sequence[str], *, in_flight: Sequence[int] = (0,), lost: int = 0
) -> None:
    """The PLC moved each part as the store says, in order, and passed none but good ones.

    in_flight: for each run, how many of its last verdicts may be missing at the PLC: those that were on their way when
    the process was killed. lost: how many the store may not have, of each run.
    """
    stored = list(by_run(found).values())
    at_gate = moved(plc)
    assert len(at_gate) == len(stored)
    allowed = [*in_flight, *[0] * (len(stored) - len(in_flight))]
    for run, parts, missing in zip(stored, at_gate, allowed, strict=True):
        assert [one["sequence"] for one in parts] == list(range(1, len(parts) + 1))
        assert -lost <= len(run) - len(parts) <= missing, (len(run), len(parts))
        for one, row in zip(parts, run, strict=False):
            assert as_stored(one, row), (one, row)
        for one in parts:
            assert one["passes"] == (one["verdict"] == 1)
            assert good(names[one["sequence"] - 1]) or not one["passes"]
