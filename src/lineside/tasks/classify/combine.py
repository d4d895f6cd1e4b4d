"""`lineside combine`: several bundles as one, an ensemble (bundle/ensemble.py) or a soup of their weights (soup.py).

open and compare (ingredients.py) → check DATA → combine, temperature, operating point: on calibrate alone → parity
→ bundle → every bundle and the combination on test, once, in turn (gain.py)

Test pictures are those of DATA that decided nothing in any of the bundles; as all have one split, that is one
question. The bundles are not changed. The looks that they had taken at test count as the combination's too.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from lineside.bundle import export, folder, parity
from lineside.bundle.ensemble import Ensemble
from lineside.bundle.export import Trained
from lineside.bundle.manifest import ENSEMBLE, Manifest, Member
from lineside.bundle.model import Model, load
from lineside.data.doctor import check
from lineside.data.read import read
from lineside.data.split import Split
from lineside.errors import BundleError, SettingsError
from lineside.evidence.calibration import calibrated_nll, temperature
from lineside.progress import Progress
from lineside.tasks.classify.decode import predict, verdicts
from lineside.tasks.classify.evaluate import Watch, refuse_tiny, unwatched
from lineside.tasks.classify.fit import operating_point, reference_logits
from lineside.tasks.classify.gain import GAIN, Combined, Row, gain
from lineside.tasks.classify.ingredients import (
    Ingredient,
    calibrate_labels,
    ingredients,
    promise_of,
    with_pictures,
)
from lineside.tasks.classify.promise import Promise
from lineside.tasks.classify.score import score, top1_on_calibrate
from lineside.tasks.classify.soup import State, greedy, refuse_other_starts
from lineside.tasks.classify.unseen import unseen

How = Literal["ensemble", "soup"]


def combine(
    paths: Sequence[Path],
    source: str,
    target: Path,
    how: How,
    *,
    max_escape: float | None = None,
    quarantine: Path | None = None,
    seed: int = 0,
    watch: Watch = unwatched,
) -> Combined:
    """Combine the bundles at paths, write the combination to target, measure its gain on the test pictures of source.

    max_escape: another promise than the strictest of the bundles'. seed: of the bootstrap. SettingsError: the bundles
    do not belong together; DataError: source has errors, no new picture, or not the calibrate pictures; BundleError: a
    bundle is damaged; ParityError: the graph does not answer as the nets do. An error before the test leaves nothing.
    """
    found = ingredients(paths)
    promise = promise_of(found, max_escape)
    if how == "soup":
        refuse_other_starts(found)
    _refuse_target(paths, target)
    models = [_opened(one) for one in found]  # a model that is damaged, or not there, is said before the work
    with watch("checking") as progress:
        checkup = check(read(source, quarantine=quarantine), progress=progress)
    best = found[0]
    new = unseen(checkup, best.split, best.manifest.classes)
    refuse_tiny(checkup, new.rows, best.manifest.input.min_side_px)
    split, where = with_pictures(best, checkup, source)
    if how == "soup":
        with watch("soup") as progress:
            trained, used = _soup(found, split, where, promise, progress)
    else:
        trained, used = _ensemble(found, split, where, promise), (True,) * len(found)
    with watch("export and parity") as progress:
        decide = verdicts(trained.classes, trained.accept, trained.operating_point)
        export.write(trained, target, decide=decide, progress=progress)

    # From here on test pictures are looked at, and nothing is decided any more.
    models.append(load(target))
    pictures = [checkup.pictures[i] for i in new.rows]
    labels = np.array([best.manifest.classes.index(p.label) for p in pictures], np.int64)
    with watch("testing") as progress:
        answers = parity.answers([model.infer for model in models], [p.path for p in pictures], progress)
    scores = [
        score(
            one.logits,
            labels,
            model.manifest.classes,
            rng=np.random.default_rng(seed),
            accept=model.manifest.accept,
            point=model.manifest.operating_point,
            temperature=model.manifest.temperature,
            groups=new.groups,
        )
        for one, model in zip(answers, models, strict=True)
    ]
    right = [predict(one.logits) == labels for one in answers]
    gained = gain(str(best.path), right[0], right[-1], rng=np.random.default_rng(seed), groups=new.groups)
    metrics = scores[-1].metrics("test") | {GAIN: gained.difference}
    looks = sum(one.manifest.evaluations for one in found)

    def looked(now: Manifest) -> Manifest:
        return replace(now, metrics=now.metrics | metrics, evaluations=max(looks, now.evaluations) + 1)

    manifest = folder.replace(target, {}, looked)
    truth = calibrate_labels(split, trained.classes)
    nll = calibrated_nll(trained.logits, truth, np.ones(len(trained.classes)))
    on_calibrate = [*((one.nll, one.top1) for one in found), (nll, trained.metrics["calibrate top-1"])]
    rows = tuple(
        Row(
            name=str(model.path),
            made_of=model.manifest.made_of,
            used=is_in,
            calibrate_nll=nll,
            calibrate_top1=top1,
            test_top1=one.top1,
            test_nll=one.nll,
            median_ms=float(np.median(took.ms)),
            p95_ms=float(np.quantile(took.ms, 0.95)),
        )
        for model, is_in, (nll, top1), one, took in zip(
            models, (*used, True), on_calibrate, scores, answers, strict=True
        )
    )
    left_out = (new.trained_on, new.calibrated_on, len(new.nearly_seen))
    return Combined(target, how, manifest, rows, gained, scores[-1].escape, left_out)


def _ensemble(found: Sequence[Ingredient], split: Split, source: str, promise: Promise) -> Trained:
    """All nets in one graph. Its calibrate answers follow from those that the bundles keep; parity holds it to them."""
    members = tuple(
        Member(m.net, m.pool_power, m.temperature, m.input, one.bundle.sha256) for one in found for m in (one.manifest,)
    )
    logs = torch.stack([torch.from_numpy(one.logits(split)).double().log_softmax(1) for one in found])
    return _trained(
        found,
        split,
        source,
        promise,
        logits=logs.logsumexp(0).numpy() - np.log(len(found)),
        net=Ensemble(members, [_rebuilt(one) for one in found]),
        before=nn.Identity(),
        members=members,
        recipe={"ensemble": [dict(one.manifest.recipe) for one in found]},
    )


def _soup(
    found: Sequence[Ingredient], split: Split, source: str, promise: Promise, progress: Progress
) -> tuple[Trained, tuple[bool, ...]]:
    """One net of the kind that the bundles have, its weights the greedy mean of theirs; and which are in it."""
    nets, before = [_rebuilt(one) for one in found], export.front(found[0].manifest)
    net, files, asked = nets[0], [p.path for p in split.of("calibrate")], 0

    def ask(state: State) -> np.ndarray:
        nonlocal asked
        net.load_state_dict(state)
        begun, asked = asked, asked + len(files)
        return reference_logits(
            before, net, files, lambda done, _, note: progress(begun + done, len(files) * len(nets), note)
        )

    states = [{name: t.clone() for name, t in one.state_dict().items()} for one in nets]
    soup = greedy(states, ask, calibrate_labels(split, found[0].manifest.classes))
    net.load_state_dict(soup.state)
    made_from = [
        {"made_from": one.bundle.sha256, "calibrate_nll": one.nll, "used": is_in}
        for one, is_in in zip(found, soup.used, strict=True)
    ]
    recipe = dict(found[0].manifest.recipe) | {"soup": made_from}
    return _trained(found, split, source, promise, logits=soup.logits, net=net, before=before, recipe=recipe), soup.used


def _trained(
    found: Sequence[Ingredient],
    split: Split,
    source: str,
    promise: Promise,
    *,
    logits: np.ndarray,
    net: nn.Module,
    before: nn.Module,
    recipe: dict[str, Any],
    members: tuple[Member, ...] = (),
) -> Trained:
    """What a bundle needs; logits (n, K) are the combination's on calibrate, before its own temperature."""
    manifests = [one.manifest for one in found]
    first, labels = manifests[0], calibrate_labels(split, manifests[0].classes)
    warmth = temperature(logits, labels)
    logits = (logits / warmth).astype(np.float32)
    groups = [p.group for p in split.of("calibrate")]
    return Trained(
        net=net,
        name=ENSEMBLE if members else first.net,
        pool_power=1.0 if members else first.pool_power,
        input=before,
        classes=first.classes,
        accept=first.accept,
        temperature=warmth,
        recipe=recipe,
        source=source,
        split=split,
        seen_width_px=_both([m.input.seen_width_px for m in manifests]),
        seen_height_px=_both([m.input.seen_height_px for m in manifests]),
        logits=logits,
        operating_point=operating_point(logits, labels, groups, first.classes, promise),
        metrics={"calibrate top-1": top1_on_calibrate(logits, labels, groups)},
        members=members,
    )


def _both(ranges: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The smallest and largest of several (smallest, largest)."""
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _rebuilt(one: Ingredient) -> nn.Module:
    net, manifest = export.rebuild(one.path)
    _same(one, manifest == one.manifest)
    return net


def _opened(one: Ingredient) -> Model:
    model = load(one.path, engine="onnxruntime", precision="float32")
    _same(one, model.sha256 == one.bundle.sha256)
    return model


def _same(one: Ingredient, is_same: bool) -> None:
    if not is_same:
        raise BundleError(f"{one.path}: was replaced while it was being combined; do this again")


def _refuse_target(paths: Sequence[Path], target: Path) -> None:
    real = folder.locate(target)
    if not real.parent.is_dir():
        raise BundleError(f"{target}: there is no folder {real.parent}; make it first, or choose another with -o")
    for path in paths:
        if folder.outside(path, target) == folder.locate(path):
            raise SettingsError(f"-o {target}: is one of the bundles that are combined; choose another place")
    folder.refuse_what_is_no_bundle(real)
