"""Time to the same accuracy: `lineside train` against the loop a user would write instead.

The plain loop has the same backbone, weights, split, frozen stages, rates and augmentation by flips; it decodes and
computes every picture in every epoch, eager, float32, with two loader processes (the usual recipe). Ours counts from
the command's start, with its check, split and decisions; the plain loop is given the split. Both are judged on
calibrate after each epoch; the target is the lower of the two best accuracies, so both reach it. The nets that both end
with are compared on test by McNemar's exact test. One data set after the other, ours and the plain loop in turn.

    python -m benchmarks.training [--data neu-det ...] [--net efficientnet_lite0] [--epochs 15]
"""

import argparse
import json
import tempfile
from contextlib import nullcontext
from pathlib import Path
from time import monotonic, time

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks import real_data, record
from lineside import labels
from lineside.data import split as splitting
from lineside.evidence.intervals import clopper_pearson
from lineside.evidence.paired import mcnemar
from lineside.learn.recipe import Recipe
from lineside.nets.catalog import NETS
from lineside.nets.stages import freeze_below
from lineside.nets.weights import load_weights
from lineside.progress import Screen, silent
from lineside.tasks.classify.fit import examples_of, input_of, reference_logits
from lineside.tasks.classify.make import make
from lineside.tasks.classify.promise import Promise

WHAT = "seconds until the target calibrate accuracy, and both nets on test; plain = eager float32 PyTorch loop"


class Files(Dataset):
    """Decoded, resized and normalised anew for each epoch."""

    def __init__(self, paths, truth, side, mean, std, flips):
        self.paths, self.truth, self.side, self.flips = paths, truth, side, flips
        self.mean, self.std = (torch.tensor(v).view(3, 1, 1) for v in (mean, std))

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        with Image.open(self.paths[i]) as image:
            pixels = np.asarray(image.convert("RGB").resize((self.side, self.side), Image.Resampling.BILINEAR))
        x = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255
        for axis in (1, 2):
            if self.flips and torch.rand(()) < 0.5:
                x = x.flip(axis)
        return (x - self.mean) / self.std, self.truth[i]


def plain(split, classes, recipe: Recipe, epochs: int, patience: int):
    """(net, [(seconds, calibrate accuracy) an epoch]) of the loop a user would write."""
    start, row = monotonic(), NETS[recipe.net]
    torch.manual_seed(recipe.seed)
    net = load_weights(recipe.net, len(classes))
    freeze_below(net, recipe.freeze_below)
    parts = {p: examples_of(split, p, classes) for p in ("train", "calibrate")}
    sets = {
        p: Files(paths, truth, row.size_px, row.mean, row.std, p == "train") for p, (paths, truth, _) in parts.items()
    }
    loader = DataLoader(sets["train"], recipe.batch, shuffle=True, num_workers=2, persistent_workers=True)
    held = DataLoader(sets["calibrate"], recipe.batch, num_workers=2, persistent_workers=True)
    body = [p for n, p in net.named_parameters() if p.requires_grad and not n.startswith("head.")]
    groups = [
        {"params": body, "lr": recipe.rate * recipe.fine_tune_rate},
        {"params": net[-1].parameters(), "lr": recipe.rate},
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * len(loader))
    loss_of, curve, best = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing), [], (0.0, {})
    for epoch in range(epochs):
        net.train()
        for x, y in loader:
            optimiser.zero_grad()
            loss_of(net(x), y).backward()
            optimiser.step()
            rates.step()
        net.eval()
        with torch.no_grad():
            right = sum(int((net(x).argmax(1) == y).sum()) for x, y in held)
        curve.append((monotonic() - start, right / len(sets["calibrate"])))
        if curve[-1][1] > best[0]:
            best = (curve[-1][1], {k: v.clone() for k, v in net.state_dict().items()})
        if epoch - int(np.argmax([a for _, a in curve])) >= patience:
            break
    net.load_state_dict(best[1])
    return net.eval(), curve


def first(curve, target: float) -> float:
    """Seconds until the accuracy is at least the target."""
    return next(seconds for seconds, accuracy in curve if accuracy >= target)


def compare(name: str, folder: Path, net: str, epochs: int, seed: int) -> dict:
    source = real_data.prepare(name, folder)
    recipe = Recipe(net=net, seed=seed)
    screen = Screen(watch=lambda what: nullcontext(silent), say=lambda text: print("   ", text, flush=True))
    start = time()
    made = make(source, folder / f"{name}.bundle", recipe, Promise(accept=real_data.ACCEPT[name]), screen=screen)
    decided, fitted = made.run.decided(), made.fitted
    decided_s = (made.run.path / "decided.json").stat().st_mtime - start
    before = decided_s + fitted.seconds["features"] + fitted.seconds["head"]
    lines = [json.loads(line) for line in made.run.history.read_text().splitlines()]
    ours = [(before + row["seconds"], row["calibrate_top1"]) for row in lines]  # the first is the fitted head
    split = splitting.read_csv(made.run.split, Path(decided.root))
    classes = labels.classes(p.label for p in split.pictures)
    peer, curve = plain(split, classes, decided.recipe, epochs, patience=4)
    target = min(max(a for _, a in ours), max(a for _, a in curve))
    net_input = input_of(decided.recipe)
    paths, truth, _ = examples_of(split, "test", classes)
    answers = [reference_logits(net_input, n, paths, silent).argmax(1) == truth for n in (fitted.trained.net, peer)]
    wins, losses = int((answers[0] & ~answers[1]).sum()), int((~answers[0] & answers[1]).sum())
    result = {
        "data": name,
        "net": net,
        "seed": seed,
        "n": {p: len(split.of(p)) for p in ("train", "calibrate", "test")},
        "target_calibrate_top1": target,
        "seconds_ours": round(first(ours, target), 1),
        "seconds_plain": round(first(curve, target), 1),
        "times_faster": round(first(curve, target) / first(ours, target), 2),
        "test_top1_ours": estimate(answers[0]),
        "test_top1_plain": estimate(answers[1]),
        "only_ours_right": wins,
        "only_plain_right": losses,
        "mcnemar_p": mcnemar(wins, losses),
        "curve_ours": ours,
        "curve_plain": curve,
    }
    print({k: v for k, v in result.items() if not k.startswith("curve")}, flush=True)
    return result


def estimate(right: np.ndarray) -> dict:
    e = clopper_pearson(int(right.sum()), len(right))
    return {"value": e.value, "low": e.low, "high": e.high, "n": e.n}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=["nuts", "neu-det", "magnetic-tile", "elpv"])
    parser.add_argument("--net", default="efficientnet_lite0")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep data and bundles here instead of a temporary folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        for name in args.data:
            rows = {row["data"]: row for row in record.rows("training")}
            rows[name] = compare(name, folder, args.net, args.epochs, args.seed)
            print(record.write("training", WHAT, list(rows.values()), ("torch", "numpy")))


if __name__ == "__main__":
    main()
