"""What one operation costs, from its own arguments: multiply-adds, pool operations, and what a table says of it.

WORK names the operations that multiply or pool, and NORMS, ACTS and JOINS those that a reader wants to see named; what
is in none of them multiplies nothing, or is in SUSPECTS: then the ledger says that it could not be counted.

    convolution   out elements · (C_in / groups · kernel);  transposed: in elements · (C_out / groups · kernel)
    products      (m, k) @ (k, n) = m · k · n, a batch of them as often
    attention     the two products of softmax(q kᵀ) v
    pool          out elements · kernel; a global one: in elements; a window of one place pools nothing: 0
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lineside.ledger.field import Found, reduced, widest

aten = torch.ops.aten


class Work(NamedTuple):
    """What a row says of an operation. input and output are without the batch; () leaves it to the tensors' shapes."""

    kind: str
    macs: int = 0
    pool_ops: int = 0
    filters: int = 0
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    pad: tuple[int, ...] = ()
    groups: int = 1
    ceil: bool = False
    input: tuple[int, ...] = ()
    output: tuple[int, ...] = ()


Count = Callable[[Sequence[Any], Tensor, Found], Work]


def _conv(args: Sequence[Any], out: Tensor, found: Found) -> Work:
    x, weight, _, stride, pad, _, transposed, _, groups = args[:9]
    shape = tuple(weight.shape)
    return Work(
        "conv transposed" if transposed else "conv",
        macs=(x if transposed else out).numel() * prod(shape[1:]),
        filters=out.shape[1],
        kernel=shape[2:],
        stride=tuple(stride),
        pad=tuple(pad),
        groups=groups,
    )


def _product(args: Sequence[Any], out: Tensor, found: Found) -> Work:
    """mm, addmm, bmm, baddbmm, mv, addmv, dot: linear if one side is learnt, that is: comes of no input of the net."""
    a, b = args[-2:]
    macs = out.numel() * a.shape[-1]
    if found(a) is not None and found(b) is not None:
        return Work("matmul", macs, input=tuple(a.shape), output=tuple(out.shape))
    if found(a) is None and found(b) is not None and b.dim() == 2:  # weight @ x
        k, n = b.shape
        return Work("linear", macs, filters=out.shape[0], input=(n, k), output=(n, out.shape[0]))
    places = tuple(a.shape[:-1])
    features = out.shape[-1] if b.dim() > 1 else 1
    return Work(
        "linear",
        macs,
        filters=features,
        input=(*_without_one(places), a.shape[-1]),
        output=(*_without_one(places), features),
    )


def _without_one(places: tuple[int, ...]) -> tuple[int, ...]:
    return () if places == (1,) else places


def _attention(args: Sequence[Any], out: Tensor, found: Found) -> Work:
    query, key, value = args[:3]
    return Work("attention", query.numel() * key.shape[-2] + query[..., 0].numel() * key.shape[-2] * value.shape[-1])


def _trilinear(args: Sequence[Any], out: Tensor, found: Found) -> Work:
    """nn.Bilinear: x₁ᵀ W x₂ for every output."""
    return Work("linear", args[0].shape[0] * args[1].numel(), filters=out.shape[-1])


def _pool(ceil_at: int) -> Count:
    def count(args: Sequence[Any], out: Tensor, found: Found) -> Work:
        kernel = tuple(args[1])
        stride = tuple(args[2]) if len(args) > 2 and args[2] else kernel
        pad = tuple(args[3]) if len(args) > 3 else (0,) * len(kernel)
        seen = found(args[0])
        if seen is not None and not any(
            k > 1 and bits for k, bits in zip(kernel, seen.dims[-len(kernel) :], strict=True)
        ):
            return Work("other", kernel=kernel, stride=stride, pad=pad)  # over channels (LRN), or every n-th place
        ceil = bool(args[ceil_at]) if len(args) > ceil_at else False
        return Work("pool", 0, out.numel() * prod(kernel), kernel=kernel, stride=stride, pad=pad, ceil=ceil)

    return count


