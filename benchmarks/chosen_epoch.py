"""How often a promise is broken whose threshold stands on the pictures that chose the epoch, too. A simulation.

299 bad and 300 good parts, margins normal; the threshold is above the largest bad margin: escape ≤ 1 % at 95 % where
the net was fixed before. Here the epoch with the lowest log-loss on the same parts is taken; `own` is the share of the
margins' variance that is an epoch's own (0: all epochs are one net). "broken": the true escape rate is above 1 %.

    python -m benchmarks.chosen_epoch
"""

import numpy as np
from scipy.stats import norm

from benchmarks import record

BAD, GOOD, MEAN, SPREAD, PROMISE = 299, 300, 3.0, 2.0, 0.01


def broken(own: float, epochs: int, repeats: int = 2000) -> float:
    """The share of repeats in which the promise is broken."""
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
    return count / repeats


def main() -> None:
    rows = [
        {"own": own, "epochs": epochs, "broken": broken(own, epochs), "n": 2000}
        for epochs in (4, 15)
        for own in (0.0, 0.02, 0.05, 0.1, 0.3, 0.7)
    ]
    for row in rows:
        print(row)
    print(record.write("chosen_epoch", "share of promises of 1 % at 95 % that are broken", rows, ("numpy", "scipy")))


if __name__ == "__main__":
    main()
