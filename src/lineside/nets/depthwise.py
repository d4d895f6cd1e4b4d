"""Depthwise convolution whose gradients are quick on a CPU in bfloat16, too.

oneDNN, which torch calls, has quick bfloat16 kernels for all of a depthwise layer but two, and falls back to loops that
take 30 to 60 times as long as the layer's forward pass: the gradient of a kernel wider than 3, and the gradient of the
input at a stride above 1. Both are put together here from what is quick:

    kernel   a k x k kernel's gradient is made of 3 x 3 windows, each the gradient of a 3 x 3 convolution of x shifted
    input    the output's gradient, with zeros between its places where there is a stride, convolved with the kernel
             turned by half; at stride 1, too, that is about 1.5 times as quick as asking torch for it

The sums are the same, so are the results up to bfloat16's rounding. docs/nets.md has what it saves.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

WINDOW = 3  # the widest kernel whose gradient oneDNN has a bfloat16 kernel for


class Depthwise(nn.Conv2d):
    """Every channel convolved with one k x k kernel of its own: (B, C, H, W) → (B, C, H', W'); k is odd, no bias."""

    def __init__(self, channels: int, k: int, stride: int, padding: int):
        super().__init__(channels, channels, k, stride, padding, groups=channels, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        if _slow_to_learn(input, self.weight):
            low = input.bfloat16(), self.weight.bfloat16()
            return _Bfloat16.apply(*low, self.stride[0], self.padding[0])  # pyright: ignore[reportReturnType]
        return super().forward(input)


def _slow_to_learn(x: Tensor, weight: Tensor) -> bool:
    low = weight.dtype == torch.bfloat16 or (
        torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )
    return low and x.device.type == "cpu" and torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)


class _Bfloat16(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, groups=x.shape[1])

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, out: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        out = out.contiguous(memory_format=torch.channels_last)
        of_x, of_weight = (
            of(out, x, weight, ctx.stride, ctx.padding) if wanted else None
            for of, wanted in zip((_of_input, _of_kernel), ctx.needs_input_grad, strict=False)
        )
        return of_x, of_weight, None, None


def _of_input(out: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """(B, C, H, W): the gradient of the input; out (B, C, H', W') is that of the output."""
    k = weight.shape[-1]
    if stride > 1:
        height, width = (n + 2 * padding - k + 1 for n in x.shape[2:])  # of the output at stride 1
        spread = torch.empty(
            (*out.shape[:2], height, width), dtype=out.dtype, memory_format=torch.channels_last
        ).zero_()
        spread[:, :, ::stride, ::stride] = out
        out = spread
    return F.conv2d(out, weight.flip(2, 3), None, 1, k - 1 - padding, groups=x.shape[1])


def _of_kernel(out: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """(C, 1, k, k): the gradient of the kernel."""
    k = weight.shape[-1]
    if k <= WINDOW:
        return _quick(out, x, weight, stride, padding)
    wide = F.pad(x, (padding,) * 4)
    height, width = ((n - 1) * stride + WINDOW for n in out.shape[2:])  # of x under a window of the kernel
    window, found = weight[:, :, :WINDOW, :WINDOW].contiguous(), torch.empty_like(weight)
    starts = [*range(0, k - WINDOW, WINDOW), k - WINDOW]
    for i in starts:
        for j in starts:
            part = wide[:, :, i : i + height, j : j + width].contiguous(memory_format=torch.channels_last)
            found[:, :, i : i + WINDOW, j : j + WINDOW] = _quick(out, part, window, stride, 0)
    return found


def _quick(out: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """The kernel's gradient by torch."""
    wanted = [False, True, False]
    return torch.ops.aten.convolution_backward(
        out, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], x.shape[1], wanted
    )[1]
