"""The bundles that `lineside combine` is given: opened, compared, best first; what does not belong together is refused.

Together belong bundles of the same classes, the same accepted classes and the same split. A picture that trained one
and calibrates or tests the combination would make it look better than it is. Of two splits by different seeds little
is left that is new to both (4 % of all for test, where each has 20 %), so they are refused, not cut down.

Best is the least calibrated NLL on calibrate (evidence/calibration.py), as everywhere where Lineside chooses a net:
with a few hundred pictures accuracies tie, and who is merely too sure is mended by a temperature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lineside.bundle.folder import Bundle, locate, sha256, steady
from lineside.bundle.made_from import split_of
from lineside.bundle.manifest import AGAIN, Manifest
from lineside.bundle.serve import MODEL
from lineside.data.doctor import Checkup
from lineside.data.split import Split
from lineside.errors import BundleError, DataError, SettingsError
from lineside.evidence.calibration import calibrated_nll
from lineside.evidence.intervals import Estimate
from lineside.evidence.operating import CONFIDENCE, MAX_ESCAPE
from lineside.tasks.classify.evaluate import kept
from lineside.tasks.classify.promise import Promise
from lineside.tasks.classify.score import top1_on_calibrate


@dataclass(frozen=True)
class Ingredient:
    """One of the bundles, with what it answered on calibrate."""

    path: Path
    bundle: Bundle
    split: Split
    answers: Mapping[
        str, np.ndarray
    ]  # content of a calibrate picture → logits (K,) float32, divided by its temperature
    top1: Estimate  # on calibrate
    nll: float  # on calibrate, at the best temperature

    @property
    def manifest(self) -> Manifest:
        return self.bundle.manifest

    def logits(self, split: Split) -> np.ndarray:
        """(n, K): its answers for split.of("calibrate"), a split of the same contents; names and order may differ."""
        return np.stack([self.answers[sha] for sha in calibrate_contents(split)])


def calibrate_contents(split: Split) -> list[str]:
    """The sha256 of each of split.of("calibrate")."""
    return [sha for sha, part in zip(split.sha256, split.part, strict=True) if part == "calibrate"]


def calibrate_labels(split: Split, classes: Sequence[str]) -> np.ndarray:
    """(n,) int64 indices into classes, of split.of("calibrate")."""
    return np.array([classes.index(p.label) for p in split.of("calibrate")], np.int64)


def ingredients(paths: Sequence[Path]) -> tuple[Ingredient, ...]:
    """The bundles at these paths, the best on calibrate first. SettingsError where they do not belong together."""
    if len(paths) < 2:
        raise SettingsError("combine takes two bundles or more, and DATA after them")
    found = [_open(path) for path in paths]
    _refuse_twice(found)
    for one in found[1:]:
        _refuse_other(found[0], one)
    return tuple(sorted(found, key=lambda one: one.nll))


def promise_of(found: Sequence[Ingredient], max_escape: float | None) -> Promise:
    """What the combination must keep: the strictest of the bundles' promises, or another escape rate."""
    points = [one.manifest.operating_point for one in found if one.manifest.operating_point is not None]
    accept = found[0].manifest.accept
    if not accept and max_escape is not None:
        raise SettingsError(
            "--max-escape: these bundles have no accepted class, they only sort; name the classes that may pass when "
            "training: lineside train --accept CLASS"
        )
    strictest = min((point.max_escape for point in points), default=MAX_ESCAPE)
    confidence = max((point.confidence for point in points), default=CONFIDENCE)
    return Promise(accept, strictest if max_escape is None else max_escape, confidence)


def with_pictures(best: Ingredient, checkup: Checkup, source: str) -> tuple[Split, str]:
    """(split, DATA) such that the calibrate pictures lie where the split says: in source, or where the bundle was made.

    DataError where they are in neither; each must have the content that it had.
    """
    data, counted = best.manifest.data, {}
    for root, said in ((checkup.dataset.root, source), (Path(data.root), data.source)):
        split = split_of(best.bundle, root)
        rows = zip(split.pictures, split.sha256, split.part, strict=True)
        wrong = [p.path for p, sha, part in rows if part == "calibrate" and _content(p.path) != sha]
        if not wrong:
            return split, said
        counted[root] = len(wrong)
    where = "; ".join(f"{count} are not in {root}" for root, count in counted.items())
    raise DataError(
        f"{source}: the calibrate pictures of {best.path}, {best.top1.n} in all, are needed as they were: {where}. "
        "Give the data set that the bundles were trained on as DATA"
    )


def _open(path: Path) -> Ingredient:
    bundle, split, calibrate = steady(path, lambda bundle: (bundle.signed_by(), *kept(bundle))[1:])
    manifest = bundle.manifest
    if manifest.members:
        raise SettingsError(f"{path}: is an {manifest.made_of}; name the bundles that it was made of")
    content = {p.name: sha for p, sha in zip(split.pictures, split.sha256, strict=True)}
    answers = {content.get(name, ""): row for name, row in zip(calibrate.names, calibrate.logits, strict=True)}
    asked = calibrate_contents(split)
    if missing := set(asked) - answers.keys():
        raise BundleError(
            f"{path}: calibrate.csv: lacks {len(missing)} of {len(asked)} calibrate pictures of split.csv; {AGAIN}"
        )
    logits, labels = np.stack([answers[sha] for sha in asked]), calibrate_labels(split, manifest.classes)
    top1 = top1_on_calibrate(logits, labels, [p.group for p in split.of("calibrate")])
    nll = calibrated_nll(logits, labels, np.ones(len(manifest.classes)))
    return Ingredient(path, bundle, split, answers, top1, nll)


def _refuse_twice(found: Sequence[Ingredient]) -> None:
    """By the graph, not by the bundle's own hash: a copy that was evaluated since has another manifest."""
    seen: dict[str, Path] = {}
    for one in found:
        graph = one.manifest.files.get(MODEL, one.bundle.sha256)
        if other := seen.get(graph):
            what = "is named twice" if locate(one.path) == locate(other) else f"holds the same model as {other}"
            raise SettingsError(
                f"{one.path}: {what}; a model gains nothing by itself: name bundles that were trained differently"
            )
        seen[graph] = one.path


def _refuse_other(first: Ingredient, other: Ingredient) -> None:
    one, two = first.manifest, other.manifest
    for what, a, b in (("classes", one.classes, two.classes), ("accepted classes", one.accept, two.accept)):
        if set(a) != set(b):
            raise SettingsError(
                f"{other.path}: its {what} are {', '.join(b) or 'none'}, those of {first.path} "
                f"{', '.join(a) or 'none'}; bundles that are combined must have the same"
            )
    if one.classes != two.classes:
        raise SettingsError(f"{other.path}: has the classes in another order than {first.path}; train it again")
    if first.split.fingerprint == other.split.fingerprint:
        return
    parts = [dict(zip(one.split.sha256, one.split.part, strict=True)) for one in (first, other)]
    shared = parts[0].keys() & parts[1].keys()
    crossed = sum(parts[0][sha] != parts[1][sha] and "train" in (parts[0][sha], parts[1][sha]) for sha in shared)
    alone = len(parts[0].keys() ^ parts[1].keys())
    raise SettingsError(
        f"{other.path}: was not trained on the split of {first.path}: {crossed:,} pictures trained the one and "
        f"calibrated or tested the other, {alone:,} are known to one of them only. Calibrate and test must be new to "
        "both: train them on the same data with the same seed in the recipe, or on data that states its own split"
    )


def _content(path: Path) -> str | None:
    try:
        return sha256(path.read_bytes())
    except OSError:
        return None
