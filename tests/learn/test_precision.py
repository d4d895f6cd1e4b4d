"""bfloat16 or float32 by measurement, whatever else the machine does meanwhile."""

import itertools
import time

import numpy as np
import pytest
import torch

from lineside.learn import precision
from lineside.learn.precision import choose, fastest, in_turns


class Machine:
    """Steps that take the seconds they are said to take, on a clock of their own; `load` is what others add to each."""

    def __init__(self, seconds: dict[str, float], load=itertools.repeat(0.0)):  # noqa: B008
        self.seconds, self.load, self.now, self.order = seconds, iter(load), 0.0, []

    def step(self, name: str) -> None:
        self.order.append(name)
        self.now += self.seconds[name] + next(self.load)

    def clock(self) -> float:
        return self.now


def decided(machine: Machine, native: bool) -> str:
    return choose(in_turns(machine.step, machine.clock), 4, native, "here")[0]


def test_the_formats_take_turns():
    machine = Machine({"float32": 0.2, "bfloat16": 0.1})
    in_turns(machine.step, machine.clock)
    assert machine.order == ["bfloat16", "float32"] * precision.ROUNDS


@pytest.mark.parametrize("native", [True, False])
def test_a_format_that_is_clearly_slower_is_never_taken(native):
    assert decided(Machine({"float32": 0.2, "bfloat16": 0.1}), native) == "bfloat16"
    assert decided(Machine({"float32": 0.1, "bfloat16": 0.2}), native) == "float32"


def test_where_they_are_about_equal_the_processor_has_the_word():
    for seconds in ({"float32": 0.11, "bfloat16": 0.1}, {"float32": 0.1, "bfloat16": 0.11}):
        assert decided(Machine(seconds), native=True) == "bfloat16"
        assert decided(Machine(seconds), native=False) == "float32"


@pytest.mark.parametrize("slowed", range(2 * precision.ROUNDS))
def test_a_step_that_others_slowed_changes_nothing(slowed):
    """Whichever step it hits, and were it twenty times as long."""
    load = [2.0 if i == slowed else 0.0 for i in range(2 * precision.ROUNDS)]
    for seconds in ({"float32": 0.2, "bfloat16": 0.1}, {"float32": 0.1, "bfloat16": 0.2}):
        assert decided(Machine(seconds, load), native=True) == decided(Machine(seconds), native=True)


@pytest.mark.parametrize("seed", range(20))
def test_a_machine_that_is_busy_throughout_changes_nothing(seed):
    """Every step is slowed by up to its double, on a processor with bfloat16 that is 1.8 times as fast in it."""
    seconds = {"float32": 0.18, "bfloat16": 0.1}
    load = np.random.default_rng(seed).uniform(0, 0.1, 2 * precision.ROUNDS)
    assert decided(Machine(seconds, load), native=True) == "bfloat16"


def test_waiting_for_a_processor_is_not_counted(monkeypatch):
    """The clock is the thread's own: a step that others keep from running is not a slow one."""
    clocks = []

    def waits(step, clock):
        clocks.append(clock)
        return in_turns(lambda name: time.sleep(0.5 if name == "bfloat16" else 0.0), clock)

    monkeypatch.setattr(precision, "in_turns", waits)
    fastest(torch.nn.Conv2d(3, 4, 3), torch.zeros(2, 3, 16, 16))
    seconds = waits(None, clocks[0])
    assert seconds["bfloat16"] < 0.1, "half a second of waiting was counted"


def test_a_step_that_computes_longer_is_found_out(monkeypatch):
    """The other way round: work that is really done counts, in either format."""
    step = precision._step
    monkeypatch.setattr(precision, "_has_instructions", lambda: slower == "bfloat16")
    net = torch.nn.Conv2d(3, 64, 3)
    for slower, other in (("bfloat16", "float32"), ("float32", "bfloat16")):

        def slowed(net: torch.nn.Module, x: torch.Tensor, name: str, slower: str = slower) -> None:
            for _ in range(10 if name == slower else 1):
                step(net, x, "float32")

        monkeypatch.setattr(precision, "_step", slowed)
        name, why = fastest(net, torch.zeros(8, 3, 64, 64))
        assert name == other
        assert "pictures/s in float32" in why
        assert "pictures/s in bfloat16" in why


def test_the_number_of_threads_is_as_before():
    threads = torch.get_num_threads()
    fastest(torch.nn.Conv2d(3, 4, 3), torch.zeros(2, 3, 16, 16))
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("processor : 0\nflags\t\t: fpu avx512f avx512_bf16 amx_tile\n", True),
        ("processor : 0\nflags\t\t: fpu amx_bf16\n", True),
        ("processor : 0\nFeatures\t: fp asimd bf16 i8mm\n", True),
        ("processor : 0\nmodel name : bf16 hero\nflags\t\t: fpu avx2 avx512f\n", False),
    ],
)
def test_what_the_processor_says_of_itself(tmp_path, text, has):
    (tmp_path / "cpuinfo").write_text(text)
    assert precision._has_instructions(tmp_path / "cpuinfo") is has
    assert not precision._has_instructions(tmp_path / "gone")
