"""What an operation puts out, without asking torch.

torch's own meta kernels are Python for many operations: a batch norm takes 1 ms there, a relu 0.4 ms, where the shape
is known at a glance. For the operations that nets are made of it is written down here, strides included; None means:
ask torch. A test holds every entry to torch's own answer.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def _like(args: Sequence[Any]) -> Tensor | None:
    x = args[0]
    if not x.is_floating_point():
        return None
    if x.is_contiguous():
        return torch.empty(x.shape, dtype=x.dtype, device="meta")
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta") if _dense(x) else None


def _dense(x: Tensor) -> bool:
    """Whether x fills its memory, in whatever order of dimensions: torch's elementwise operations keep that order."""
    step = 1
    for stride, n in sorted(zip(x.stride(), x.shape, strict=True)):
        if n != 1 and stride != step:
            return False
        step *= n
    return True


def _in_place(args: Sequence[Any]) -> Tensor:
    return args[0]


def _of_two(args: Sequence[Any]) -> Tensor | None:
    a, b = args[:2]
    if isinstance(b, Tensor) and (a.shape != b.shape or a.dtype != b.dtype or a.stride() != b.stride()):
        return None
    return _like(args)


def _conv(args: Sequence[Any]) -> Tensor | None:
    x, weight, _, stride, pad, dilation, transposed, *_ = args
    rank = weight.dim() - 2
    if transposed or x.dim() != rank + 2 or not x.is_contiguous() or x.shape[1] != weight.shape[1] * args[8]:
        return None
    sides = [
        (x.shape[2 + i] + 2 * pad[i] - dilation[i] * (weight.shape[2 + i] - 1) - 1) // stride[i] + 1
        for i in range(rank)
    ]
    if min(sides) < 1:
        return None  # torch has the better message
    return torch.empty((x.shape[0], weight.shape[0], *sides), dtype=x.dtype, device="meta")


def _layer_norm(args: Sequence[Any]) -> tuple[Tensor, Tensor, Tensor] | None:
    """With the mean and deviation of every list of features."""
    x, normed = args[:2]
    if not x.is_contiguous():
        return None
    shape = (*x.shape[: -len(normed)], *(1 for _ in normed))
    mean, deviation = (torch.empty(shape, dtype=x.dtype, device="meta") for _ in range(2))
    return torch.empty(x.shape, dtype=x.dtype, device="meta"), mean, deviation


def _batch_norm(args: Sequence[Any]) -> tuple[Tensor, Tensor, Tensor] | None:
    """With the mean and deviation of the batch, which it keeps for the gradient."""
    out, features = _like(args) if args[0].is_contiguous() else None, args[0].shape[1] if args[5] else 0
    if out is None:
        return None
    mean, deviation = (torch.empty(features, dtype=out.dtype, device="meta") for _ in range(2))
    return out, mean, deviation


def _addmm(args: Sequence[Any]) -> Tensor | None:
    _, a, b = args
    return torch.empty((a.shape[0], b.shape[1]), dtype=a.dtype, device="meta") if a.shape[1] == b.shape[0] else None


def _mm(args: Sequence[Any]) -> Tensor | None:
    return _addmm((None, *args))


def _bmm(args: Sequence[Any]) -> Tensor | None:
    a, b = args
    if a.shape[0] != b.shape[0] or a.shape[2] != b.shape[1]:
        return None
    return torch.empty((a.shape[0], a.shape[1], b.shape[2]), dtype=a.dtype, device="meta")


SHAPES: dict[object, Callable[[Sequence[Any]], Any]] = {
    aten.convolution.default: _conv,
    aten.native_batch_norm.default: _batch_norm,
    aten.native_layer_norm.default: _layer_norm,
    aten.addmm.default: _addmm,
    aten.mm.default: _mm,
    aten.bmm.default: _bmm,
    **dict.fromkeys((aten.add.Tensor, aten.mul.Tensor), _of_two),
    **dict.fromkeys(
        (
            aten.relu.default,
            aten.hardtanh.default,
            aten.silu.default,
            aten.gelu.default,
            aten.sigmoid.default,
            aten.hardswish.default,
            aten.hardsigmoid.default,
            aten.mul.Scalar,
            aten._safe_softmax.default,
        ),
        _like,
    ),
    **dict.fromkeys(
        (aten.relu_.default, aten.hardtanh_.default, aten.silu_.default, aten.hardswish_.default), _in_place
    ),
}
