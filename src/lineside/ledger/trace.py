"""Run a net once without data and write down every operation.

Shapes are followed on the meta device: no memory, no arithmetic, and a net of any size takes some milliseconds. The net
stays where and as it is: shapes take the place of its parameters on their way into each operation. What a module's
`forward` does between modules (additions, products, attention) is a row like any other, under that module's path.

A net that looks at values (`if x.sum() > 0`, `.item()`), or has operations that torch can not follow without data
(quantised layers), is run on zeros.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as modules
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from lineside.errors import SettingsError
from lineside.ledger.count import name_of, uncounted, work
from lineside.ledger.field import Seen, start, through
from lineside.ledger.row import Row, Tensors
from lineside.ledger.shapes import SHAPES

ON_ZEROS = "the net can not be followed without values, so it was run on zeros: other pictures may cost otherwise"


class Recorder(TorchDispatchMode):
    """Writes a row for every operation that makes something. real: operations compute; else shapes are followed."""

    def __init__(self, net: nn.Module, real: bool = False):
        super().__init__()
        self.real, self.names = real, {id(m): name for name, m in net.named_modules()}
        self.linears = {name for name, m in net.named_modules() if isinstance(m, nn.Linear)}
        self.path: list[str] = [""]
        self.rows: list[Row] = []
        self.reads: list[tuple[int, ...]] = []
        self.makes: list[tuple[int, ...]] = []
        self.sizes: list[int] = []
        self.uncounted: dict[str, None] = {}
        self.number: dict[int, int] = {}  # storage → number of a tensor that is no parameter
        self.maker: dict[int, int] = {}  # storage → the last row that wrote it
        self.seen: dict[int, Seen] = {}  # by id of a tensor
        self.kept: list[Any] = []  # ids tell tensors apart only while they live
        self.twins: dict[int, Tensor] = {}  # by id of a tensor that is not on meta: its shape
        self.unread: dict[int, list[tuple[str, int]]] = {}  # storage → parameters
        for name, parameter in net.named_parameters():
            storage = _storage(parameter if real else self.local(parameter))
            self.unread.setdefault(storage, []).append((name, parameter.numel()))

    def give(self, x: Tensor) -> int:
        """x is an input of the net; its number."""
        self.seen[id(x)] = start(x.shape)
        self.kept.append(x)
        return self._new(_storage(x), x)

    def found(self, t: Tensor) -> Seen | None:
        return self.seen.get(id(t))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not self.real:
            args = tuple([self.local(a) for a in args])
            if kwargs:
                kwargs = tree_map_only(Tensor, self.local, kwargs)
                if "device" in kwargs:
                    kwargs = kwargs | {"device": torch.device("meta")}
        known = None if self.real or kwargs else SHAPES.get(func)
        out = known(args) if known else None
        if out is None:
            out = func(*args, **kwargs)
        outs = [out] if isinstance(out, Tensor) else [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        if outs:
            self._write(func, (*args, *kwargs.values()) if kwargs else args, args, outs)
        return out

    def local(self, arg: Any) -> Any:
        """arg, its tensors as shapes on meta."""
        if isinstance(arg, Tensor):
            twin = self.twins.get(id(arg))
            if twin is None:
                if arg.is_meta and not isinstance(arg, nn.Parameter):
                    return arg
                twin = torch.empty_strided(arg.shape, arg.stride(), dtype=arg.dtype, device="meta")
                self.twins[id(arg)] = twin
                self.kept.append(arg)
            return twin
        return [self.local(one) for one in arg] if isinstance(arg, list | tuple) else arg

    def _new(self, storage: int, t: Tensor) -> int:
        self.number[storage] = len(self.sizes)
        self.sizes.append(t.nbytes)
        return self.number[storage]

    def _write(self, func: Any, given: Sequence[Any], args: Sequence[Any], outs: list[Tensor]) -> None:
        inputs: list[Tensor] = []
        for arg in given:
            if isinstance(arg, Tensor):
                inputs.append(arg)
            elif isinstance(arg, list | tuple):
                inputs += [one for one in arg if isinstance(one, Tensor)]
        self.kept.append(outs)
        first = outs[0]
        for t in outs:
            if t is first or t.dim() == first.dim():
                seen = through(func, args, t, self.found)
                if seen is not None:
                    self.seen[id(t)] = seen
        if func.is_view:
            self._flatten(inputs, first)
            return
        if not inputs and not any(t.numel() for t in outs):
            return  # the empty tensors that torch hands from one of its functions to another
        item = work(func, args, first, self.found)
        if uncounted(func):
            self.uncounted[func.overloadpacket.__name__] = None
        read, params, moved = [_storage(t) for t in inputs], 0, 0
        x = after = None
        sources = []
        for storage, t in zip(read, inputs, strict=True):
            moved += t.nbytes
            if storage in self.number:
                sources.append((self.maker.get(storage, ~self.number[storage]), t.shape))
            elif storage in self.unread:
                params += sum(n for _, n in self.unread.pop(storage))
            if x is None and id(t) in self.seen:
                x, after = t, self.maker.get(storage)
        made, makes = 0, []
        for t in outs:
            moved += t.nbytes
            storage = _storage(t)
            if storage not in read and t.nbytes:
                made += t.nbytes
                makes.append(self._new(storage, t))
            self.maker[storage] = len(self.rows)
        seen = self.seen.get(id(first))
        self.rows.append(
            Row(
                path=self.path[-1],
                op=name_of(func, args),
                kind=item.kind,
                input=item.input or (tuple(x.shape[1:]) if x is not None else ()),
                output=item.output or tuple(first.shape[1:]),
                filters=item.filters,
                kernel=item.kernel,
                stride=item.stride,
                pad=item.pad,
                groups=item.groups,
                ceil=item.ceil,
                params=params,
                macs=item.macs,
                pool_ops=item.pool_ops,
                made=made,
                moved=moved,
                field=seen.field if seen else (),
                after=after,
                sources=tuple(sources),
            )
        )
        self.reads.append(tuple(self.number[s] for s in read if s in self.number))
        self.makes.append(tuple(makes))

    def _flatten(self, inputs: list[Tensor], out: Tensor) -> None:
        """A row for a map that becomes a list: the deck's tables have one. It is a view: nothing is made."""
        if out.dim() != 2 or not inputs or inputs[0].dim() < 3 or self.path[-1] in self.linears:
            return
        x, seen = inputs[0], self.seen.get(id(inputs[0]))
        if seen is None or x.shape[0] != out.shape[0] or not any(seen.dims[2:]):
            return
        storage, after = _storage(x), self.maker.get(_storage(x))
        self.maker[storage] = len(self.rows)
        shapes = tuple(x.shape[1:]), tuple(out.shape[1:])
        sources = ((~self.number[storage] if after is None else after, x.shape),)
        self.rows.append(
            Row(
                self.path[-1],
                "flatten",
                "flatten",
                *shapes,
                field=self.seen[id(out)].field,
                after=after,
                sources=sources,
            )
        )
        self.reads.append((self.number[storage],))
        self.makes.append(())

    def tensors(self, given: Sequence[int], answer: Any) -> Tensors:
        kept = {self.number[s] for t in _tensors(answer) if (s := _storage(t)) in self.number}
        return Tensors(tuple(self.reads), tuple(self.makes), tuple(self.sizes), tuple(given), tuple(sorted(kept)))


