"""Whether training computes in bfloat16 here: only where it was measured to be faster.

On a CPU with bfloat16 instructions autocast is about twice as fast, without them several times slower. It replaces
float32 where it is at least GAIN times faster on this machine for this net. Memory is channels-last in both. A busy
machine may measure otherwise a second time: what was decided stands in the bundle's recipe, and that recipe repeats it.
"""

from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import Literal

import torch
from torch import Tensor, nn

GAIN = 1.2  # with less, a second measurement could choose otherwise
STEPS = 3  # the first warms up


def autocast(name: str, device: torch.device) -> AbstractContextManager:
    """The context in which forward passes of this precision ("float32" or "bfloat16") run."""
    return torch.autocast(device.type, torch.bfloat16) if name == "bfloat16" else nullcontext()


def channels_last(x: Tensor) -> Tensor:
    """x as (B, C, H, W) stored in the order that convolutions are fastest in."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def fastest(net: nn.Module, x: Tensor) -> tuple[Literal["float32", "bfloat16"], str]:
    """The precision in which net learns from inputs like x (B, C, H, W) the fastest; and why."""
    net.to(memory_format=torch.channels_last).train()  # pyright: ignore[reportCallIssue]
    rates = {name: len(x) / _seconds(net, channels_last(x), name) for name in ("float32", "bfloat16")}
    name = "bfloat16" if rates["bfloat16"] > GAIN * rates["float32"] else "float32"
    return name, f"{name}: " + ", ".join(f"{rate:.0f} pictures/s in {name}" for name, rate in rates.items()) + " here"


def _seconds(net: nn.Module, x: Tensor, name: str) -> float:
    took = []
    for _ in range(STEPS):
        start = perf_counter()
        with autocast(name, x.device):
            out = net(x)
        out.float().square().mean().backward()
        net.zero_grad(set_to_none=True)
        if x.device.type == "cuda":
            torch.cuda.synchronize()
        took.append(perf_counter() - start)
    return min(took[1:])
