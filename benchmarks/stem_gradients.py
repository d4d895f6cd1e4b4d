"""What reaches GoogLeNet's first layer: with and without auxiliary classifiers, with and without batch norm.

Szegedy et al. 2014, arXiv:1409.4842, section 5: two classifiers on inner blocks, their losses times 0.3, were to
"combat the vanishing gradient problem". Measured is the Euclidean norm of the loss's gradient at the weights of the
stem's first convolution, of batches of 32 of Fashion-MNIST's pictures (ten classes) enlarged to 80 px:

    start   of untrained nets: the same net, batch and dropout, by the last loss alone and by all three (paired);
            kept: share of what its last inception module gets that the stem gets, both per weight norm, last loss
    steps   over the first steps of SGD (rate 0.01, momentum 0.9): two nets of one start, one trained by the last loss,
            one by all three; what is compared is each net's mean over the steps

Ratios are "all three losses / the last alone": geometric means, one value a seed (n), with a 95 % interval (t on the
logarithms); least and most are over all batches of all seeds, or over the seeds' means.

Nets: googlenet_paper has no batch norm, googlenet has (torchvision's, 3x3 for 5x5). Starts: he, as the nets have it
(nets/parts.py he_init); xavier, as the paper's time had it (Glorot and Bengio 2010, in Caffe's form: uniform, variance
1 / fan_in, biases 0). In a trial from he the net without batch norm diverged within three steps of this rate: steps
are measured from xavier alone.

    python -m benchmarks.stem_gradients [--seeds 0 1 2 3 4] [--batches 3] [--steps 15] [--trial]
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from os import sched_getaffinity
from pathlib import Path
from time import process_time

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from benchmarks import record
from benchmarks.real_data import FASHION, fashion_at_hand, garments
from lineside.learn.draws import generator
from lineside.nets.googlenet import AUXILIARY_WEIGHT, FAMILY, Auxiliary, build, with_auxiliary

NETS = {"googlenet_paper": "without batch norm", "googlenet": "with batch norm"}
STARTS = ("he", "xavier")
FIRST, LAST = "net.stem.conv1.conv.weight", "net.stage3.inception5b.branches.one.conv.weight"
BATCH, SIDE, CLASSES, RATE = 32, 80, 10, 0.01


def batches(seed: int, count: int, folder: Path) -> list[tuple[Tensor, Tensor]]:
    """So many batches of different pictures (32, 3, 80, 80) from −1 to 1, with their labels."""
    pictures, labels = garments("train", folder)
    rows = torch.randperm(len(labels), generator=generator(seed, "order"))[: count * BATCH].numpy()
    x = torch.from_numpy(pictures[rows])[:, None] / 127.5 - 1
    y = torch.from_numpy(labels[rows].astype(np.int64))
    return [(_enlarged(a), b) for a, b in zip(x.split(BATCH), y.split(BATCH), strict=True)]


def _enlarged(x: Tensor) -> Tensor:
    return F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False).expand(-1, 3, -1, -1)


def made(name: str, start: str, seed: int) -> Auxiliary:
    """The net with its classifiers, in train mode; the same whether they will be listened to or not."""
    torch.manual_seed(seed)
    net = with_auxiliary(build(FAMILY[name], CLASSES), FAMILY[name], CLASSES).train()
    for module in net.modules() if start == "xavier" else ():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = (3 / module.weight[0].numel()) ** 0.5
            nn.init.uniform_(module.weight, -bound, bound)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return net


def losses(net: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The last classifier's loss, and that of all three."""
    last, *inner = (F.cross_entropy(logits, y) for logits in net(x))
    return last, last + AUXILIARY_WEIGHT * sum(inner)


def at_start(name: str, start: str, seed: int, given: Sequence[tuple[Tensor, Tensor]]) -> dict:
    """Of every batch: (norm by the last loss, norm by all three), and what is kept on the way down to the stem."""
    net = made(name, start, seed)
    first, last = (net.get_parameter(path) for path in (FIRST, LAST))
    pairs, kept = [], []
    for x, y in given:
        alone, every = losses(net, x, y)
        below, above = torch.autograd.grad(alone, (first, last), retain_graph=True)
        pairs.append([float(below.norm()), float(torch.autograd.grad(every, first)[0].norm())])
        kept.append(float(below.norm() / first.detach().norm() * last.detach().norm() / above.norm()))
    return {"net": name, "start": start, "seed": seed, "pairs": pairs, "kept": kept}


def over_steps(name: str, seed: int, given: Sequence[tuple[Tensor, Tensor]], listen: bool) -> list[float]:
    """The norm at every step of SGD, by the loss that the net is trained with."""
    net, found = made(name, "xavier", seed), []
    optimiser = torch.optim.SGD(net.parameters(), lr=RATE, momentum=0.9)
    for x, y in given:
        optimiser.zero_grad(set_to_none=True)
        losses(net, x, y)[listen].backward()
        gradient = net.get_parameter(FIRST).grad
        assert gradient is not None
        found.append(float(gradient.norm()))
        optimiser.step()
    return found


def measure(name: str, seed: int, count: int, steps: int, folder: Path) -> dict:
    """One net on one seed."""
    torch.set_num_threads(1)  # a process a core
    given, began = batches(seed, max(count, steps), folder), process_time()
    start = [at_start(name, how, seed, given[:count]) for how in STARTS]
    last, every = (over_steps(name, seed, given[:steps], listen) for listen in (False, True))
    cpu_s = round(process_time() - began, 1)
    return {"net": name, "seed": seed, "start": start, "steps_last": last, "steps_all": every, "cpu_s": cpu_s}


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
    """A row a net, start and moment: the norms (geometric means) and their ratio."""
    found = []
    for name, what in NETS.items():
        mine = [run for run in runs if run["net"] == name]
        for start in STARTS:
            own = [one for run in mine for one in run["start"] if one["start"] == start]
            kept = np.log([one["kept"] for one in own]).mean()
            row = _row([one["pairs"] for one in own]) | {"kept": _short(np.exp(kept))}
            found.append({"net": name, "what": what, "start": start, "moment": "start"} | row)
        row = _row([[[np.mean(run["steps_last"]), np.mean(run["steps_all"])]] for run in mine])
        found.append({"net": name, "what": what, "start": "xavier", "moment": "steps"} | row)
    return found


def _row(seeds: Sequence[Sequence[Sequence[float]]]) -> dict:
    last, every = np.exp(np.log([pair for pairs in seeds for pair in pairs]).mean(0))
    return {"norm_last": _short(last), "norm_all": _short(every)} | ratio(seeds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--batches", type=int, default=3, help="at the start")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--data", type=Path, default=FASHION, help="the folder of Fashion-MNIST's four files")
    parser.add_argument("--trial", action="store_true", help="nothing is recorded")
    args = parser.parse_args()
    if not fashion_at_hand(args.data):
        return
    jobs = [(name, seed, args.batches, args.steps, args.data) for seed in args.seeds for name in NETS]
    with ProcessPoolExecutor(len(sched_getaffinity(0)), get_context("spawn")) as pool:
        runs = list(pool.map(measure, *zip(*jobs, strict=True)))
    found = summary(runs)
    for row in found:
        print(row)
    print("cpu seconds:", [run["cpu_s"] for run in runs])
    if not args.trial:
        what = "norm of the gradient at GoogLeNet's stem.conv1, all three losses over the last alone"
        print(record.write("stem_gradients", what, {"summary": found, "runs": runs}, ("torch",)))


if __name__ == "__main__":
    main()
