"""Decide what a recipe leaves open: the net, the frozen stages, the number format. Measured here, and said why.

"Don't be a hero" (Johnson and Karpathy's advice, quoted by the deck): of the nets at hand take the fastest whose
answers on calibrate are shown to be as good as the best one's (choice.py). How good a net will be is judged by a
linear layer on its fixed features, which costs one pass over some pictures; how fast, by the exported graph itself.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from lineside.bundle.latency import latency_ms
from lineside.data.split import Split
from lineside.errors import SettingsError, TrainError
from lineside.evidence.operating import numbered
from lineside.learn import features, precision
from lineside.learn.draws import generator, seed_of
from lineside.learn.frozen import frozen
from lineside.learn.head import fit_head
from lineside.learn.loop import Examples
from lineside.learn.ranks import Ranks
from lineside.learn.recipe import Recipe
from lineside.learn.run_folder import RunFolder
from lineside.nets.cache import at_hand
from lineside.nets.catalog import NETS, find
from lineside.nets.input import Input
from lineside.nets.net import Net
from lineside.nets.parts import pools_to_one
from lineside.nets.stages import split_at
from lineside.nets.weights import load_weights
from lineside.progress import Progress, Screen
from lineside.tasks.classify.choice import Candidate, pick
from lineside.tasks.classify.fit import class_weights, examples_of, pooled, starts_with_weights

SAMPLE = {"train": 1500, "calibrate": 800}  # pictures that a candidate is judged on
PROBE = 4  # pictures in a step that is timed
POOL_POWER = 3.0  # small defects count for more than in an average (docs/decisions/002-…)
FREEZE_TO_STRIDE = 16  # fine-tuning begins with the first stage of this stride


def decide(
    recipe: Recipe,
    split: Split,
    classes: tuple[str, ...],
    seen_px: tuple[tuple[int, int], tuple[int, int]],
    max_latency_ms: float | None,
    run: RunFolder,
    screen: Screen,
    device: torch.device,
) -> tuple[Recipe, list[str]]:
    """The recipe with nothing left open, and a sentence for each decision; device is what will train.

    seen_px: ((smallest, largest) width, (smallest, largest) height). TrainError: no net within max_latency_ms.
    """
    why: list[str] = []
    if recipe.net == "auto":
        recipe, said = _choose(recipe, split, classes, seen_px, max_latency_ms, run, screen)
        why += said
    elif max_latency_ms is not None:
        took = latency_ms(recipe.net, _side(recipe, find(recipe.net)), len(classes), seen_px)
        if took > max_latency_ms:
            raise TrainError(
                f"{recipe.net} takes {took:.1f} ms a picture here, --max-latency-ms allows {max_latency_ms:g}; "
                "choose a smaller net or size_px, or --net auto"
            )
        why.append(f"net {recipe.net}: as asked; {took:.1f} ms a picture here, {max_latency_ms:g} allowed")
    row = find(recipe.net)
    recipe = replace(recipe, size_px=_side(recipe, row))
    if recipe.size_px != row.size_px:
        _fits(recipe, row)
    pretrained = bool(row.weights) and recipe.weights != "none"
    if recipe.freeze_below == "auto":
        stage = next(s.name for s in row.stages if s.stride >= FREEZE_TO_STRIDE) if pretrained else ""
        recipe = replace(recipe, freeze_below=stage)
        why.append(
            f"fine-tuning from {stage} on (the first of stride {FREEZE_TO_STRIDE}); stages before it keep their weights"
            if stage
            else "training every stage: there are no weights to keep"
        )
    if not recipe.pool_power:
        recipe = replace(recipe, pool_power=POOL_POWER if pretrained and pools_to_one(row.build(2)) else 1.0)
    if recipe.precision == "auto":
        name, sentence = _precision(recipe, row, len(classes), device)
        recipe = replace(recipe, precision=name)
        why.append(f"training in {sentence}")
    return recipe, why


def seen(recipe: Recipe, seen_px: tuple[tuple[int, int], tuple[int, int]]) -> str:
    """What the net will see of the pictures, and what is done to them in training, for a person.

    recipe is decided; seen_px as in `decide`.
    """
    (width, height), side = seen_px, recipe.size_px
    size = " × ".join(f"{low}" if low == high else f"{low} to {high}" for low, high in (width, height))
    if max(width[1], height[1]) > side:
        most = " × ".join(f"{px / side:.3g}" if px < 10 * side else f"{px / side:.0f}" for px in (width[1], height[1]))
        of = "" if width[0] == width[1] and height[0] == height[1] else " of the largest"
        shrunk = f"{most} px{of} become 1 (size_px in a recipe)"
    else:
        shrunk = "none is made smaller"
    how = f"augmented by {recipe.augment.sentence()} (augment.* in a recipe)"
    if recipe.freeze_below == "head" and starts_with_weights(recipe):
        how = "not augmented: only a new last layer is fitted"
    elif recipe.augment.flip_horizontal or recipe.augment.flip_vertical:
        how += "; turn flips off where they make one class look like another"
    return f"pictures of {size} px: the net sees {side} × {side} px, {shrunk}; {how}"


def _fits(recipe: Recipe, row: Net) -> None:
    """SettingsError where a picture of size_px is too small for the net's kernels; tried on the meta device."""
    with torch.device("meta"):
        net, x = row.build(2).eval(), torch.zeros(1, 3, recipe.size_px, recipe.size_px)
    try:
        net(x)
    except RuntimeError:
        raise SettingsError(
            f"size_px = {recipe.size_px} is too small for {recipe.net}, which is made for {row.size_px}; raise it, "
            "or leave it out"
        ) from None


