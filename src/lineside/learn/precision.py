"""Whether training computes in bfloat16 here: only where it was measured to be faster.

On a CPU with bfloat16 instructions autocast is about twice as fast, without them several times slower. Memory is
channels-last in both. The two take turns at a few steps, and the quickest of each counts. On a CPU one thread's own
processor time is taken, not the clock on the wall: what else the machine does in the meantime makes a thread wait, and
waiting is not counted. What the processor says of itself is a prior: the format that it should be faster in is left
only for one that is measured to be clearly faster. What was decided stands in the bundle's recipe, which repeats it.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from time import perf_counter, thread_time
from typing import Literal

import torch
from torch import Tensor, nn

CLEARLY = 1.25  # times faster than the format that was to be expected
ROUNDS = 3  # of a step in each format; the first warms up
INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}  # what Linux calls them: x86's two, and Arm's


def autocast(name: str, device: torch.device) -> AbstractContextManager:
    """The context in which forward passes of this precision ("float32" or "bfloat16") run."""
    return torch.autocast(device.type, torch.bfloat16) if name == "bfloat16" else nullcontext()


def channels_last(x: Tensor) -> Tensor:
    """x as (B, C, H, W) stored in the order that convolutions are fastest in."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def fastest(net: nn.Module, x: Tensor) -> tuple[Literal["float32", "bfloat16"], str]:
    """The precision in which net learns from inputs like x (B, C, H, W) the fastest; and why."""
    net.to(memory_format=torch.channels_last).train()  # pyright: ignore[reportCallIssue]
    x = channels_last(x)
    if x.device.type == "cpu":
        with one_thread():
            seconds = in_turns(lambda name: _step(net, x, name), thread_time)
        return choose(seconds, len(x), _has_instructions(), "a thread of this CPU")

    def wait_for(name: str) -> None:
        _step(net, x, name)
        torch.cuda.synchronize(x.device)

    return choose(in_turns(wait_for, perf_counter), len(x), torch.cuda.is_bf16_supported(False), "this GPU")


def in_turns(step: Callable[[str], None], clock: Callable[[], float]) -> dict[str, float]:
    """The fewest seconds that a step in each format took."""
    least = {"bfloat16": float("inf"), "float32": float("inf")}
    for _ in range(ROUNDS):
        for name in least:
            start = clock()
            step(name)
            least[name] = min(least[name], clock() - start)
    return least


def choose(
    seconds: dict[str, float], pictures: int, native: bool, where: str
) -> tuple[Literal["float32", "bfloat16"], str]:
    """The format to learn in, from the seconds of a step on so many pictures; native: bfloat16 is in the hardware."""
    times = seconds["float32"] / seconds["bfloat16"]  # as fast
    name = "bfloat16" if times * (CLEARLY if native else 1 / CLEARLY) > 1 else "float32"
    rates = ", ".join(f"{pictures / s:.0f} pictures/s in {kind}" for kind, s in sorted(seconds.items(), reverse=True))
    return name, f"{name}: {rates} by {where}, which has {'' if native else 'no '}instructions for bfloat16"


def _step(net: nn.Module, x: Tensor, name: str) -> None:
    with autocast(name, x.device):
        out = net(x)
    out.float().square().mean().backward()
    net.zero_grad(set_to_none=True)


@contextmanager
def one_thread() -> Iterator[None]:
    """torch computes in the calling thread alone, whose time can be taken."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _has_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether Linux says that the processor computes in bfloat16; not known elsewhere, so no."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    words = {w for line in lines if line.lower().startswith(("flags", "features")) for w in line.split()}
    return bool(words & INSTRUCTIONS)
