"""docs/plc.md's program alone, in a world of arbitrary parts, lost and invented pictures, restarts and outages.

The world keeps what the page asks of it: a picture that comes takes no longer than SETTLE to its verdict, and pictures
that nobody triggered, or that vanish without a trace, come only where parts are further apart than that. Then no bad
part passes. Without a safeguard of the program one does; of two that see the same, both are taken out.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.line.gate.st import BITS, Block, Word, program

TICK, SETTLE, WAY, SLACK, SILENT = 5, 150, 600, 20, 400
SMALL = {"PLACES": 16, "LAST": 15, "SETTLE": SETTLE, "WAY": WAY, "SLACK": SLACK, "SILENT": SILENT}
BEAT_MS = 100


@dataclass
class World:
    """A line as the PLC sees it. Pictures have ids; what is missing between two of them is told as unreadable."""

    draw: random.Random
    slow: bool  # parts are further apart than SETTLE
    plc: Block
    delay: int  # ms, at least, from trigger to verdict
    alive: bool = True
    state: int = 10
    beats: int = 0
    sequence: int = 0
    frame: int = 0
    last_id: int | None = None
    late: list[tuple[int, list[tuple[int, int, int]]]] = field(default_factory=list)  # when, verdict reason sequence
    memory: dict = field(default_factory=lambda: {"reject_coil": True, "pass_coil": False, "count": 65530})

    def picture(self, now: int, bad: bool, fate: float) -> None:
        """The camera was fired, or somebody thinks so."""
        if not self.alive:
            return
        if fate < 0.03 and self.slow:
            return  # without a trace
        self.frame += 1
        if fate < 0.12:
            return  # lost on its way
        told = []
        missing = self.frame - self.last_id - 1 if self.last_id is not None else 0
        for _ in range(missing):
            self.sequence += 1
            told.append((3, 4, self.sequence))
        self.last_id = self.frame
        self.sequence += 1
        told.append((3 if bad else 1, 1, self.sequence))
        when = now + self.delay + self.draw.randrange(TICK, 30)
        self.late.append((max(when, self.late[-1][0] if self.late else 0), told))

    def restart(self) -> None:
        self.beats = self.sequence = self.frame = 0
        self.last_id = None
        self.alive, self.state, self.late = True, 10, []

    def cycle(self, now: int) -> None:
        if self.alive and now % BEAT_MS == 0:
            self.beats = (self.beats + 1) % 65536
            self.memory |= {"heartbeat": self.beats, "state": self.state}
        while self.alive and self.late and self.late[0][0] <= now:
            for verdict, reason, sequence in self.late.pop(0)[1]:
                told = {"verdict": verdict, "reason": reason, "sequence": sequence}
                self.memory |= told | {"reject_coil": verdict != 1, "pass_coil": verdict == 1}
                self.memory["count"] = (self.memory["count"] + 1) % 65536


def shift(seed: int, text: str, parts: int = 150) -> tuple[list[int], int, int]:
    """The parts that passed, though bad, or on the belt of a line that was gone; and of how many good ones how many."""
    draw = random.Random(seed)
    slow = draw.random() < 0.5
    pitch = (SETTLE + 30, 400) if slow else (2 * SLACK - 10, 150)
    world = World(draw, slow, Block(text, **SMALL), draw.randrange(SETTLE - 40))
    first = draw.choice([0, 2**32 - 4000])
    for name in ("fired", "gone"):
        world.plc.put(name, draw.choice([0, 2**32 - 100]))
    world.plc.put("gone", world.plc.values["fired"])
    camera, gate, bad, doubtful, at = {}, {}, set(), set(), 1000
    for n in range(parts):
        camera[at] = gate[at + WAY + draw.choice([-10, -5, 0, 5, 10])] = n
        bad |= {n} if draw.random() < 0.4 else set()
        at += TICK * (draw.randrange(*pitch) // TICK)
    events: dict[int, Callable[[], None]] = {}
    for k in range(4):  # one after another
        now = TICK * (round(at * (k + draw.random() / 3) / 4) // TICK)
        away = draw.choice([0, TICK, 300, 1000, 1000])
        if not k:  # the numbers have just been tied
            now, away = TICK * ((1000 + SETTLE + draw.randrange(1000)) // TICK), TICK

        def die() -> None:
            world.alive, world.late = False, []

        def halt() -> None:
            world.memory["state"] = world.state = 5

        def go_on() -> None:
            world.memory["state"] = world.state = 10

        def invent() -> None:
            if world.slow:
                world.picture(camera_now[0], False, 1.0)

        start, end = draw.choice([(die, world.restart), (halt, go_on), (invent, invent)])
        events |= {now: start, now + away: end} if away else {now: invent}
        if away > 10 * TICK and start is not invent:  # what lies on the belt then: nobody answers for it any more
            stale = now + (2 * TICK if start is halt else SILENT + 2 * TICK)
            doubtful |= {n for ms, n in camera.items() if ms < now and ms + WAY - 10 > stale and away > stale - now}
    passed, camera_now = [], [0]
    for now in range(0, at + WAY + 100, TICK):
        camera_now[0] = now
        if now in events:
            events[now]()
        world.cycle(now)
        world.plc.cycle(**world.memory, now=first + now, belt=first + now, part_at_camera=now in camera)
        world.memory |= {name: world.plc.values[name] for name in ("reject_coil", "pass_coil")}
        if now in camera and world.plc.values["fire"]:
            world.picture(now, camera[now] in bad, draw.random())
        if now in gate and world.plc.values["gate_open"]:
            passed.append(gate[now])
    return [n for n in passed if n in bad | doubtful], len([n for n in passed if n not in bad]), parts - len(bad)


@pytest.mark.parametrize("seed", range(12))
def test_no_bad_part_passes(seed):
    wrong, passed, good = shift(seed, program())
    assert not wrong
    assert passed > 0.1 * good


SAFEGUARDS = {  # its text and what stands there without it, in turn
    "every place begins as REJECT": ("        may_pass[i] := FALSE;\n        fired_belt", "        fired_belt"),
    "the belt is cleared": ("        may_pass[i] := FALSE;\n    END_FOR", "        near := near;\n    END_FOR"),
    "a heartbeat that stays away": ("OR now - last_beat > SILENT", ""),
    "the state": ("IF NOT passing OR", "IF"),
    "a slip": ("in_step AND number <> fired", "FALSE", "seen AND now - fired_at[i] > SETTLE", "FALSE"),
    "SETTLE is waited for": (
        "> SETTLE) THEN\n        fire", "> 60) THEN\n        fire",
        "> SETTLE THEN\n    number", "> 60 THEN\n    number",
    ),
    "parts that are near": ("        barred[i] := TRUE;\n        may_pass[i] := FALSE;", "        ran := 0;"),
    "its own number": ("number := sequence + offset;\n        behind", "number := fired;\n        behind"),
}  # fmt: skip


@pytest.mark.parametrize("name", SAFEGUARDS)
def test_without_a_safeguard_one_does(name):
    text, pairs = program(), iter(SAFEGUARDS[name])
    for there, without in zip(pairs, pairs, strict=True):
        assert text.count(there) == 1
        text = text.replace(there, without)
    assert any(shift(seed, text)[0] for seed in range(30))


def test_words_are_as_wide_as_they_were_declared():
    block = Block(
        "FUNCTION_BLOCK x VAR a, b : UINT := 65535; c : UDINT; d : BOOL; END_VAR\n"
        "a := b + 1; c := c - 1; d := b - 65535 - 1 > 5; END_FUNCTION_BLOCK"
    )
    block.cycle()
    assert block.values == {"a": 0, "b": 65535, "c": 2**32 - 1, "d": True}
    assert Word(3, BITS["UDINT"]) - Word(4, BITS["UINT"]) == 2**32 - 1


def test_what_is_not_known_is_refused():
    for body in ("y := 1;", "x := 1", "CASE x OF END_CASE;", "x := SIN(x);", "d := NOT x;", "x := d;", "d := 1;"):
        with pytest.raises((AssertionError, IndexError, ValueError)):
            Block(f"FUNCTION_BLOCK f VAR x : UINT; d : BOOL; END_VAR {body} END_FUNCTION_BLOCK").cycle()
