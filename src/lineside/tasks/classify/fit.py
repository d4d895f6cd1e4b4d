"""From a split data set to a trained net with all that its bundle needs: classification's learning half, step by step.

    features below the frozen stage, once → a head on them → fine-tune the stages above → reference answers on
    calibrate → temperature → operating point

Only calibrate decides anything (the head's penalty, early stopping, temperature, thresholds); test is not opened.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from torch import Tensor, nn

from lineside.bundle.export import Trained
from lineside.data.picture import load
from lineside.data.split import Split
from lineside.errors import TrainError
from lineside.evidence import calibration, operating
from lineside.evidence.operating import OperatingPoint
from lineside.learn import features, loop
from lineside.learn.draws import seed_of
from lineside.learn.events import Events
from lineside.learn.features import Cache
from lineside.learn.frozen import Frozen, frozen
from lineside.learn.head import Head, fit_head
from lineside.learn.loop import Examples
from lineside.learn.precision import autocast, channels_last, one_thread
from lineside.learn.ranks import Ranks
from lineside.learn.recipe import Recipe
from lineside.learn.run_folder import Decided, RunFolder
from lineside.nets.catalog import find
from lineside.nets.fold import without_batch_norm
from lineside.nets.input import Input
from lineside.nets.stages import freeze_below, split_at
from lineside.nets.weights import load_weights
from lineside.progress import Progress, Screen
from lineside.settings import plain
from lineside.tasks.classify import decode
from lineside.tasks.classify.promise import Promise
from lineside.tasks.classify.score import top1_on_calibrate

IMBALANCE = 3.0  # from this ratio of the largest class to the smallest on, class_weights = "auto" balances


@dataclass
class Clock:
    """Seconds by step, for the closing table."""

    seconds: dict[str, float] = field(default_factory=dict)
    last: float = field(default_factory=monotonic)

    def lap(self, name: str) -> None:
        now = monotonic()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self.last
        self.last = now


@dataclass(frozen=True)
class Fitted:
    """The trained net with what its bundle needs, and what to tell the user."""

    trained: Trained
    ended: str
    epochs: int
    seconds: dict[str, float]
    head_top1: float | None  # share of calibrate that the head on fixed features got right; None from scratch


def fit(
    split: Split,
    classes: tuple[str, ...],
    source: str,
    run: RunFolder,
    decided: Decided,
    promise: Promise,
    ranks: Ranks,
    screen: Screen,
) -> Fitted:
    """Train by the decided recipe on split's train part; source is the DATA that the user named.

    TrainError: a class without pictures, a NaN loss, a cache that does not fit.
    """
    recipe, clock = decided.recipe, Clock()
    torch.manual_seed(seed_of(recipe.seed, "init"))
    net = load_weights(recipe.net, len(classes), weights=recipe.weights, pool_power=recipe.pool_power)
    net_input = input_of(recipe)
    below, above = None, net
    if recipe.freeze_below:
        freeze_below(net, recipe.freeze_below)
        modules, above = split_at(net, recipe.freeze_below)
        example = torch.zeros(1, 3, net_input.size_px, net_input.size_px, device=ranks.device)
        below = frozen(modules, example, recipe.precision)
    train, held = (
        _features(part, split, classes, net_input, below, run, recipe, ranks, screen) for part in ("train", "calibrate")
    )
    clock.lap("features")

    weights = class_weights(train.labels, len(classes), recipe.class_weights)
    head_top1 = None
    if starts_with_weights(recipe):
        head = head_on_features(above, train, held, weights, recipe.precision)
        set_head(above, head)
        n, right = len(held.labels), head.calibrate_correct.sum()
        screen.say(f"head on fixed features: {right} of {n} calibrate pictures right (penalty {head.c:g})")
        head_top1 = float(head.calibrate_correct.mean())
        clock.lap("head")

    state = _fine_tune(above, train, held, weights, run, recipe, ranks, screen)
    clock.lap("training")

    whole = net.float().cpu().to(memory_format=torch.contiguous_format).eval()  # pyright: ignore[reportCallIssue]
    with screen.watch("reference answers") as progress:
        logits = reference_logits(net_input, whole, [p.path for p in split.of("calibrate")], progress)
    if not np.isfinite(logits).all():
        raise TrainError(
            "the trained net answers NaN or infinity on calibrate; lower the recipe's rate and train again"
        )
    temperature = calibration.temperature(logits, held.labels)
    logits = (logits / np.float32(temperature)).astype(np.float32)  # as the graph divides them
    groups = [p.group for p in split.of("calibrate")]
    trained = Trained(
        net=whole,
        name=recipe.net,
        pool_power=recipe.pool_power,
        input=net_input,
        classes=classes,
        accept=promise.accept,
        temperature=temperature,
        recipe=plain(recipe),
        source=source,
        split=split,
        seen_width_px=decided.seen_width_px,
        seen_height_px=decided.seen_height_px,
        logits=logits,
        operating_point=operating_point(logits, held.labels, groups, classes, promise),
        metrics={"calibrate top-1": top1_on_calibrate(logits, held.labels, groups)},
    )
    clock.lap("calibration")
    return Fitted(trained, state.ended, state.epochs, clock.seconds, head_top1)


def starts_with_weights(recipe: Recipe) -> bool:
    """Whether the net comes with published weights, so that only its head is new."""
    return bool(find(recipe.net).weights) and recipe.weights != "none"


def input_of(recipe: Recipe) -> Input:
    """The first module of the net."""
    row = find(recipe.net)
    return Input(recipe.size_px, row.mean, row.std).eval()


def class_weights(labels: np.ndarray, classes: int, how: str) -> np.ndarray:
    """(K,) factors of the loss, mean 1 over the pictures, of which every class has one (examples_of)."""
    counts = np.bincount(labels, minlength=classes)
    if how == "balanced" or (how == "auto" and counts.max() > IMBALANCE * counts.min()):
        return len(labels) / (classes * counts)
    return np.ones(classes)


def examples_of(split: Split, part: str, classes: tuple[str, ...]) -> tuple[list[Path], np.ndarray, tuple[str, ...]]:
    """Paths, class indices (N,) int64 and names of one part. TrainError where it has no picture of a class."""
    pictures = split.of(part)
    index = {name: i for i, name in enumerate(classes)}
    labels = np.array([index[p.label] for p in pictures], dtype=np.int64)
    there = set(labels.tolist())
    missing = [name for name, i in index.items() if i not in there]
    if missing:
        raise TrainError(
            f"the {part} part has no picture of {', '.join(missing)}; add pictures of it (at least three different "
            "ones), or leave the class out"
        )
    return [p.path for p in pictures], labels, tuple(p.name for p in pictures)


def _features(
    part: str,
    split: Split,
    classes: tuple[str, ...],
    net_input: Input,
    below: Frozen | None,
    run: RunFolder,
    recipe: Recipe,
    ranks: Ranks,
    screen: Screen,
) -> Examples:
    paths, labels, names = examples_of(split, part, classes)
    views = _views(recipe) if part == "train" else 1
    with screen.watch(f"features, {part}") as progress:
        cache = features.open_cache(
            net_input,
            below,
            paths,
            run.cache / f"{part}.bin",
            views=views,
            how=recipe.augment,
            seed=recipe.seed,
            limit_gb=recipe.cache_gb,
            ranks=ranks,
            progress=progress,
        )
    if below is not None and (short := cache.too_few(views, recipe.cache_gb)):
        screen.say(short)
    return Examples(cache, labels, names)


def _views(recipe: Recipe) -> int:
    """How many views of a training picture a run can come to learn from."""
    if recipe.freeze_below == "head" and starts_with_weights(recipe):
        return 1  # the head is fitted on pictures as they are
    return min(recipe.views, recipe.epochs)


def head_on_features(
    above: nn.Sequential, train: Examples, held: Examples, weights: np.ndarray, precision: str
) -> Head:
    """The linear layer that does best on the pooled features of the net as it came."""
    x, held_x = pooled(above, train.cache, precision), pooled(above, held.cache, precision)
    return fit_head(x, train.labels, held_x, held.labels, weights)


def pooled(above: nn.Sequential, cache: Cache, precision: str) -> np.ndarray:
    """(N, C) float32: what the head's linear layer sees of each picture as it is."""
    body = without_batch_norm(split_at(above, "head.fc")[0])
    body.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    with torch.inference_mode(), autocast(precision, torch.device("cpu")):
        starts = range(0, cache.shape[1], 32)
        rows = [body(channels_last(cache.plain(slice(i, i + 32)))).flatten(1).float().numpy() for i in starts]
    return np.concatenate(rows)


