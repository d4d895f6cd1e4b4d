"""Train LeNet-5 on a folder of shapes and write what came out: a program for the tests to start, kill and start again.

python train_shapes.py DATA RUN_FOLDER SEED [CHECKPOINTS_BEFORE_KILL]
"""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from lineside.learn import checkpoint, features, loop
from lineside.learn.draws import seed_of
from lineside.learn.ranks import joined
from lineside.learn.recipe import Recipe
from lineside.nets.catalog import NETS
from lineside.nets.input import Input

RECIPE = Recipe(net="lenet5", epochs=3, batch=16, rate=0.004, checkpoint_s=0.0, precision="float32", patience=3)


def main(data: str, out: str, seed: str, kill_after: str = "0") -> None:
    torch.set_num_threads(1)
    recipe, folder = replace(RECIPE, seed=int(seed)), Path(out)
    folder.mkdir(exist_ok=True)
    paths = sorted(Path(data).rglob("*.png"))
    kinds = sorted({p.parent.name for p in paths})
    labels = np.array([kinds.index(p.parent.name) for p in paths])
    held = np.arange(len(paths)) % 4 == 0
    row = NETS["lenet5"]
    torch.manual_seed(seed_of(recipe.seed, "init"))
    net = row.build(len(kinds))
    if int(kill_after):
        _kill_after(int(kill_after))
    with joined() as ranks:
        parts = []
        for name, mask in (("train", ~held), ("calibrate", held)):
            rows = np.flatnonzero(mask)
            cache = features.open_cache(
                Input(row.size_px, row.mean, row.std),
                None,
                [paths[i] for i in rows],
                folder / f"{name}.bin",
                views=1,
                how=recipe.augment,
                seed=recipe.seed,
                limit_gb=1,
                ranks=ranks,
            )
            parts.append(loop.Examples(cache, labels[rows], tuple(paths[i].name for i in rows)))
        state = loop.train(
            net,
            *parts,
            recipe,
            new_head=False,
            class_weights=np.ones(len(kinds)),
            folder=folder,
            ranks=ranks,
            log=print,
        )
        if ranks.first:
            save_file({k: v.contiguous() for k, v in net.state_dict().items()}, folder / "final.safetensors")
            loop.write_history(folder / "history.jsonl", state.history)


def _kill_after(saves: int) -> None:
    """End this process the hardest way after so many checkpoints."""
    real, count = checkpoint.save, iter(range(1, 10**6))

    def save(*args):
        real(*args)
        if next(count) == saves:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.save = save


if __name__ == "__main__":
    main(*sys.argv[1:])