def _storage(t: Tensor) -> int:
    """The same number for a tensor and its views: a linear layer reads its weight transposed."""
    return t.untyped_storage()._cdata


def _tensors(value: Any) -> list[Tensor]:
    return [t for t in tree_leaves(value) if isinstance(t, Tensor)]


def trace(net: nn.Module, inputs: Sequence[Tensor]) -> tuple[Recorder, Tensors, str]:
    """One forward pass of net in eval over inputs (on meta): its rows, its tensors, a note.

    SettingsError where the net does not take such inputs.
    """
    lazy = [name for name, t in (*net.named_parameters(), *net.named_buffers()) if is_lazy(t)]
    if lazy:
        raise SettingsError(
            f"the net learns the size of {', '.join(lazy)} at its first pass; run it once on an input, then ask again"
        )
    first: Exception | None = None
    for attempt in ways(net):
        twin, real = attempt()
        device = next((t.device for t in _states(net)), torch.device("cpu")) if real else "meta"
        given = [torch.zeros_like(x, device=device) for x in inputs]
        recorder = Recorder(twin, real)
        numbers = [recorder.give(x) for x in given]
        try:
            with torch.no_grad(), watched(twin, recorder, training=False):
                answer = twin(*given)
        except Exception as error:  # anything that a forward can raise
            first = first or error
            continue
        return recorder, recorder.tensors(numbers, answer), ON_ZEROS if real else ""
    assert first is not None
    shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
    reason = " ".join(str(first).split())[:300] or type(first).__name__
    raise SettingsError(f"the net can not be run on an input of shape {shapes}: {reason}") from first


def ways(net: nn.Module) -> Iterator[Callable[[], tuple[nn.Module, bool]]]:
    """How to follow it, the quickest first: (net, whether it must compute)."""
    yield lambda: (net, False)
    states = _states(net)
    if any(t.is_meta for t in states):
        return
    if states:
        yield lambda: (deepcopy(net, {id(t): _bare(t) for t in states}), False)  # C++ that wants all on one device
    yield lambda: (net, True)


def _states(net: nn.Module) -> list[Tensor]:
    return [*net.parameters(), *net.buffers()]


def _bare(t: Tensor) -> Tensor:
    twin = torch.empty_like(t, device="meta")
    return nn.Parameter(twin, t.requires_grad) if isinstance(t, nn.Parameter) else twin


@contextmanager
def watched(net: nn.Module, recorder: Recorder, training: bool) -> Iterator[None]:
    """The recorder on, told of every module that is entered; modules come out in the mode they went in."""
    modes = [(m, m.training) for m in net.modules()]
    for m, _ in modes:
        m.training = training

    def enter(module: nn.Module, _: Any) -> None:
        recorder.path.append(recorder.names.get(id(module), recorder.path[-1]))

    def leave(module: nn.Module, _: Any, __: Any) -> None:
        recorder.path.pop()

    hooks = modules.register_module_forward_pre_hook(enter), modules.register_module_forward_hook(leave)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one fused operation where rows are wanted
    try:
        with recorder:
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for hook in hooks:
            hook.remove()
        for m, mode in modes:
            m.training = mode