def set_head(above: nn.Sequential, head: Head) -> None:
    """Put a fitted linear layer at the end of the net."""
    linear = above.get_submodule("head.fc")
    assert isinstance(linear, nn.Linear)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(head.weight))
        linear.bias.copy_(torch.from_numpy(head.bias))


def _fine_tune(
    above: nn.Sequential,
    train: Examples,
    held: Examples,
    weights: np.ndarray,
    run: RunFolder,
    recipe: Recipe,
    ranks: Ranks,
    screen: Screen,
) -> loop.State:
    if recipe.freeze_below == "head" and starts_with_weights(recipe):
        return loop.State(ended="only the head is new: fitted on fixed features, nothing to fine-tune")
    with screen.watch("training") as progress, Events(run.events, ranks.first) as events:
        state = loop.train(
            above,
            train,
            held,
            recipe,
            new_head=starts_with_weights(recipe),
            class_weights=weights,
            folder=run.path,
            ranks=ranks,
            log=events.row,
            progress=progress,
        )
    if ranks.first:
        loop.write_history(run.history, state.history)
    kept = next(row for row in state.history if row["epoch"] == state.best_epoch)
    what = f"epoch {state.best_epoch}" if state.best_epoch else "the start, which no epoch bettered"
    screen.say(
        f"{state.ended}; kept {what}: calibrate loss {kept['calibrate_loss']:.3f}, "
        f"{kept['calibrate_top1']:.1%} of calibrate right"
    )
    return state


def reference_logits(net_input: nn.Module, net: nn.Module, paths: list[Path], progress: Progress) -> np.ndarray:
    """(N, K) float32: what the trained net itself says to each picture, one at a time, in float32.

    Each picture has one thread, of as many as torch would give to each: where other programs want the cores, too,
    threads that wait for each other at every layer would be many times slower.
    """

    def answer(path: Path) -> Tensor:
        with torch.inference_mode():
            return net(net_input(torch.from_numpy(load(path))[None]))

    rows: list[Tensor] = []
    with ThreadPoolExecutor(torch.get_num_threads()) as pool, one_thread():
        for row in pool.map(answer, paths):
            rows.append(row)
            progress(len(rows), len(paths), "")
    return torch.cat(rows).numpy()


def operating_point(
    logits: np.ndarray, labels: np.ndarray, groups: list[str | None], classes: tuple[str, ...], promise: Promise
) -> OperatingPoint | None:
    """Thresholds that keep the promise on these calibrate logits (N, K), already divided by the temperature."""
    if not promise.accept:
        return None
    accept = [classes.index(name) for name in promise.accept]
    return operating.choose(
        decode.margin(logits, accept),
        np.isin(labels, accept),
        max_escape=promise.max_escape,
        confidence=promise.confidence,
        groups=groups,
    )
