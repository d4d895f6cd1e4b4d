"""The most memory that activations take at once.

inference   after every operation, what is still to be read: a tensor lives from the operation that makes it to the last
            one that reads it. Python may hold a tensor longer (a caller's variable); no order of frees needs less
training    what autograd keeps of one forward pass for the backward pass, in train mode, as torch itself decides;
            parameters, their gradients and the optimiser's state are not in it

Both are bytes; parameters and buffers are never counted.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lineside.ledger.row import Cost
from lineside.ledger.trace import Recorder, watched


def inference(cost: Cost) -> tuple[int, int]:
    """(bytes, the row at which they are reached)."""
    tensors, last = cost.tensors, {}
    for i, (reads, makes) in enumerate(zip(tensors.reads, tensors.makes, strict=True)):
        last |= dict.fromkeys((*reads, *makes), i)
    end = len(tensors.reads)
    last |= dict.fromkeys(tensors.kept, end)
    dying: dict[int, list[int]] = {}
    for number, i in last.items():
        dying.setdefault(i, []).append(number)
    live = sum(tensors.sizes[n] for n in tensors.given)
    most, at = live, 0
    for i, makes in enumerate(tensors.makes):
        live += sum(tensors.sizes[n] for n in makes)
        if live > most:
            most, at = live, i
        live -= sum(tensors.sizes[n] for n in dying.get(i, ()))
    return most, at


def training(net: nn.Module, *inputs: Sequence[int] | Tensor) -> int:
    """Bytes that a forward pass in train mode keeps for the backward pass."""
    recorder = Recorder(net)
    kept: dict[int, int] = {}
    alive: list[Any] = []

    def keep(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        if storage._cdata not in learnt:
            kept[storage._cdata] = storage.nbytes()
            alive.append(storage)
        return t

    states = [*net.parameters(), *net.buffers()]
    learnt = {t.untyped_storage()._cdata for s in states for t in (s, recorder.local(s))}
    given = [
        torch.empty_like(x, device="meta") if isinstance(x, Tensor) else torch.empty(tuple(x), device="meta")
        for x in inputs
    ]
    for x in given:
        recorder.give(x)
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t)
    with torch.enable_grad(), hooks, watched(net, recorder, training=True):
        net(*given)
    return sum(kept.values())
