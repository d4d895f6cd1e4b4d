"""How long a net takes on this machine, before anybody trains it: the exported graph itself, with random weights."""

from time import perf_counter

import numpy as np
import torch

from lineside.bundle import engine, export
from lineside.nets.catalog import find
from lineside.nets.input import Input


def latency_ms(net: str, side: int, classes: int, seen_px: tuple[tuple[int, int], tuple[int, int]]) -> float:
    """Median ms from a ready picture of the largest seen size to logits: the exported graph, batch 1.

    seen_px: (smallest, largest) width, then height. The largest takes longest, and a limit must hold for it too.
    """
    row = find(net)
    (_, width), (_, height) = seen_px
    net_input = Input(side, row.mean, row.std)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        graph = export.to_onnx(row.make(classes).eval(), net_input, 1.0)
    infer = engine.open_model("onnxruntime", graph, "float32")
    picture = np.full((1, height, width, 3), 127, np.uint8)
    took = []
    for _ in range(25):
        start = perf_counter()
        infer(picture)
        took.append(1000 * (perf_counter() - start))
    return float(np.median(took[5:]))