def _precision(
    recipe: Recipe, row: Net, classes: int, device: torch.device
) -> tuple[Literal["float32", "bfloat16"], str]:
    """The number format by a few steps of an untrained twin of the net, and why."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net, x = (
            row.make(classes, recipe.pool_power),
            torch.rand(min(recipe.batch, PROBE), 3, recipe.size_px, recipe.size_px),
        )
    below, above = split_at(net, recipe.freeze_below) if recipe.freeze_below else (nn.Sequential(), net)
    with torch.no_grad():
        x = below.eval()(x)
    return precision.fastest(above.to(device), x.to(device))


def _side(recipe: Recipe, row: Net) -> int:
    return recipe.size_px or row.size_px


def _choose(
    recipe: Recipe,
    split: Split,
    classes: tuple[str, ...],
    seen_px: tuple[tuple[int, int], tuple[int, int]],
    max_latency_ms: float | None,
    run: RunFolder,
    screen: Screen,
) -> tuple[Recipe, list[str]]:
    if recipe.weights != "default":
        raise SettingsError(
            f'net = "auto" chooses by the nets\' own weights; with weights = {recipe.weights!r} name a net'
        )
    names = [name for name, row in NETS.items() if row.weights and at_hand(row.weights[0].place)]
    if len(names) == 1 and max_latency_ms is None:
        others = sum(bool(row.weights) for row in NETS.values()) - 1
        return replace(recipe, net=names[0]), [
            f"net {names[0]}: the only one whose weights are on this machine (--net NAME can download those of "
            f"{others} others; lineside nets --weights any lists them)"
        ]
    said, candidates = [], []
    samples = {part: _sampled(split, part, classes, recipe.seed) for part in SAMPLE}
    for name in names:
        took = latency_ms(name, _side(recipe, NETS[name]), len(classes), seen_px)
        if max_latency_ms is not None and took > max_latency_ms:
            said.append(f"net {name}: {took:.1f} ms a picture here, over the budget of {max_latency_ms:g}")
            continue
        with screen.watch(f"trying {name}") as progress:
            one = Candidate(name, took, _probe(name, recipe, samples, len(classes), run, progress))
        candidates.append(one)
        said.append(
            f"net {name}: {took:.1f} ms a picture here, {one.right.mean():.1%} right by a linear layer on its features"
        )
    if not candidates:
        raise TrainError(f"no net with weights on this machine answers within {max_latency_ms:g} ms: {'; '.join(said)}")
    asked = samples["calibrate"]
    chosen, sentence = pick(candidates, asked.labels, asked.lots)
    return replace(recipe, net=chosen.net), [*said, sentence]


def sample(labels: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Rows of at most about `most` pictures of labels (N,): the same number of every class, or all that it has."""
    order = torch.randperm(len(labels), generator=generator(seed, "order")).numpy()
    each = math.ceil(most / (labels.max() + 1))
    return np.concatenate([order[labels[order] == k][:each] for k in range(labels.max() + 1)])


@dataclass(frozen=True)
class _Sample:
    """What every candidate is asked of one part."""

    paths: list[Path]
    labels: np.ndarray  # (n,) int64
    names: tuple[str, ...]
    lots: np.ndarray | None  # (n,): the same number for what is tied; None: nothing is


def _sampled(split: Split, part: str, classes: tuple[str, ...], seed: int) -> _Sample:
    paths, labels, names = examples_of(split, part, classes)
    rows, groups = sample(labels, SAMPLE[part], seed), [p.group for p in split.of(part)]
    lots = numbered(groups)[rows] if any(groups) else None
    return _Sample([paths[i] for i in rows], labels[rows], tuple(names[i] for i in rows), lots)


def _probe(
    name: str,
    recipe: Recipe,
    samples: Mapping[str, _Sample],
    classes: int,
    run: RunFolder,
    progress: Progress,
) -> np.ndarray:
    """(n,): by how much a linear layer on the net's fixed features gets each of a sample of calibrate right."""
    row = NETS[name]
    net_input = Input(_side(recipe, row), row.mean, row.std).eval()
    torch.manual_seed(seed_of(recipe.seed, "init"))
    modules, above = split_at(load_weights(name, classes, offline=True), "head")
    below = frozen(modules, torch.zeros(1, 3, net_input.size_px, net_input.size_px), "float32")
    found: dict[str, Examples] = {}
    for part, asked in samples.items():
        cache = features.open_cache(
            net_input,
            below,
            asked.paths,
            run.cache / f"try-{name}-{part}.bin",
            views=1,
            how=recipe.augment,
            seed=recipe.seed,
            limit_gb=recipe.cache_gb,
            ranks=Ranks(),
            progress=progress,
        )
        found[part] = Examples(cache, asked.labels, asked.names)
    train, held = found["train"], found["calibrate"]
    weights = class_weights(train.labels, classes, recipe.class_weights)
    x, held_x = (pooled(above, part.cache, "float32") for part in (train, held))
    return fit_head(x, train.labels, held_x, held.labels, weights).calibrate_lead