def _adaptive(args: Sequence[Any], out: Tensor, found: Found) -> Work:
    rank = len(args[1])
    sides = list(zip(args[0].shape[-rank:], out.shape[-rank:], strict=True))
    kernel = tuple(widest(a, b) for a, b in sides)
    if prod(kernel) == 1:
        return Work("other", kernel=kernel)
    ops = out.numel() // prod(out.shape[-rank:])
    for a, b in sides:
        ops *= sum(-(-(i + 1) * a // b) - i * a // b for i in range(b))
    return Work("pool", 0, ops, kernel=kernel, stride=tuple(a // b for a, b in sides), pad=(0,) * rank)


def _reduced(args: Sequence[Any], out: Tensor, found: Found) -> Work:
    """A pool, where it runs over all places of some axis of the picture."""
    x, seen = args[0], found(args[0])
    gone = reduced(args, x.dim())
    if seen is None or not any(seen.dims[i] and x.shape[i] > 1 for i in gone):
        return Work("other")
    kernel = tuple(x.shape[i] for i in gone)
    return Work("pool", 0, x.numel(), kernel=kernel, stride=(1,) * len(kernel), pad=(0,) * len(kernel))


# What is not listed multiplies nothing.
WORK: dict[object, Count] = {
    aten.convolution.default: _conv,
    aten._convolution.default: _conv,  # in what torch.jit.trace made
    **dict.fromkeys(
        (
            *(aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default),
            *(aten.mv.default, aten.addmv.default, aten.dot.default, aten.vdot.default),
        ),
        _product,
    ),
    aten._trilinear.default: _trilinear,
    **dict.fromkeys(
        (
            aten._scaled_dot_product_flash_attention_for_cpu.default,
            aten._scaled_dot_product_flash_attention.default,
            aten._scaled_dot_product_efficient_attention.default,
            aten._scaled_dot_product_cudnn_attention.default,
        ),
        _attention,
    ),
    **dict.fromkeys(
        (
            aten.max_pool2d_with_indices.default,
            aten.max_pool3d_with_indices.default,
            aten.max_pool2d.default,
        ),
        _pool(ceil_at=5),
    ),
    **dict.fromkeys((aten.avg_pool2d.default, aten.avg_pool3d.default), _pool(ceil_at=4)),
    **dict.fromkeys(
        (
            aten._adaptive_avg_pool2d.default,
            aten._adaptive_avg_pool3d.default,
            aten.adaptive_max_pool2d.default,
            aten.adaptive_max_pool3d.default,
        ),
        _adaptive,
    ),
    **dict.fromkeys((aten.mean.dim, aten.mean.default, aten.amax.default), _reduced),
}
NORMS = {"native_batch_norm", "native_layer_norm", "native_group_norm", "_fused_rms_norm"}
ACTS = {
    *("relu", "relu_", "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "elu", "elu_", "gelu", "silu", "silu_"),
    *(
        "sigmoid",
        "sigmoid_",
        "tanh",
        "tanh_",
        "hardswish",
        "hardswish_",
        "hardsigmoid",
        "hardsigmoid_",
        "mish",
        "mish_",
    ),
    *("softplus", "_prelu_kernel", "_softmax", "_safe_softmax", "_log_softmax", "clamp_min", "clamp_min_"),
}
JOINS = {"add", "add_", "cat", "stack", "mul", "mul_", "sub", "maximum"}
# Words in the names of operations that multiply by the million and are not in WORK.
SUSPECTS = ("conv", "mm", "matmul", "dot", "attention", "lstm", "gru", "rnn", "cdist", "einsum", "linear", "fft")
INNOCENT = {"linalg_vector_norm", "upsample_linear1d", "_trilinear", "common", "dropout"}


def work(func: Any, args: Sequence[Any], out: Tensor, found: Found) -> Work:
    """What func(*args) → out costs."""
    count = WORK.get(func)
    if count is not None:
        return count(args, out, found)
    name = func.overloadpacket.__name__
    kind = "norm" if name in NORMS else "act" if name in ACTS else "join" if name in JOINS else "other"
    return Work(kind)


def name_of(func: Any, args: Sequence[Any]) -> str:
    """torch's name of the operation; but relu6 for a clip to 0 … 6, and instance_norm for a batch norm of one picture's
    own statistics, which is how torch makes it."""
    name = func.overloadpacket.__name__
    if name in ("hardtanh", "hardtanh_") and tuple(args[1:3]) == (0, 6):
        return "relu6"
    return "instance_norm" if name == "native_batch_norm" and args[5] and args[0].shape[0] == 1 else name


def uncounted(func: Any) -> bool:
    """Whether this operation multiplies and is not known here."""
    name = func.overloadpacket.__name__
    return (
        func not in WORK and name not in INNOCENT and "upsample" not in name and any(word in name for word in SUSPECTS)
    )
