"""A training step alone, and beside programs that keep every core busy: what the waiting of torch's threads costs.

    python -m benchmarks.busy_machine [--rounds 3] [--seconds 6]

torch's threads wait for each other at every layer, turning in a loop before they sleep (libgomp's GOMP_SPINCOUNT). The
commands of `lineside` set it (cli/main.py); the peer is torch with libgomp's own value. EfficientNet-Lite0 from stage4
on, 32 pictures, bfloat16, each turn in a process of its own; beside it, for every core, a process that only counts.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys

import numpy as np

from benchmarks import record
from lineside.cli.main import SPINS

STEP = """
import json, sys, time
import torch
from lineside.learn.precision import autocast
from lineside.nets.catalog import NETS
from lineside.nets.stages import split_at
below, above = split_at(NETS["efficientnet_lite0"].build(6), "stage4")
x = below.eval()(torch.randn(32, 3, 224, 224)).detach().to(memory_format=torch.channels_last)
optimiser = torch.optim.AdamW(above.train().parameters(), lr=1e-4)
took = []
begun = time.perf_counter()
while len(took) < 4 or time.perf_counter() - begun < float(sys.argv[1]):
    before = time.perf_counter()
    optimiser.zero_grad()
    with autocast("bfloat16", x.device):
        y = above(x)
    y.float().square().mean().backward()
    optimiser.step()
    took.append(1e3 * (time.perf_counter() - before))
print(json.dumps(took[1:]))
"""


def count() -> None:
    while True:
        pass


def turn(spins: str | None, busy: int, seconds: float) -> list[float]:
    """ms of each step but the first, beside so many busy processes."""
    environment = dict(os.environ)
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        environment.pop(name, None)
    environment |= {"GOMP_SPINCOUNT": spins} if spins else {}
    others = [multiprocessing.Process(target=count, daemon=True) for _ in range(busy)]
    for other in others:
        other.start()
    try:
        command = [sys.executable, "-c", STEP, str(seconds)]
        return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)
    finally:
        for other in others:
            other.kill()
            other.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="a turn")
    args = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    took: dict[tuple[str, int], list[float]] = {}
    for _ in range(args.rounds):
        for busy in (0, cores):
            for name, spins in (("libgomp's own", None), (f"lineside's, {SPINS}", SPINS)):
                took.setdefault((name, busy), []).extend(turn(spins, busy, args.seconds))
    rows = [
        {
            "spins": name,
            "busy_processes": busy,
            "steps": len(ms),
            "ms": {p: round(float(np.quantile(ms, q)), 1) for p, q in (("p25", 0.25), ("p50", 0.5), ("p75", 0.75))},
        }
        for (name, busy), ms in took.items()
    ]
    what = "ms of a training step, alone and beside as many busy processes as there are cores"
    print(record.write("busy_machine", what, rows, ("torch",)).read_text())


if __name__ == "__main__":
    main()
