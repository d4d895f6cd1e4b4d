"""Time to the same accuracy: `lineside train` against the loop a user would write instead.

The plain loop (benchmarks/plain_loop.py) has the same backbone, weights, split, frozen stages, rates and augmentation
by flips; it decodes and computes every picture in every epoch, eager, float32, with two loader processes (the usual
recipe). Ours counts from the command's start, with its check, split and decisions; the plain loop is given the split.
The plain loop runs so many --epochs, its rate's schedule over them (8, and 15 on magnetic-tile); ours as many as its
recipe says.
Both are judged on calibrate after each epoch; the target is the lower of the two best accuracies, so both reach it. The
nets that both end with are compared on test, picture by picture: an interval for the difference, exact, and widened to
a bootstrap of whole lots where pictures come in lots or as near duplicates. One data set after the other, ours and the
plain loop in turn. torch is imported before either clock starts, and not by this module: the processes that the check
starts import the main module anew, and that of `lineside train` is light.

    python -m benchmarks.training [--data neu-det ...] [--net efficientnet_lite0] [--epochs N]
"""

import argparse
import json
import tempfile
from contextlib import nullcontext
from pathlib import Path
from time import time

import numpy as np

from benchmarks import real_data, record

EPOCHS = {"magnetic-tile": 15}  # of the plain loop where 8 are too few
WHAT = "seconds until the target calibrate accuracy, and both nets on test; plain = eager float32 PyTorch loop"


def first(curve, target: float) -> float:
    """Seconds until the accuracy is at least the target."""
    return next(seconds for seconds, accuracy in curve if accuracy >= target)


def compare(name: str, source: str, folder: Path, net: str, epochs: int, seed: int) -> dict:
    from benchmarks.plain_loop import plain
    from lineside import labels
    from lineside.data import split as splitting
    from lineside.evidence.operating import numbered
    from lineside.learn.recipe import Recipe
    from lineside.progress import Screen, silent
    from lineside.tasks.classify.fit import examples_of, input_of, reference_logits
    from lineside.tasks.classify.gain import gain
    from lineside.tasks.classify.make import make
    from lineside.tasks.classify.promise import Promise

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
    lots = numbered([p.group for p in split.of("test")])
    tied = lots if len(np.unique(lots)) < len(lots) else None
    gained = gain("plain", answers[1], answers[0], rng=np.random.default_rng(seed), groups=tied).difference
    result = {
        "data": name,
        "net": net,
        "seed": seed,
        "plain_epochs": len(curve),
        "n": {p: len(split.of(p)) for p in ("train", "calibrate", "test")},
        "target_calibrate_top1": target,
        "seconds_ours": round(first(ours, target), 1),
        "seconds_plain": round(first(curve, target), 1),
        "times_faster": round(first(curve, target) / first(ours, target), 2),
        "test_top1_ours": float(answers[0].mean()),
        "test_top1_plain": float(answers[1].mean()),
        "only_ours_right": wins,
        "only_plain_right": losses,
        "test_lots": len(np.unique(lots)),
        "gain": written(gained),
        "curve_ours": ours,
        "curve_plain": curve,
    }
    print({k: v for k, v in result.items() if not k.startswith("curve")}, flush=True)
    return result


def written(e) -> dict:
    return {"value": e.value, "low": e.low, "high": e.high, "n": e.n}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=["nuts", "neu-det", "magnetic-tile", "elpv"])
    parser.add_argument("--net", default="efficientnet_lite0")
    parser.add_argument("--epochs", type=int, help="of the plain loop")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep data and bundles here instead of a temporary folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        for name, source in real_data.at_hand(args.data, folder).items():
            rows = {row["data"]: row for row in record.rows("training")}
            rows[name] = compare(name, source, folder, args.net, args.epochs or EPOCHS.get(name, 8), args.seed)
            print(record.write("training", WHAT, list(rows.values()), ("torch", "numpy")))


if __name__ == "__main__":
    main()
