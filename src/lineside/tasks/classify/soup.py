"""Greedy soup: the mean of the weights of several nets that began in one place. It costs what one net costs.

Wortsman et al. 2022, "Model soups", arXiv:2203.05482, recipe 1: go through the nets from the best to the worst, add
one to the soup if the mean of weights with it is not worse on held-out pictures. So the first ingredient is the best
net, and the soup is never worse than it on calibrate.

Not as in the paper: "not worse" is of the calibrated NLL (tasks/classify/ingredients.py says why), not of accuracy.
Batch norm's running means and variances are averaged like weights. They are not those of the averaged net exactly;
measuring them again needs the training pictures (Izmailov et al. 2018, arXiv:1803.05407). Calibrate judges the net as
it is with the averaged ones, so a net that suffers by it is not taken.

The mean of two nets is a net only where a straight line between them stays low, which is seen for fine-tuning from
the same published weights (Neyshabur et al. 2020, arXiv:2008.11687) and not, as a rule, for nets from scratch, even
from one draw of the first weights (Frankle et al. 2019, arXiv:1912.05671). Those are let in where the draw was the
same; calibrate decides.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lineside.bundle.manifest import Manifest
from lineside.errors import SettingsError
from lineside.evidence.calibration import calibrated_nll
from lineside.nets.catalog import find
from lineside.nets.weights import choose
from lineside.tasks.classify.ingredients import Ingredient

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Soup:
    """The averaged weights, their logits on calibrate (n, K) and which ingredients are in, in the order given."""

    state: State
    logits: np.ndarray
    used: tuple[bool, ...]
    nll: float


def greedy(states: Sequence[State], ask: Callable[[State], np.ndarray], labels: np.ndarray) -> Soup:
    """states: the best first. ask(state) → logits (n, K) on calibrate, whose labels are (n,) indices."""

    def judged(state: State) -> tuple[np.ndarray, float]:
        logits = ask(state)
        return logits, calibrated_nll(logits, labels, np.ones(logits.shape[1]))

    used = [True] + [False] * (len(states) - 1)
    state = states[0]
    logits, least = judged(state)
    for i in range(1, len(states)):
        tried = mean_of([one for one, is_in in zip(states, used, strict=True) if is_in] + [states[i]])
        found, nll = judged(tried)
        if nll <= least:
            used[i], state, logits, least = True, tried, found, nll
    return Soup(state, logits, tuple(used), least)


def mean_of(states: Sequence[State]) -> State:
    """Every tensor the mean of its namesakes, taken in float64; counters (whole numbers) are those of the first."""
    return {
        name: torch.stack([one[name].double() for one in states]).mean(0).to(first.dtype)
        if first.is_floating_point()
        else first
        for name, first in states[0].items()
    }


def refuse_other_starts(found: Sequence[Ingredient]) -> None:
    """SettingsError where the mean of these nets' weights is no net: other nets, sizes or first weights."""
    first = found[0]
    for one in found[1:]:
        for what, value in _start(one).items():
            if value != (own := _start(first)[what]):
                raise SettingsError(
                    f"{one.path}: {what} {value}, {first.path}: {own}; a soup is the mean of the weights of one net, "
                    "fine-tuned from one start. Nets that differ make an ensemble: --how ensemble"
                )


def _start(one: Ingredient) -> dict[str, str]:
    """What must be the same: by what it is called, for a sentence."""
    m = one.manifest
    return {
        "net": m.net,
        "size": f"{m.input.size_px} px",
        "pool_power": f"{m.pool_power:g}",
        "first weights": _first_weights(m),
    }


def _first_weights(m: Manifest) -> str:
    """The row of the published weights that training began with; the seed of the draw where it began from scratch."""
    if "weights" not in m.recipe or "seed" not in m.recipe:
        raise SettingsError(
            f"a bundle of the net {m.net!r} does not record the weights that it began with; "
            "make an ensemble: --how ensemble"
        )
    row = choose(m.net, find(m.net), str(m.recipe["weights"]))
    return row.name if row is not None else f"drawn with seed {m.recipe['seed']}"
