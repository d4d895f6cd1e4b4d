"""What reaches GoogLeNet's first layer: with and without auxiliary classifiers, with and without batch norm.

Szegedy et al. 2014, arXiv:1409.4842, section 5: two classifiers on inner blocks, their losses times 0.3, were to
"combat the vanishing gradient problem". Measured is the Euclidean norm of the loss's gradient at the weights of the
stem's first convolution, of batches of 32 of Fashion-MNIST's pictures (ten classes) enlarged to 96 px:

    start   of untrained nets: the same net, batch and dropout, by the last loss alone and by all three (paired)
    steps   over the first steps of SGD (rate 0.01, momentum 0.9): two nets of one start, one trained by the last loss,
            one by all three; what is compared is each net's mean over the steps

Ratios are "all three losses / the last alone": geometric means, one value a seed (n), with a 95 % interval (t on the
logarithms); least and most are over all batches of all seeds, or over the seeds' means. Nets without batch norm are googlenet_paper, those with it googlenet (torchvision's, 3x3 for 5x5), both with nets/parts.py he_init.

    python -m benchmarks.stem_gradients [--seeds 0 1 2] [--batches 4] [--steps 30] [--trial]
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from os import sched_getaffinity
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from benchmarks import record
from benchmarks.real_data import FASHION, garments
from lineside.learn.draws import generator
from lineside.nets.googlenet import AUXILIARY_WEIGHT, FAMILY, Auxiliary, build, with_auxiliary

NETS = {"googlenet_paper": "without batch norm", "googlenet": "with batch norm"}
BATCH, SIDE, CLASSES, RATE = 32, 96, 10, 0.01


def batches(seed: int, count: int, folder: Path) -> list[tuple[Tensor, Tensor]]:
    """So many batches of different pictures (32, 3, 96, 96) from −1 to 1, with their labels."""
    pictures, labels = garments("train", folder)
    rows = torch.randperm(len(labels), generator=generator(seed, "order"))[: count * BATCH].numpy()
    x = torch.from_numpy(pictures[rows])[:, None] / 127.5 - 1
    y = torch.from_numpy(labels[rows].astype(np.int64))
    return [(_enlarged(a), b) for a, b in zip(x.split(BATCH), y.split(BATCH), strict=True)]


def _enlarged(x: Tensor) -> Tensor:
    return F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False).expand(-1, 3, -1, -1)


def made(name: str, seed: int) -> Auxiliary:
    """The net with its classifiers, in train mode; its trunk is the same whether they are listened to or not."""
    torch.manual_seed(seed)
    return with_auxiliary(build(FAMILY[name], CLASSES), FAMILY[name], CLASSES).train()


def losses(net: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The last classifier's loss, and that of all three."""
    last, *inner = (F.cross_entropy(logits, y) for logits in net(x))
    return last, last + AUXILIARY_WEIGHT * sum(inner)


def first_weight(net: Auxiliary) -> nn.Parameter:
    weight = net.get_submodule("net.stem.conv1.conv").weight
    assert isinstance(weight, nn.Parameter)
    return weight


def at_start(name: str, seed: int, given: Sequence[tuple[Tensor, Tensor]]) -> list[list[float]]:
    """(norm by the last loss, norm by all three) of every batch."""
    net, found = made(name, seed), []
    for x, y in given:
        last, every = losses(net, x, y)
        norms = [
            torch.autograd.grad(one, first_weight(net), retain_graph=one is last)[0].norm() for one in (last, every)
        ]
        found.append([float(norm) for norm in norms])
    return found


def over_steps(name: str, seed: int, given: Sequence[tuple[Tensor, Tensor]], listen: bool) -> list[float]:
    """The norm at every step of SGD, by the loss that the net is trained with."""
    net, found = made(name, seed), []
    optimiser = torch.optim.SGD(net.parameters(), lr=RATE, momentum=0.9)
    for x, y in given:
        optimiser.zero_grad(set_to_none=True)
        losses(net, x, y)[listen].backward()
        gradient = first_weight(net).grad
        assert gradient is not None
        found.append(float(gradient.norm()))
        optimiser.step()
    return found


def measure(name: str, seed: int, count: int, steps: int, folder: Path) -> dict:
    """One net on one seed."""
    torch.set_num_threads(1)  # a process a core
    given, start = batches(seed, max(count, steps), folder), perf_counter()
    row = {"net": name, "what": NETS[name], "seed": seed, "start": at_start(name, seed, given[:count])}
    row["steps_last"], row["steps_all"] = (over_steps(name, seed, given[:steps], listen) for listen in (False, True))
    return row | {"seconds": round(perf_counter() - start, 1)}


def ratio(seeds: Sequence[Sequence[Sequence[float]]]) -> dict:
    """Of (norm by the last, norm by all three) of every batch of every seed: all three over the last."""
    every = [np.log([more / last for last, more in pairs]) for pairs in seeds]
    means, flat = np.array([logs.mean() for logs in every]), np.concatenate(every)
    half = stats.t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / len(means) ** 0.5 if len(means) > 1 else None
    return {
        "ratio": _short(np.exp(means.mean())),
        "low": None if half is None else _short(np.exp(means.mean() - half)),
        "high": None if half is None else _short(np.exp(means.mean() + half)),
        "least": _short(np.exp(flat.min())),
        "most": _short(np.exp(flat.max())),
        "n": len(means),
    }


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def summary(runs: Sequence[dict]) -> list[dict]:
    """A row a net and moment: the norms, geometric means, and their ratio."""
    found = []
    for name, what in NETS.items():
        mine = [run for run in runs if run["net"] == name]
        moments = {
            "start": [run["start"] for run in mine],
            "steps": [[[np.mean(run["steps_last"]), np.mean(run["steps_all"])]] for run in mine],
        }
        for moment, seeds in moments.items():
            last, more = np.exp(np.log([pair for pairs in seeds for pair in pairs]).mean(0))
            norms = {"norm_last": _short(last), "norm_all": _short(more)}
            found.append({"net": name, "what": what, "moment": moment} | norms | ratio(seeds))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batches", type=int, default=4, help="at the start")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--data", type=Path, default=FASHION, help="the folder of Fashion-MNIST's four files")
    parser.add_argument("--trial", action="store_true", help="nothing is recorded")
    args = parser.parse_args()
    jobs = [(name, seed, args.batches, args.steps, args.data) for seed in args.seeds for name in NETS]
    with ProcessPoolExecutor(len(sched_getaffinity(0)), get_context("spawn")) as pool:
        runs = list(pool.map(measure, *zip(*jobs, strict=True)))
    found = summary(runs)
    for row in found:
        print(row)
    print("seconds:", [run["seconds"] for run in runs])
    if not args.trial:
        what = "norm of the gradient at GoogLeNet's stem.conv1, all three losses over the last alone"
        print(record.write("stem_gradients", what, {"summary": found, "runs": runs}, ("torch",)))


if __name__ == "__main__":
    main()
