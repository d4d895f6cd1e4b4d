"""A deeper plain net is worse on its own training pictures, a residual one is not: 20 and 56 layers of each.

He et al. 2015, arXiv:1512.03385, section 4.2 and fig. 6, here on Fashion-MNIST: SGD of 128 pictures, a tenth of the
rate from half of the steps on and a hundredth from three quarters on, momentum 0.9, weight decay 1e-4; batch norm and
the He start as the nets have them. Plain and residual nets of a seed begin with the same weights and see the same
pictures in the same order.

    short  5,120 pictures averaged to 14 px and padded to 16, none changed, 320 steps at a rate of 0.02; a process a
           core. (The paper's 0.1 costs both deep nets most of so few steps: in trials of 120 steps, one seed, plain56
           ended at 73 % and resnet56 at 36 % with it, at 50 % and 16 % with 0.02.)
    full   the paper's: 60,000 pictures padded to 32 px, crops out of 4 px more on every side and flips, 64,000 steps at
           a rate of 0.1; meant for a GPU, where convolutions are in TF32 and a step is replayed as CUDA graphs (its
           launches take longer than its work)

curve: percent of the batches' pictures that were wrong, mean over a fortieth of the steps; train_error, test_error: of
every training picture and of test pictures at the end, in eval. A run is written as soon as it is done, in place of
one of the same plan, net and seed, so `--nets` and `--seeds` may divide the work. The picture is docs/depth-PLAN.svg.

    python -m benchmarks.depth [--full] [--nets plain20 …] [--seeds 0 1 2] [--data FOLDER] [--trial STEPS]
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
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
from benchmarks.real_data import FASHION, fashion_at_hand, garments
from lineside.evidence.svg import HEIGHT, LEFT, TOP, WIDTH, axes_of, frame
from lineside.learn.draws import generator
from lineside.learn.precision import channels_last
from lineside.nets.catalog import NETS

RESULT = "depth"
DOCS = Path(__file__).parents[1] / "docs"
DEEPER = {"plain": ("plain20", "plain56"), "residual": ("resnet20", "resnet56")}
BATCH, POINTS, CROP = 128, 40, 4
LEGEND = 150  # px beside the plot
MEAN, STD = 0.286, 0.353  # of Fashion-MNIST's training pixels in [0, 1]


@dataclass(frozen=True)
class Plan:
    """How long, on how many pictures of which side, and whether they are changed."""

    name: str
    side_px: int
    shrink: int  # pixels averaged to one, each way, before zeros are put around
    pictures: int
    test_pictures: int
    steps: int
    rate: float
    changed: bool

    def rate_at(self, step: int) -> float:
        """Of the step of this number, from 1."""
        done = step / self.steps
        return self.rate * (1.0 if done <= 0.5 else 0.1 if done <= 0.75 else 0.01)


SHORT = Plan("short", 16, 2, 5_120, 2_000, 320, 0.02, changed=False)
FULL = Plan("full", 32, 1, 60_000, 10_000, 64_000, 0.1, changed=True)


def load(part: str, most: int, plan: Plan, folder: Path, device: torch.device) -> tuple[Tensor, Tensor]:
    """The first so many pictures (N, 1, side, side), normalised, and labels (N,)."""
    pictures, labels = garments(part, folder)
    x = (torch.from_numpy(pictures[:most].copy())[:, None].to(device) / 255 - MEAN) / STD
    x = F.avg_pool2d(x, plan.shrink)
    edge = (plan.side_px - x.shape[-1]) // 2
    return F.pad(x, (edge,) * 4, value=-MEAN / STD), torch.from_numpy(labels[:most].astype(np.int64)).to(device)


def changed(x: Tensor, rng: torch.Generator) -> Tensor:
    """(N, 1, side, side): each shifted by up to CROP px each way and mirrored with probability a half."""
    n, side, device = len(x), x.shape[-1], x.device
    down, across = (torch.randint(0, 2 * CROP + 1, (n, 1), generator=rng, device=device) for _ in range(2))
    within = torch.arange(side, device=device)
    mirrored = torch.rand((n, 1), generator=rng, device=device) < 0.5
    rows, columns = down + within, across + torch.where(mirrored, side - 1 - within, within)
    padded = F.pad(x[:, 0], (CROP,) * 4, value=-MEAN / STD)
    each = torch.arange(n, device=device)[:, None, None]
    return padded[each, rows[:, :, None], columns[:, None, :]][:, None]


def colour(x: Tensor) -> Tensor:
    """Grey as three equal channels."""
    return channels_last(x.expand(-1, 3, -1, -1))


def error(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """Percent of the pictures that net, in eval, gets wrong."""
    net.eval()
    with torch.inference_mode():
        wrong = sum(int((net(colour(a)).argmax(1) != b).sum()) for a, b in zip(x.split(500), y.split(500), strict=True))
    return round(100 * wrong / len(y), 3)


def train(plan: Plan, name: str, seed: int, folder: Path, device: torch.device) -> dict:
    """One net on one seed: what happened, as a row."""
    if device.type == "cpu":
        torch.set_num_threads(1)  # a process a core
    x, y = load("train", plan.pictures, plan, folder, device)
    torch.manual_seed(seed)
    net = NETS[name].build(10).to(device, memory_format=torch.channels_last).train()  # pyright: ignore
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    if device.type == "cuda":
        torch.cuda.make_graphed_callables(net, (colour(x[:BATCH]).clone(memory_format=torch.channels_last),))
    rng, start = torch.Generator(device).manual_seed(seed), perf_counter()
    wrong, curve, order = torch.zeros((), device=device), [], torch.empty(0, dtype=torch.int64)
    epochs, window = 0, max(1, plan.steps // POINTS)
    for step in range(1, plan.steps + 1):
        if len(order) < BATCH:
            order = torch.randperm(len(y), generator=generator(seed, "order", epochs)).to(device)
            epochs += 1
        rows, order = order[:BATCH], order[BATCH:]
        for group in optimiser.param_groups:
            group["lr"] = plan.rate_at(step)
        batch = x[rows]
        logits = net(colour(changed(batch, rng) if plan.changed else batch))
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(logits, y[rows]).backward()
        optimiser.step()
        wrong += (logits.argmax(1) != y[rows]).sum()
        if step % window == 0:
            curve.append([step, round(100 * float(wrong) / (window * BATCH), 3)])
            wrong.zero_()
    seconds = perf_counter() - start
    return {
        "plan": plan.name,
        "net": name,
        "seed": seed,
        "steps": plan.steps,
        "rate": plan.rate,
        "side_px": plan.side_px,
        "pictures": plan.pictures,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu, 1 thread",
        "train_error": error(net, x, y),
        "test_error": error(net, *load("t10k", plan.test_pictures, plan, folder, device)),
        "test_pictures": plan.test_pictures,
        "seconds": round(seconds, 1),
        "curve": curve,
    }


def gaps(runs: Sequence[dict]) -> list[dict]:
    """What 36 layers more add to the training error in percent, paired by seed: mean and 95 % interval (t)."""
    found = []
    for plan in sorted({run["plan"] for run in runs}):
        errors = {(run["net"], run["seed"]): run["train_error"] for run in runs if run["plan"] == plan}
        for kind, (shallow, deep) in DEEPER.items():
            seeds = sorted({seed for _, seed in errors if {(shallow, seed), (deep, seed)} <= errors.keys()})
            more = np.array([errors[deep, seed] - errors[shallow, seed] for seed in seeds])
            if not len(more):
                continue
            half = stats.t.ppf(0.975, len(more) - 1) * more.std(ddof=1) / len(more) ** 0.5 if len(more) > 1 else None
            found.append(
                {
                    "plan": plan,
                    "gap": f"{deep} − {shallow}",
                    "kind": kind,
                    "mean": round(float(more.mean()), 2),
                    "low": None if half is None else round(float(more.mean() - half), 2),
                    "high": None if half is None else round(float(more.mean() + half), 2),
                    "n": len(more),
                }
            )
    return found


STYLE = """<style>
svg { font: 12px system-ui, sans-serif; background: #fff; color: #1c2024; --plain: #b3261e; --residual: #2f6085; }
@media (prefers-color-scheme: dark) {
  svg { background: #15181b; color: #e4e7ea; --plain: #ff8a80; --residual: #8ab8dd; }
}
text { fill: currentColor; } polyline, line { fill: none; stroke: currentColor; stroke-width: 1; }
.grid { opacity: .15; } .axis { opacity: .6; } .seed { opacity: .3; }
.plain { stroke: var(--plain); } .residual { stroke: var(--residual); } .deep { stroke-width: 2.5; }
.shallow { stroke-width: 1.5; stroke-dasharray: 6 3; }
</style>"""


def draw(runs: Sequence[dict]) -> str:
    """The runs of one plan as SVG: a line a net, mean over its seeds, and every seed's own, thin."""
    steps = max(run["steps"] for run in runs)
    most = 10 * np.ceil(max(point[1] for run in runs for point in run["curve"]) / 10)
    axes = axes_of((0, steps), (0, most))
    frame(axes, [steps * k / 8 for k in range(9)], "steps of 128 pictures", "{:,.0f}")
    for percent in np.arange(0, most + 1, 10):
        axes.line((0, steps), (percent, percent), "grid")
        axes.text(LEFT - 6, axes.y(percent) + 4, f"{percent:g} %", "tick", "end")
    axes.text(LEFT, TOP - 12, f"wrong of the training pictures ({runs[0]['plan']} run)", "label", "start")
    named = 0
    for kind, pair in DEEPER.items():
        for depth, name in zip(("shallow", "deep"), pair, strict=True):
            curves = [np.array(run["curve"], float) for run in runs if run["net"] == name]
            if not curves:
                continue
            for one in curves if len(curves) > 1 else []:
                axes.line(one[:, 0].tolist(), one[:, 1].tolist(), f"{kind} seed")
            mean = np.mean(curves, 0)
            axes.line(mean[:, 0].tolist(), mean[:, 1].tolist(), f"{kind} {depth}")
            y_px = TOP + 14 + 18 * named
            axes.parts.append(
                f'<line class="{kind} {depth}" x1="{WIDTH + 12}" x2="{WIDTH + 44}" y1="{y_px - 4}" y2="{y_px - 4}"/>'
            )
            axes.text(WIDTH + 50, y_px, f"{name}, n = {len(curves)}", "label", "start")
            named += 1
    drawn = axes.svg("Training error of plain and residual nets of 20 and 56 layers")
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + LEGEND}" height="{HEIGHT}" '
    drawn = drawn.replace(f'viewBox="0 0 {WIDTH}', f'viewBox="0 0 {WIDTH + LEGEND}', 1)
    return drawn.replace("<svg ", head, 1).replace("</title>", f"</title>{STYLE}", 1) + "\n"


def keep(row: dict) -> Path:
    """Put a run in its place among those that were recorded, and draw its plan again."""
    earlier = record.rows(RESULT)
    runs = earlier["runs"] if isinstance(earlier, dict) else []
    same = ("plan", "net", "seed")
    runs = [run for run in runs if [run[key] for key in same] != [row[key] for key in same]] + [row]
    runs.sort(key=lambda run: [run[key] for key in same])
    what = "training error of plain and residual nets by depth, Fashion-MNIST, percent of the pictures; see depth.py"
    path = record.write(RESULT, what, {"gaps": gaps(runs), "runs": runs}, ("torch",))
    (DOCS / f"depth-{row['plan']}.svg").write_text(draw([run for run in runs if run["plan"] == row["plan"]]))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the paper's schedule")
    names = [name for pair in DEEPER.values() for name in reversed(pair)]  # the long runs first
    parser.add_argument("--nets", nargs="+", default=sorted(names, reverse=True, key=lambda n: NETS[n].macs))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data", type=Path, default=FASHION, help="the folder of Fashion-MNIST's four files")
    parser.add_argument("--trial", type=int, help="so many steps only, and nothing is recorded")
    args = parser.parse_args()
    if not fashion_at_hand(args.data):
        return
    plan = FULL if args.full else SHORT
    plan = replace(plan, steps=args.trial) if args.trial else plan
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    jobs = [(plan, name, seed, args.data, device) for seed in args.seeds for name in args.nets]
    with ProcessPoolExecutor(1 if device.type == "cuda" else len(sched_getaffinity(0)), get_context("spawn")) as pool:
        for done in as_completed([pool.submit(train, *job) for job in jobs]):
            row = done.result()
            print({key: value for key, value in row.items() if key != "curve"}, flush=True)
            if not args.trial:
                print(keep(row), flush=True)


if __name__ == "__main__":
    main()
