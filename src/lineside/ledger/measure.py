"""How long each layer takes here, and how long it would take at the machine's best.

A forward pass runs on noise; hooks on every module note when it begins and ends. A module's own time is what its
children did not take: that of the functions in its `forward`. Where several operations belong to one module they share
its time as their bounds do. Medians over passes. The hooks themselves cost some microseconds a module.
"""

import os
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from statistics import median
from time import perf_counter

import torch
from torch import nn
from torch.nn.modules import module as modules

from lineside.ledger.row import Cost
from lineside.ledger.sheet import Peak, Times

PASSES, WARM = 11, 2
GEMM, COPY_BYTES = 1024, 1 << 27  # side of the product; bytes copied, far more than caches hold


def measure(net: nn.Module, cost: Cost) -> Times:
    """Times of the rows of cost, which was counted of this net; the net computes on the CPU."""
    net, passes = net.eval(), PASSES
    inputs = [torch.randn(shape) for shape in cost.shapes]
    whole, own = [], defaultdict(list)
    with torch.inference_mode():
        for i in range(WARM + passes):
            ms = _ms(lambda: net(*inputs))
            found = _own_ms(net, lambda: net(*inputs))
            if i >= WARM:
                whole.append(ms)
                for path, took in found.items():
                    own[path].append(took)
    here = peak(torch.get_num_threads())
    of_path: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(cost.rows):
        if row.moved:
            of_path[row.path].append(i)
    shares = {}
    for path, at in of_path.items():
        bounds = [here.bound_ms(cost.rows[i]) for i in at]
        took = median(own[path]) if path in own else 0.0
        shares |= {i: took * bound / sum(bounds) for i, bound in zip(at, bounds, strict=True)}
    return Times(shares, median(whole), passes, here)


def _own_ms(net: nn.Module, run: Callable[[], object], now: Callable[[], float] = perf_counter) -> dict[str, float]:
    """Milliseconds of each module without its children's, by path."""
    names = {id(m): name for name, m in net.named_modules()}
    own: dict[str, float] = defaultdict(float)
    open_now: list[list[float]] = []  # of every module that is running: when it began, what its children took

    def enter(module: nn.Module, _: object) -> None:
        open_now.append([now(), 0.0])

    def leave(module: nn.Module, _: object, __: object) -> None:
        begun, children = open_now.pop()
        took = now() - begun
        own[names.get(id(module), "")] += 1e3 * (took - children)
        if open_now:
            open_now[-1][1] += took

    hooks = modules.register_module_forward_pre_hook(enter), modules.register_module_forward_hook(leave)
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return own


@cache
def peak(threads: int) -> Peak:
    """What this machine does at best with so many threads; measured once a process."""
    a, b = torch.randn(GEMM, GEMM), torch.randn(GEMM, GEMM)
    source = torch.ones(COPY_BYTES // 4)
    target = torch.empty_like(source)
    with torch.inference_mode():
        product = min(_ms(lambda: torch.mm(a, b)) for _ in range(8))
        copy = min(_ms(lambda: target.copy_(source)) for _ in range(5))
    return Peak(1e3 * GEMM**3 / product, 1e3 * 2 * COPY_BYTES / copy, threads, "CPU, float32")


def best_macs_per_s() -> float:
    """Multiply-adds a second with every core, as an exported graph runs, however few threads torch was given."""
    threads = torch.get_num_threads()
    return peak(threads).macs_per_s * max(1.0, (os.cpu_count() or 1) / threads)


def _ms(run: Callable[[], object]) -> float:
    begun = perf_counter()
    run()
    return 1e3 * (perf_counter() - begun)
