"""The cost of any net, from outside: `from lineside.ledger import cost`.

    found = cost(net, (1, 3, 224, 224))
    found.macs, found.params, found.rows

Counted from operations, not modules: functional calls, attention and linear layers over tokens are counted as they run.
ViT-B/16 has 17.56 G MACs; counting modules alone finds 0.17 (its linear layers' places) or 16.85 (no attention).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lineside.errors import SettingsError
from lineside.ledger.row import Cost
from lineside.ledger.trace import trace


def cost(net: nn.Module, *inputs: Sequence[int] | Tensor, name: str = "") -> Cost:
    """What one forward pass of net in eval costs.

    inputs: for each input of the net its shape with the batch, (1, 3, 224, 224) float32, or a tensor of it (nothing is
    computed with it). The net is not changed, and may be on any device, meta too. SettingsError where the net does not
    take such inputs.
    """
    try:
        given = [
            torch.empty_like(x, device="meta") if isinstance(x, Tensor) else torch.empty(tuple(x), device="meta")
            for x in inputs
        ]
    except (RuntimeError, TypeError) as error:  # more bytes than a number of 64 bits counts, or a side below 0
        raise SettingsError(f"there is no input of the shape {inputs}: {str(error).splitlines()[0]}") from None
    recorder, tensors, note = trace(net, given)
    notes = [note] if note else []
    if recorder.uncounted:
        notes.append(f"operations that multiply and could not be counted: {', '.join(recorder.uncounted)}")
    return Cost(
        name=name or type(net).__name__,
        shapes=tuple(tuple(x.shape) for x in given),
        rows=tuple(recorder.rows),
        tensors=tensors,
        unread=tuple(one for left in recorder.unread.values() for one in left),
        notes=tuple(notes),
    )
