"""What a user would write instead of `lineside train`: a plain PyTorch loop, for benchmarks/training.py."""

from time import monotonic

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lineside.learn.recipe import Recipe
from lineside.nets.catalog import NETS
from lineside.nets.stages import freeze_below
from lineside.nets.weights import load_weights
from lineside.tasks.classify.fit import examples_of


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
        best_epoch = 1 + int(np.argmax([a for _, a in curve]))
        if epoch + 1 - max(best_epoch, epochs // 2) >= patience:  # as `lineside train`: not while the rate is high
            break
    net.load_state_dict(best[1])
    return net.eval(), curve
