"""Receptive field: which pixels of the input a place can see, followed operation by operation.

Along each axis a place i of a map sees pixels i · jump + low … i · jump + high (row.Reach). A window of kernel k,
stride s, padding p, dilation d makes of it

    low − p · jump,    high + ((k − 1) · d − p) · jump,    jump · s                 (Araujo et al. 2019, distill.pub)

Where branches meet, a place sees what any of them saw. Attention, global pools, norms over places and linear layers
over flattened maps see the whole picture (None); attention in windows is taken for attention over all.

To know what an operation does to places, every dimension of a tensor carries which axes of the picture run along it,
as bits: (N, C, H, W) has (0, 0, 1, 2), tokens (N, H·W, C) have (0, 3, 0), a flattened map (N, C·H·W) has (0, 3).
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lineside.ledger.row import Reach

aten = torch.ops.aten
Field = tuple[Reach | None, ...]


class Seen(NamedTuple):
    """What the places of a tensor see, and where its places are."""

    field: Field
    dims: tuple[int, ...]  # bits of the axes along each dimension


def start(shape: Sequence[int]) -> Seen:
    """An input (N, C, *places): every place sees itself. Shapes without places see nothing."""
    axes = max(len(shape) - 2, 0)
    return Seen((Reach(),) * axes, (0,) * min(len(shape), 2) + tuple(1 << i for i in range(axes)))


def join(seen: Sequence[Seen]) -> Field:
    """What a place sees that comes of all of these."""
    first, *others = (s.field for s in seen)
    for other in others:
        if other is not first and other != first:
            first = tuple(_either(a, b) for a, b in zip(first, other, strict=True))
    return first


def _either(a: Reach | None, b: Reach | None) -> Reach | None:
    if a is None or b is None:
        return None
    if a.jump != b.jump:  # one of them is spread over the other's places
        return max(a, b, key=lambda reach: reach.size)
    return Reach(min(a.low, b.low), max(a.high, b.high), a.jump)


def whole(field: Field, bits: int) -> Field:
    """The axes of these bits see everything."""
    return tuple(None if bits >> i & 1 else reach for i, reach in enumerate(field)) if bits else field


def window(
    seen: Seen,
    rank: int,
    kernel: Sequence[int],
    stride: Sequence[float],
    pad: Sequence[int],
    dilation: Sequence[int] = (1,),
) -> Seen:
    """Through a window over the last `rank` dimensions; what runs along the channels is mixed."""
    if len(seen.dims) <= rank:
        return seen
    field = list(whole(seen.field, seen.dims[-rank - 1]))
    for i in range(rank):
        bits = seen.dims[i - rank]
        k, s, p, d = (_at(values, i) for values in (kernel, stride, pad, dilation))
        for axis in range(len(field)):
            reach = field[axis]
            if reach is None or not bits >> axis & 1:
                continue
            if bits != 1 << axis:
                field[axis] = None if k > 1 else reach  # a window over flattened places
            else:
                low, high, jump = reach
                field[axis] = Reach(low - p * jump, high + ((k - 1) * d - p) * jump, jump * s)
    return Seen(tuple(field), (*seen.dims[: -rank - 1], 0, *seen.dims[-rank:]))


def _at(values: Sequence, i: int):
    return values[i] if len(values) > 1 else values[0]


def regroup(old: Sequence[int], dims: Sequence[int], new: Sequence[int]) -> tuple[int, ...]:
    """The bits of each dimension after a reshape from old to new: dimensions that are merged or split share theirs."""
    if tuple(old) == tuple(new):
        return tuple(dims)
    if prod(old) != prod(new) or not prod(old):
        return (0,) * len(new)
    found, i, j = [0] * len(new), 0, 0
    old_at = [k for k, n in enumerate(old) if n != 1]
    new_at = [k for k, n in enumerate(new) if n != 1]
    while i < len(old_at) and j < len(new_at):
        a, b = old[old_at[i]], new[new_at[j]]
        first_i, first_j = i, j
        while a != b:
            if a < b:
                i += 1
                a *= old[old_at[i]]
            else:
                j += 1
                b *= new[new_at[j]]
        i, j = i + 1, j + 1
        bits = 0
        for k in old_at[first_i:i]:
            bits |= dims[k]
        together = new_at[first_j:j]
        if len(together) == bits.bit_count() > 1 and i - first_i == 1:  # tokens become a map again
            for k, axis in zip(together, (b for b in range(bits.bit_length()) if bits >> b & 1), strict=True):
                found[k] = 1 << axis
            continue
        for k in together:
            found[k] = bits
    return tuple(found)


# Tensors are Any: a rule asks for shape and dim() alone, which a tensor of an ONNX file has too (onnx_field.Value).
Found = Callable[[Any], Seen | None]  # what is known of a tensor; None of constants and parameters
Rule = Callable[[Sequence[Any], Any, Found], Seen | None]


def through(func: object, args: Sequence[Any], out: Any, found: Found) -> Seen | None:
    """What the places of out see. None: it comes of no input of the net."""
    rule = RULES.get(func)
    if rule is not None:
        return rule(args, out, found)
    return mixed(_tensors(args), out, found)


def _tensors(args: Sequence[Any]) -> list[Tensor]:
    tensors = []
    for arg in args:
        if isinstance(arg, Tensor):
            tensors.append(arg)
        elif isinstance(arg, list | tuple):
            tensors += [one for one in arg if isinstance(one, Tensor)]
    return tensors


def mixed(tensors: Sequence[Any], out: Any, found: Found) -> Seen | None:
    """An operation that keeps places apart: elementwise with broadcast, joined along channels, or an unknown one."""
    known = [(t, s) for t in tensors if (s := found(t)) is not None]
    if not known:
        return None
    (first, seen), *others = known
    if not others and first.shape == out.shape:
        return seen
    dims = [0] * out.dim()
    for t, s in known:
        shape, more = tuple(t.shape), out.dim() - t.dim()
        fits = more == 0 or (more > 0 and all(a in (1, b) for a, b in zip(shape[::-1], out.shape[::-1], strict=False)))
        bits = (0,) * more + s.dims if fits else regroup(shape, s.dims, out.shape)
        dims = [a | b for a, b in zip(dims, bits, strict=True)]
    return Seen(join([s for _, s in known]), tuple(dims))


def _reshape(args: Sequence[Any], out: Tensor, found: Found) -> Seen | None:
    seen = found(args[0])
    return seen and Seen(seen.field, regroup(args[0].shape, seen.dims, out.shape))


def _permute(args: Sequence[Any], out: Tensor, found: Found) -> Seen | None:
    seen = found(args[0])
    return seen and Seen(seen.field, tuple(seen.dims[i] for i in args[1]))


def _transpose(args: Sequence[Any], out: Tensor, found: Found) -> Seen | None:
    seen = found(args[0])
    if seen is None:
        return None
    a, b = args[1:] if len(args) > 1 else (0, -1)
    dims = list(seen.dims)
    if dims:
        dims[a], dims[b] = dims[b], dims[a]
    return Seen(seen.field, tuple(dims))


def _unsqueeze(args: Sequence[Any], out: Tensor, found: Found) -> Seen | None:
    seen = found(args[0])
    if seen is None:
        return None
    at = args[1] % out.dim()
    return Seen(seen.field, (*seen.dims[:at], 0, *seen.dims[at:]))


def _squeeze(args: Sequence[Any], out: Tensor, found: Found) -> Seen | None:
    seen, x = found(args[0]), args[0]
    if seen is None:
        return None
    given = args[1] if len(args) > 1 else range(x.dim())
    gone = {i % x.dim() for i in ([given] if isinstance(given, int) else given)}
    return Seen(seen.field, tuple(b for i, b in enumerate(seen.dims) if not (i in gone and x.shape[i] == 1)))


def _select(args: Sequence[Any], out: Tensor, found: Found) -> Seen | None:
    """select.int, and each part of unbind."""
    seen = found(args[0])
    if seen is None:
        return None
    at = (args[1] if len(args) > 1 else 0) % len(seen.dims)
    return Seen(seen.field, (*seen.dims[:at], *seen.dims[at + 1 :]))


def _slice(args: Sequence[Any], out: Tensor, found: Found) -> Seen | None:
    """slice(x, dim=0, start=None, end=None, step=1): every step-th place from start on."""
    given: tuple[Any, ...] = (*args, *(None, 0, None, None, 1)[len(args) :])
    x, dim, first, _, step = given
    seen, first = found(x), first or 0
    if seen is None:
        return None
    bits = seen.dims[dim]
    if first < 0:
        first += x.shape[dim]
    if not bits or (first == 0 and step == 1):
        return seen
    field = tuple(
        Reach(r.low + first * r.jump, r.high + first * r.jump, r.jump * step) if r and bits == 1 << i else r
        for i, r in enumerate(seen.field)
    )
    return Seen(field, seen.dims)


def _same(args: Sequence[Any], out: Tensor, found: Found) -> Seen | None:
    return found(args[0])


def _pad(args: Sequence[Any], out: Tensor, found: Found) -> Seen | None:
    """Padding: numbers before and after, from the last dimension on."""
    seen = found(args[0])
    if seen is None:
        return None
    field = list(seen.field)
    for i, before in enumerate(args[1][::2]):
        bits = seen.dims[-1 - i]
        for axis, reach in enumerate(field):
            if reach and bits == 1 << axis:
                field[axis] = Reach(reach.low - before * reach.jump, reach.high - before * reach.jump, reach.jump)
    return Seen(tuple(field), seen.dims)


def _upsample(more: int) -> Rule:
    """Places in between, each mixed of `more` neighbours a side (nearest 0, linear 1, cubic 2): the bound over all."""

    def rule(args: Sequence[Any], out: Tensor, found: Found) -> Seen | None:
        seen, x = found(args[0]), args[0]
        if seen is None:
            return None
        field = list(seen.field)
        for i, bits in enumerate(seen.dims):
            for axis, reach in enumerate(field):
                if reach and bits == 1 << axis and x.shape[i] != out.shape[i]:
                    low, high, jump = reach
                    step = jump * x.shape[i] / out.shape[i]
                    before = more * jump if more else jump - step
                    field[axis] = Reach(low - before, high + more * jump, step)
        return Seen(tuple(field), seen.dims)

    return rule


def _shuffle_pixels(args: Sequence[Any], out: Tensor, found: Found) -> Seen | None:
    seen = found(args[0])
    return seen and window(seen, 2, (1,), (args[0].shape[-1] / out.shape[-1],), (0,))


def _conv(args: Sequence[Any], out: Tensor, found: Found) -> Seen | None:
    x, weight, _, stride, pad, dilation, transposed, *_ = args
    seen = found(x)
    if seen is None:
        return None
    kernel = tuple(weight.shape[2:])
    if not transposed:
        return window(seen, len(kernel), kernel, stride, pad, dilation)
    # Place o comes of the places (o + pad − tap · dilation) / stride that are whole numbers: the bound over all phases.
    rank, field = len(kernel), list(whole(seen.field, seen.dims[1]))
    for i in range(rank):
        k, s, p, d = (_at(values, i) for values in (kernel, stride, pad, dilation))
        for axis, reach in enumerate(field):
            if reach and seen.dims[i - rank] == 1 << axis:
                step = reach.jump / s
                field[axis] = Reach(reach.low + (p - (k - 1) * d) * step, reach.high + p * step, step)
    return Seen(tuple(field), seen.dims)


def _pool(dilated: bool) -> Rule:
    """A pool over as many dimensions as its kernel has; only max pools can be dilated."""

    def rule(args: Sequence[Any], out: Tensor, found: Found) -> Seen | None:
        seen = found(args[0])
        if seen is None:
            return None
        kernel, stride, pad, dilation, *_ = (*args[1:], *((), (0,), (1,))[len(args) - 2 :])
        return window(seen, len(kernel), kernel, stride or kernel, pad, dilation if dilated else (1,))

    return rule


def _adaptive(args: Sequence[Any], out: Tensor, found: Found) -> Seen | None:
    seen = found(args[0])
    if seen is None:
        return None
    rank = len(args[1])
    sides = tuple(zip(args[0].shape[-rank:], out.shape[-rank:], strict=True))
    seen = window(seen, rank, [widest(a, b) for a, b in sides], [a / b for a, b in sides], (0,))
    all_of_it = 0
    for bits, (a, b) in zip(seen.dims[-rank:], sides, strict=True):
        all_of_it |= bits if b == 1 and a > 1 else 0
    return Seen(whole(seen.field, all_of_it), seen.dims)


def widest(side: int, places: int) -> int:
    """The widest window of an adaptive pool from `side` to `places`."""
    return max(-(-(i + 1) * side // places) - i * side // places for i in range(places))


def _product(args: Sequence[Any], out: Tensor, found: Found) -> Seen | None:
    """(…, m, k) @ (…, k, n): what runs along k is seen whole."""
    a, b = args[-2:]
    left, right = found(a), found(b)
    known = [s for s in (left, right) if s is not None]
    if not known:
        return None
    left_dims = left.dims if left else (0,) * a.dim()
    right_dims = right.dims if right else (0,) * b.dim()
    mixed = left_dims[-1] | (right_dims[-2] if b.dim() > 1 else right_dims[-1])
    if a.shape[-1] == 1:
        mixed = 0
    batch = tuple(x | y for x, y in zip(left_dims[:-2], right_dims[:-2], strict=True)) if b.dim() > 2 else ()
    dims = (*batch, left_dims[-2], right_dims[-1]) if b.dim() > 1 else left_dims[:-1]
    return Seen(whole(join(known), mixed), dims)


def _attention(args: Sequence[Any], out: Tensor, found: Found) -> Seen | None:
    known = [s for t in args[:3] if (s := found(t)) is not None]
    if not known:
        return None
    bits = 0
    for s in known:
        bits |= s.dims[-2]
    query = found(args[0])
    return Seen(whole(join(known), bits), query.dims if query else (0,) * out.dim())


def _reduced(args: Sequence[Any], out: Tensor, found: Found) -> Seen | None:
    """mean, sum, amax … over some dimensions, or over all."""
    seen, x = found(args[0]), args[0]
    if seen is None:
        return None
    gone = reduced(args, x.dim())
    bits = 0
    for i in gone:
        bits |= seen.dims[i] if x.shape[i] > 1 else 0
    kept = out.dim() == x.dim()
    dims = tuple(0 if i in gone and x.shape[i] > 1 else b for i, b in enumerate(seen.dims) if kept or i not in gone)
    return Seen(whole(seen.field, bits), dims)


def reduced(args: Sequence[Any], rank: int) -> tuple[int, ...]:
    """The dimensions that a reduction runs over."""
    given = args[1] if len(args) > 1 else None
    if isinstance(given, int):
        given = [given]
    if not isinstance(given, list | tuple) or not given:
        return tuple(range(rank))
    return tuple(i % rank for i in given)


def _layer_norm(args: Sequence[Any], out: Tensor, found: Found) -> Seen | None:
    seen = found(args[0])
    if seen is None:
        return None
    bits = 0
    for i in range(1, len(args[1]) + 1):
        bits |= seen.dims[-i]
    return Seen(whole(seen.field, bits), seen.dims)


def _group_norm(args: Sequence[Any], out: Tensor, found: Found) -> Seen | None:
    seen = found(args[0])
    return seen and Seen((None,) * len(seen.field), seen.dims)


def _batch_norm(args: Sequence[Any], out: Tensor, found: Found) -> Seen | None:
    seen = found(args[0])
    return seen and (Seen((None,) * len(seen.field), seen.dims) if args[5] is True else seen)


def _softmax(args: Sequence[Any], out: Tensor, found: Found) -> Seen | None:
    seen = found(args[0])
    return seen and Seen(whole(seen.field, seen.dims[args[1]]), seen.dims)


def _im2col(args: Sequence[Any], out: Tensor, found: Found) -> Seen | None:
    x, kernel, dilation, pad, stride = args
    seen = found(x)
    if seen is None:
        return None
    through_it = window(seen, 2, kernel, stride, pad, dilation)
    return Seen(through_it.field, (0, 0, seen.dims[-1] | seen.dims[-2])[-out.dim() :])


RULES: dict[object, Rule] = {
    aten.convolution.default: _conv,
    aten._convolution.default: _conv,
    **dict.fromkeys(
        (
            aten.max_pool2d_with_indices.default,
            aten.max_pool3d_with_indices.default,
            aten.max_pool2d.default,
        ),
        _pool(dilated=True),
    ),
    **dict.fromkeys((aten.avg_pool2d.default, aten.avg_pool3d.default), _pool(dilated=False)),
    **dict.fromkeys(
        (
            aten._adaptive_avg_pool2d.default,
            aten._adaptive_avg_pool3d.default,
            aten.adaptive_max_pool2d.default,
            aten.adaptive_max_pool3d.default,
        ),
        _adaptive,
    ),
    **dict.fromkeys(
        (
            *(aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default),
            *(aten.mv.default, aten.addmv.default, aten.dot.default, aten.vdot.default),
        ),
        _product,
    ),
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
            aten.mean.dim,
            aten.mean.default,
            aten.sum.dim_IntList,
            aten.sum.default,
            aten.amax.default,
            aten.amin.default,
            aten.max.dim,
            aten.var_mean.correction,
            aten.linalg_vector_norm.default,
            aten.logsumexp.default,
        ),
        _reduced,
    ),
    aten.native_layer_norm.default: _layer_norm,
    aten.native_group_norm.default: _group_norm,
    aten.native_batch_norm.default: _batch_norm,
    aten._softmax.default: _softmax,
    aten._safe_softmax.default: _softmax,
    aten._log_softmax.default: _softmax,
    **dict.fromkeys(
        (aten.view.default, aten._unsafe_view.default, aten.reshape.default, aten._reshape_alias.default), _reshape
    ),
    aten.permute.default: _permute,
    aten.transpose.int: _transpose,
    aten.t.default: _transpose,
    aten.unsqueeze.default: _unsqueeze,
    aten.squeeze.default: _squeeze,
    aten.squeeze.dim: _squeeze,
    aten.squeeze.dims: _squeeze,
    aten.select.int: _select,
    aten.unbind.int: _select,
    aten.slice.Tensor: _slice,
    aten.split.Tensor: _same,
    aten.split_with_sizes.default: _same,
    aten.roll.default: _same,
    aten.constant_pad_nd.default: _pad,
    aten.reflection_pad1d.default: _pad,
    aten.reflection_pad2d.default: _pad,
    aten.replication_pad2d.default: _pad,
    aten.upsample_nearest2d.default: _upsample(0),
    aten.upsample_bilinear2d.default: _upsample(1),
    aten.upsample_bicubic2d.default: _upsample(2),
    aten.pixel_shuffle.default: _shuffle_pixels,
    aten.pixel_unshuffle.default: _shuffle_pixels,
    aten.im2col.default: _im2col,
}
