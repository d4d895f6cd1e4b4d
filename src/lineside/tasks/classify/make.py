"""`lineside train`: from a folder of pictures to a bundle.

check (its errors end it) → split → decide every "auto" of the recipe → fit → parity → bundle. Of several ranks the
first checks, splits, decides and writes; the others read what it wrote from the run folder.
"""

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from lineside import labels
from lineside.bundle import export, folder
from lineside.bundle.manifest import Manifest
from lineside.data import doctor, read
from lineside.data import split as splitting
from lineside.data.finding import in_short, many
from lineside.errors import DataError, SettingsError, TrainError
from lineside.learn.ranks import joined
from lineside.learn.recipe import Recipe
from lineside.learn.run_folder import Decided, RunFolder, alone, beside, open_run
from lineside.nets.catalog import find
from lineside.nets.weights import choose
from lineside.progress import QUIET, Screen
from lineside.settings import plain
from lineside.tasks.classify import decode, plan
from lineside.tasks.classify.fit import Fitted, fit
from lineside.tasks.classify.promise import Promise


@dataclass(frozen=True)
class Made:
    """A written bundle and how it came about."""

    path: Path
    manifest: Manifest
    run: RunFolder
    fitted: Fitted


def make(
    source: str,
    bundle: Path,
    recipe: Recipe,
    promise: Promise,
    *,
    max_latency_ms: float | None = None,
    quarantine: Path | None = None,
    screen: Screen = QUIET,
) -> Made:
    """Train on the data set `source` and write the bundle.

    DataError: the check-up found errors. TrainError: nothing to learn from, or no net within max_latency_ms.
    ParityError: the exported graph does not give the net's answers; nothing is written.
    """
    asked = {
        "data": source,
        "recipe": plain(recipe),
        "promise": plain(promise),
        "max_latency_ms": max_latency_ms,
        "quarantine": None if quarantine is None else str(quarantine),
    }
    with joined() as ranks, ExitStack() as held:
        if ranks.first:
            _prepare(source, bundle, asked, recipe, promise, max_latency_ms, quarantine, screen, ranks.device, held)
        ranks.barrier()
        run = beside(bundle)
        decided = run.decided()
        if decided is None:
            raise TrainError(f"{run.path}: the first process ended before it had decided; see its message")
        split = splitting.read_csv(run.split, Path(decided.root))
        classes = labels.classes(p.label for p in split.pictures)
        fitted = fit(split, classes, source, run, decided, promise, ranks, screen if ranks.first else QUIET)
        if ranks.first:
            with screen.watch("export and parity") as progress:
                net = fitted.trained
                decide = decode.verdicts(net.classes, net.accept, net.operating_point)
                export.write(net, bundle, decide=decide, progress=progress)
            run.end({"ended": fitted.ended, "epochs": fitted.epochs, "seconds": fitted.seconds})
        ranks.barrier()
    return Made(bundle, folder.open_bundle(bundle).manifest, run, fitted)


def _prepare(
    source: str,
    bundle: Path,
    asked: dict,
    recipe: Recipe,
    promise: Promise,
    max_latency_ms: float | None,
    quarantine: Path | None,
    screen: Screen,
    device: torch.device,
    held: ExitStack,
) -> None:
    """Check, split and decide, into the run folder; nothing to do where an earlier start of the run has done it.

    The run folder is this process's alone until held is closed.
    """
    beside(bundle)  # its name is refused before anything is read; so is a net's, or its weights'
    _outside_data(source, bundle)
    if recipe.net != "auto":
        choose(recipe.net, find(recipe.net), recipe.weights)
    folder.refuse_what_is_no_bundle(folder.locate(bundle))
    dataset = read.read(source, quarantine=quarantine)
    unknown = [name for name in promise.accept if name not in dataset.classes]
    if unknown:
        raise SettingsError(
            f"--accept {unknown[0]}: is no class of {source}; its classes: {', '.join(dataset.classes)}"
        )
    if set(promise.accept) == set(dataset.classes):
        raise SettingsError("--accept names every class, so nothing could be rejected; leave out what must not pass")
    with screen.watch("check") as progress:
        checkup = doctor.check(dataset, progress=progress)
    if checkup.errors:
        first = checkup.errors[0]
        remedy = "; leave those pictures out with --quarantine" if any(e.names for e in checkup.errors) else ""
        raise DataError(
            f"{source}: the check-up found {many(len(checkup.errors), 'error')}, the first: {first.message}. See all "
            f"with `lineside check`{remedy}"
        )
    if warned := in_short(checkup.findings, source):
        screen.say(warned)
    split = splitting.split(checkup, seed=recipe.seed)
    held.enter_context(alone(bundle))
    run = open_run(bundle, asked | {"data_sha256": split.fingerprint})
    if (decided := run.decided()) is not None:
        screen.say(f"going on with the unfinished run in {run.path}")
        _follow_names(run, splitting.read_csv(run.split, Path(decided.root)), split, screen)
        return
    splitting.write_csv(split, run.split)
    width, height = checkup.size_px[:, 0], checkup.size_px[:, 1]
    seen_width, seen_height = (int(width.min()), int(width.max())), (int(height.min()), int(height.max()))
    recipe, why = plan.decide(
        recipe, split, dataset.classes, (seen_width, seen_height), max_latency_ms, run, screen, device
    )
    for sentence in why:
        screen.say(sentence)
    screen.say(plan.seen(recipe, (seen_width, seen_height)))
    run.decide(Decided(recipe, tuple(why), str(dataset.root), split.fingerprint, seen_width, seen_height))


def _outside_data(source: str, bundle: Path) -> None:
    """SettingsError where bundle would be in the folder that is read: its samples would be pictures of a class."""
    root = Path(os.path.realpath(source))
    if root.is_dir() and any(root in place.parents for place in map(folder.locate, (bundle, beside(bundle).path))):
        raise SettingsError(
            f"-o {bundle}: is inside the data set {source}, whose folders are its classes; choose a place beside it, "
            f"such as -o {root.parent / bundle.name}"
        )


def _follow_names(run: RunFolder, old: splitting.Split, now: splitting.Split, screen: Screen) -> None:
    """A file that got another name since the run began is found by its content: each row keeps its place and part."""
    if old.fingerprint != now.fingerprint:
        raise TrainError(
            f"{run.split}: is not the split that the run began with; move {run.path} away, and train from the beginning"
        )
    named = splitting.with_names_of(old, now)
    moved = sum(a.name != b.name for a, b in zip(old.pictures, named.pictures, strict=True))
    if named.pictures != old.pictures:
        splitting.write_csv(named, run.split)
    if moved:
        screen.say(
            f"{many(moved, 'picture')} got another name since the run began; contents decide, each keeps its part"
        )
