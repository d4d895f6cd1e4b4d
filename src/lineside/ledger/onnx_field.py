"""What the places of an ONNX file's tensors see: every node as the operation of torch that does the same to places.

So the arithmetic is field.py's. A node that is not known here, or whose slices the picture itself says, makes LOST of
what it puts out, and so does all that reads it: no figure rather than a wrong one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from onnx import NodeProto

from lineside.ledger.field import Seen, mixed, start, through
from lineside.ledger.onnx_node import ACTS, CONVS, GEMMS, GLOBAL, JOINS, POOLS, PRODUCTS, Shape, attributes, pads
from lineside.ledger.row import Reach

aten = torch.ops.aten
LOST = Seen((), ())
APART = {  # that keep places apart; softmax does not
    *(ACTS - {"Softmax", "LogSoftmax"}),
    *JOINS,
    *("Abs", "BatchNormalization", "Cast", "CastLike", "Ceil", "Cos", "DequantizeLinear", "Div", "Dropout"),
    *("DynamicQuantizeLinear", "Equal", "Erf", "Exp", "Expand", "Floor", "Greater", "GreaterOrEqual", "Identity"),
    *("IsNaN", "LRN", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mod", "Neg", "Not", "Pow"),
    *("QuantizeLinear", "Reciprocal", "Round", "Sign", "Sin", "Split", "Sqrt", "Where"),
}
BY_NUMBERS = {
    "Gather",
    "Pad",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceSum",
    "Slice",
}  # inputs 1 … say which places
VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}
UPSAMPLED = {
    b"nearest": aten.upsample_nearest2d.default,
    b"linear": aten.upsample_bilinear2d.default,
    b"cubic": aten.upsample_bicubic2d.default,
}


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the file, as field.py's rules look at one."""

    shape: Shape
    seen: Seen | None = None  # None: it comes of no input of the file

    def dim(self) -> int:
        return len(self.shape)


def begin(shape: Shape) -> Seen:
    """An input: (N, C, *places); (N, H, W, C) where the last of four is a number of colours."""
    if len(shape) == 4 and shape[3] <= 4 < shape[1]:
        return Seen((Reach(), Reach()), (0, 1, 2, 0))
    return start(shape)


def follow(node: NodeProto, out: Shape, given: Sequence[Value], constants: Mapping[str, np.ndarray]) -> Seen | None:
    """What the places that a node puts out see, given what it reads; inputs that are left out have no shape.

    constants: by name, what is known to be the same for every picture.
    """
    if any(v.seen is LOST for v in given):
        return LOST
    if all(v.seen is None for v in given) or node.op_type in ("Shape", "Size"):
        return None
    if node.op_type in APART:
        return mixed([v for v in given if v.seen], Value(out), _seen)
    numbers = [None if v.seen else constants.get(n) for n, v in zip(node.input, given, strict=True)]
    same = _as_torch(node.op_type, attributes(node), given, out, numbers)
    if same is None:
        return LOST
    func, args = same
    return through(func, args, Value(out), _seen)


def _seen(value: Any) -> Seen | None:
    return value.seen


def _as_torch(
    op: str, said: dict[str, Any], given: Sequence[Value], out: Shape, numbers: Sequence[np.ndarray | None]
) -> tuple[object, tuple[Any, ...]] | None:
    """(operation, arguments) of torch; None where there is none that says it."""
    x = given[0]
    if op in CONVS or op == "ConvTranspose":
        weight = given[CONVS.get(op, 1)]
        window = _window(said, weight.shape[2:], x.shape, out)
        return aten.convolution.default, (x, weight, None, *window, op == "ConvTranspose")
    if op in POOLS:
        kernel = tuple(said["kernel_shape"])
        return aten.max_pool2d.default, (x, kernel, *_window(said, kernel, x.shape, out))
    if op in GLOBAL:
        return aten.mean.dim, (x, range(2, x.dim()))
    if op.startswith("Reduce"):
        axes = said.get("axes", numbers[1] if len(numbers) > 1 else ())
        return None if axes is None else (aten.mean.dim, (x, [int(i) for i in axes]))
    if op in (*PRODUCTS, *GEMMS):
        other = given[PRODUCTS.get(op, 1)]
        sides = [_turned(v) if said.get(flag) else v for v, flag in ((x, "transA"), (other, "transB"))]
        least, rank = sorted(v.dim() for v in sides)
        return None if least < 2 else (aten.mm.default, tuple(_lifted(v, rank) for v in sides))
    if op in ("Softmax", "LogSoftmax"):
        return aten._softmax.default, (x, said.get("axis", -1))
    if op in ("LayerNormalization", "RMSNormalization"):
        return aten.native_layer_norm.default, (x, x.shape[said.get("axis", -1) :])
    if op in ("InstanceNormalization", "GroupNormalization"):
        return aten.native_group_norm.default, (x,)
    if op in VIEWS:
        return aten.view.default, (x,)
    if op == "Transpose":
        return aten.permute.default, (x, said.get("perm", range(x.dim())[::-1]))
    if op in ("DepthToSpace", "SpaceToDepth"):
        return aten.pixel_shuffle.default, (x,)
    if op in ("Resize", "Upsample") and said.get("mode", b"nearest") in UPSAMPLED:
        return UPSAMPLED[said.get("mode", b"nearest")], (x,)
    return _by_numbers(op, said, x, numbers)


def _by_numbers(
    op: str, said: dict[str, Any], x: Value, numbers: Sequence[np.ndarray | None]
) -> tuple[object, tuple[Any, ...]] | None:
    """Operations whose places are said by constants: one element, one axis' slice, padding."""
    one = numbers[1] if len(numbers) > 1 else None
    if op == "Gather" and one is not None and one.ndim == 0:
        return aten.select.int, (x, said.get("axis", 0), int(one))
    if op == "Slice":
        first, _, axes, steps = (*numbers[1:], *(np.array([i]) for i in (0, 0, 0, 1)[len(numbers) - 1 :]))
        if first is not None and axes is not None and steps is not None and len(first) == 1 and steps[0] > 0:
            return aten.slice.Tensor, (x, int(axes[0]), int(first[0]), None, int(steps[0]))
    if op == "Pad":
        added = said.get("pads", one)
        if added is not None and len(added) == 2 * x.dim():
            return aten.constant_pad_nd.default, (x, [int(added[i + side]) for i, side in _torchs_order(x.dim())])
    return None


def _torchs_order(rank: int) -> list[tuple[int, int]]:
    """Places in ONNX's list of paddings (all befores, all behinds), as torch lists them: from the last axis on."""
    return [(axis, side) for axis in reversed(range(rank)) for side in (0, rank)]


def _window(said: dict[str, Any], kernel: Shape, shape: Shape, out: Shape) -> tuple[Sequence[int], ...]:
    ones = (1,) * len(kernel)
    before, _ = pads(said, kernel, shape, out)
    return said.get("strides", ones), before, said.get("dilations", ones)


def _turned(value: Value) -> Value:
    seen = value.seen and Seen(value.seen.field, value.seen.dims[::-1])
    return Value(value.shape[::-1], seen)


def _lifted(value: Value, rank: int) -> Value:
    """With axes of one in front."""
    more = rank - value.dim()
    seen = value.seen and Seen(value.seen.field, (0,) * more + value.seen.dims)
    return Value((1,) * more + value.shape, seen)
