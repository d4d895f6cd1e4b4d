"""How often a promise is broken whose threshold stands on the pictures that chose the epoch, too.

    python -m benchmarks.chosen_epoch [--only simulated "fashion-mnist, LeNet-5" ...] [--folder KEEP]

simulated   299 bad and 300 good parts, margins normal; the threshold is above the largest bad margin: escape ≤ 1 % at
            95 % where the net was fixed before. Here the epoch with the lowest log-loss on the same parts is taken;
            `own` is the share of the margins' variance that is an epoch's own (0: all epochs are one net).
others      `lineside train` as a user types it, with the logits of calibrate kept after each epoch. own: 1 less the
            mean correlation of the bad parts' margins, over pairs of epochs; `own, late`: of the second half of them,
            where early stopping works. The margins are those of scores at the epoch's temperature.
            With a calibrate part of thousands it is taken for all parts there are: 299 bad and 300 good ones are
            drawn from it, the epoch and the threshold are chosen on them by the program's own functions, and what
            share of all its bad parts is then accepted is counted. Each class in turn is the one that may pass.

"broken": more than 1 % of the bad parts escape.
"""

import argparse
import tempfile
from itertools import combinations
from pathlib import Path
from unittest.mock import patch

import numpy as np
from scipy.stats import norm

from benchmarks import accuracy, real_data, record

BAD, GOOD, MEAN, SPREAD, PROMISE = 299, 300, 3.0, 2.0, 0.01
SIMULATED = "simulated"
ASKED = ("nuts", "elpv", "fashion-mnist, LeNet-5")  # of accuracy.CASES
DRAWS = 200  # of each class that may pass


def broken(own: float, epochs: int, repeats: int = 2000) -> float:
    """The share of repeats in which the promise is broken, of margins that are drawn."""
    rng = np.random.default_rng(0)

    def margins(common: np.ndarray, mean: float) -> np.ndarray:
        return mean + SPREAD * (np.sqrt(1 - own) * common + np.sqrt(own) * rng.normal(size=len(common)))

    count = 0
    for _ in range(repeats):
        same_bad, same_good = rng.normal(size=BAD), rng.normal(size=GOOD)
        tried = [(margins(same_bad, -MEAN), margins(same_good, MEAN)) for _ in range(epochs)]
        losses = [np.logaddexp(0, bad).mean() + np.logaddexp(0, -good).mean() for bad, good in tried]
        threshold = tried[int(np.argmin(losses))][0].max()
        count += norm.sf((threshold + MEAN) / SPREAD) > PROMISE
    return float(count / repeats)


def simulated() -> list[dict]:
    shares = (0.0, 0.02, 0.05, 0.1, 0.3, 0.7)
    return [
        {"data": SIMULATED, "own": own, "epochs": epochs, "broken": broken(own, epochs), "n": 2000}
        for epochs in (4, 15)
        for own in shares
    ]


def trained(name: str, folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, ...]]:
    """Calibrate's logits after each epoch (E, N, K), its labels (N,), the loss's weights (K,), and what may pass."""
    from lineside.bundle.folder import open_bundle
    from lineside.cli.main import main as lineside
    from lineside.evidence.calibration import calibrated_nll

    data, bundle = accuracy.CASES[name][0], folder / "one.bundle"
    source, flags, without = accuracy.asked(name, real_data.prepare(data, folder), folder)
    kept: list[np.ndarray] = []
    facts: list[np.ndarray] = []

    def seen(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
        kept.append(logits.astype(np.float64))
        facts[:] = [labels, weights]
        return calibrated_nll(logits, labels, weights)

    command = ["train", source, "-o", str(bundle), *flags, *without]
    with patch("lineside.learn.loop.calibrated_nll", seen):
        if code := lineside(command):
            raise SystemExit(f"lineside {' '.join(command)} ended with {code}")
    classes = open_bundle(bundle).manifest.classes
    passing = tuple(classes.index(one) for one in real_data.ACCEPT[data]) or tuple(range(len(classes)))
    return np.stack(kept), facts[0], facts[1], passing


def measured(name: str, folder: Path) -> dict:
    from lineside.evidence.calibration import temperature
    from lineside.tasks.classify.decode import margin

    logits, labels, weights, passing = trained(name, folder)
    scaled = np.stack([one / temperature(one, labels, weights) for one in logits])
    owns, late = [], []
    for may in passing:
        bad = np.stack([margin(one, (may,))[labels != may] for one in scaled])
        owns.append(own_share(bad))
        late.append(own_share(bad[len(bad) // 2 :]))
    row = {
        "data": name,
        "epochs": len(logits) - 1,
        "calibrate": len(labels),
        "own": float(np.mean(owns)),
        "own, late": float(np.mean(late)),
    }
    big = all((labels == may).sum() > 3 * GOOD and (labels != may).sum() > 10 * BAD for may in passing)
    return row | (drawn(logits, labels, weights, passing) if big else {})


def own_share(margins: np.ndarray) -> float:
    """margins (E, n) -> 1 less the mean correlation of two epochs."""
    correlation = np.corrcoef(margins)
    return 1 - float(np.mean([correlation[pair] for pair in combinations(range(len(margins)), 2)]))


def drawn(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray, passing: tuple[int, ...]) -> dict:
    """How often the promise is broken with the epoch that the drawn parts choose, and with the last one."""
    from lineside.evidence.calibration import calibrated_nll, temperature
    from lineside.evidence.operating import choose
    from lineside.tasks.classify.decode import margin

    rng = np.random.default_rng(0)
    by_class, kept = [], np.zeros(len(logits), np.int64)
    for may in passing:
        good, bad = np.flatnonzero(labels == may), np.flatnonzero(labels != may)
        count = np.zeros(2, np.int64)
        for _ in range(DRAWS):
            rows = np.concatenate([rng.choice(bad, BAD, replace=False), rng.choice(good, GOOD, replace=False)])
            losses = [calibrated_nll(one[rows], labels[rows], weights) for one in logits]
            kept[best := int(np.argmin(losses))] += 1
            for way, epoch in enumerate((best, len(logits) - 1)):
                margins = margin(logits[epoch] / temperature(logits[epoch][rows], labels[rows], weights), (may,))
                point = choose(margins[rows], labels[rows] == may, max_escape=PROMISE)
                count[way] += (margins[bad] >= point.accept_at).mean() > PROMISE
        by_class.append(count)
    of = np.stack(by_class)
    n = DRAWS * len(passing)
    return {
        "n": n,
        "broken": float(of[:, 0].sum() / n),
        "broken, last epoch": float(of[:, 1].sum() / n),
        "broken by class": (of[:, 0] / DRAWS).tolist(),
        "epoch was kept": kept.tolist(),  # 0: the start
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[SIMULATED, *ASKED], choices=[SIMULATED, *ASKED])
    parser.add_argument("--folder", type=Path, help="keep data here instead of a temporary folder")
    args = parser.parse_args()
    new: list[dict] = []
    for name in args.only:
        with tempfile.TemporaryDirectory(dir=args.folder) as temporary:
            try:
                new += simulated() if name == SIMULATED else [measured(name, Path(temporary))]
            except FileNotFoundError as error:
                real_data.left_out(name, error)
    done = {row["data"] for row in new}
    rows = [row for row in record.rows("chosen_epoch") if row.get("data", SIMULATED) not in done] + new
    for row in new:
        print(row)
    print(record.write("chosen_epoch", "share of promises of 1 % at 95 % that are broken", rows, ("numpy", "scipy")))


if __name__ == "__main__":
    main()
