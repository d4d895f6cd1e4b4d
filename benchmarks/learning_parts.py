"""The two halves of fine-tuning, each against torch's own way: stages below the cut run, stages above it learn.

    frozen   32 pictures through the frozen stages: learn/frozen.py in bfloat16 and in float32, torch as it is in both
    step     forward and backward of 32 pictures' features: float32, bfloat16 with nets/depthwise.py, bfloat16 without

The ways take turns, so that a busy moment meets all of them.

    python -m benchmarks.learning_parts [--net efficientnet_lite0] [--stage stage4] [--rounds 15]
"""

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from time import perf_counter

import numpy as np
import torch
from torch import nn

from benchmarks import record
from lineside.learn.frozen import frozen
from lineside.learn.loop import keep_statistics
from lineside.nets.catalog import find
from lineside.nets.depthwise import Depthwise
from lineside.nets.stages import split_at

BATCH = 32


def compare(ways: dict[str, Callable[[], object]], rounds: int) -> list[dict]:
    """Median and 5th to 95th percentile of the milliseconds that each way takes, and how many times the first's."""
    took = {name: [] for name in ways}
    for turn in range(rounds + 2):
        for name, way in ways.items():
            start = perf_counter()
            way()
            if turn > 1:
                took[name].append(1000 * (perf_counter() - start))
    first = float(np.median(next(iter(took.values()))))
    return [
        {
            "way": name,
            "ms": round(float(np.median(ms)), 1),
            "p5_ms": round(float(np.percentile(ms, 5)), 1),
            "p95_ms": round(float(np.percentile(ms, 95)), 1),
            "times_the_first": round(float(np.median(ms)) / first, 2),
            "n": rounds,
        }
        for name, ms in took.items()
    ]


def run_frozen(below: nn.Sequential, x: torch.Tensor, rounds: int) -> list[dict]:
    low, exact = frozen(below, x[:1], "bfloat16"), frozen(below, x[:1], "float32")
    below.to(memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]
    last = x.contiguous(memory_format=torch.channels_last)

    def with_torch(low: bool) -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16) if low else nullcontext():
            below(last)

    ways = {
        "bfloat16, learn/frozen.py": lambda: low(x),
        "float32, learn/frozen.py (onnxruntime)": lambda: exact(x),
        "torch, float32": lambda: with_torch(False),
        "torch, bfloat16": lambda: with_torch(True),
    }
    return [{"part": "frozen"} | row for row in compare(ways, rounds)]


def learn(above: nn.Sequential, x: torch.Tensor, rounds: int) -> list[dict]:
    above.to(memory_format=torch.channels_last).train()  # pyright: ignore[reportCallIssue]
    keep_statistics(above)
    x = x.contiguous(memory_format=torch.channels_last)
    ours = Depthwise.forward

    def step(low: bool, forward: Callable) -> None:
        Depthwise.forward = forward
        with torch.autocast("cpu", torch.bfloat16) if low else nullcontext():
            loss = above(x).float().square().mean()
        loss.backward()
        above.zero_grad(set_to_none=True)
        Depthwise.forward = ours

    ways = {
        "bfloat16, nets/depthwise.py": lambda: step(True, ours),
        "float32": lambda: step(False, ours),
        "bfloat16, torch's convolution": lambda: step(True, nn.Conv2d.forward),
    }
    return [{"part": "step"} | row for row in compare(ways, rounds)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", default="efficientnet_lite0")
    parser.add_argument("--stage", default="stage4")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    row = find(args.net)
    below, above = split_at(row.build(4), args.stage)
    x = torch.rand(BATCH, 3, row.size_px, row.size_px)
    with torch.no_grad():
        features = below.eval()(x)
    rows = [*run_frozen(below, x, args.rounds), *learn(above, features, args.rounds)]
    for one in rows:
        print(one)
    what = f"{args.net} cut at {args.stage}, {BATCH} pictures, milliseconds"
    print(record.write("learning_parts", what, rows, ("torch", "onnxruntime")))


if __name__ == "__main__":
    main()
