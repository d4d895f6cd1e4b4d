"""How good a bundle is on pictures that it has not seen: data + bundle + score, joined.

    check the data → leave out what the bundle saw (unseen.py) → every test picture through the engine that the line
    runs, one at a time → operating point, from the logits of calibrate that the bundle keeps → score → report (page.py)

Nothing here decides anything by looking at test pictures. `store` writes the result into the bundle and counts the
look: a test set that is looked at often, and tuned against, is no test set any more.

Another promise has another operating point, and parity of an engine was shown for the bundle's own only. So such an
evaluation runs ONNX Runtime's float32, and with the new point the other engines leave the bundle (bundle/serve.py). A
point that is not shown, or that test contradicts, is reported and not stored.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from lineside.bundle import folder, parity
from lineside.bundle.folder import Bundle, steady
from lineside.bundle.made_from import groups_of, split_of
from lineside.bundle.manifest import Manifest, Served
from lineside.bundle.model import Model, load
from lineside.bundle.serve import withdraw
from lineside.data.doctor import Checkup, check
from lineside.data.finding import in_short
from lineside.data.read import Picture, read
from lineside.data.split import Split
from lineside.errors import BundleError, DataError, SettingsError
from lineside.evidence import operating
from lineside.evidence.intervals import Estimate
from lineside.evidence.operating import OperatingPoint
from lineside.progress import Progress, silent
from lineside.tasks.classify.decode import margin
from lineside.tasks.classify.score import Judged, Score, judge, score
from lineside.tasks.classify.unseen import Unseen, unseen

REPORT = "report.html"


class Watch(Protocol):
    """watch("checking") gives the progress of one step; the command line draws it."""

    def __call__(self, what: str) -> AbstractContextManager[Progress]: ...


def unwatched(what: str) -> AbstractContextManager[Progress]:
    return nullcontext(silent)


@dataclass(frozen=True)
class Calibrate:
    """What the bundle keeps of calibrate: names, labels (N,) indices, logits (N, K), groups (N,) or None."""

    names: tuple[str, ...]
    labels: np.ndarray
    logits: np.ndarray
    groups: tuple[str | None, ...] | None


@dataclass(frozen=True)
class Evaluation:
    """Everything that was measured; page.py makes it readable."""

    model: Model
    bundle: Bundle
    source: str
    warned: str | None  # what the check-up of source found short of errors, and what a list left out
    unseen: Unseen
    pictures: tuple[Picture, ...]  # test, in the order of the rows below
    labels: np.ndarray  # (N,) indices into manifest.classes
    logits: np.ndarray  # (N, K) float32
    ms: np.ndarray  # (N,) engine time of each picture
    point: OperatingPoint | None
    point_is_new: bool  # a promise was given that differs from the bundle's
    calibrate: Calibrate
    calibrate_judged: Judged | None
    judged: Judged | None
    score: Score
    fixed: str | None  # why the bundle stays as it is: signed, or not ours to write; None: it may change
    looks: int  # how often test pictures have been looked at, this time included
    seed: int

    @property
    def manifest(self) -> Manifest:
        return self.model.manifest

    @property
    def contradicted(self) -> bool:
        """Whether test's interval of escape lies above the promise."""
        escape = self.score.escape
        return self.point is not None and escape is not None and escape.n > 0 and escape.low > self.point.max_escape

    @property
    def not_stored(self) -> str | None:
        """Why `store` leaves the bundle's report, metrics and operating point as they are; None: it does not."""
        if self.fixed is not None:
            return f"the bundle was not changed: {self.fixed}"
        if self.point_is_new and self.point is not None and (self.contradicted or not self.point.shown):
            why = "contradicted by test" if self.contradicted else "not shown"
            return f"the bundle keeps its own operating point: the new one is {why}"
        return None

    @property
    def withdrawn(self) -> tuple[Served, ...]:
        """The engines that leave the bundle with its old operating point."""
        if not self.point_is_new or self.not_stored is not None:
            return ()
        stay, _ = withdraw(self.bundle)
        return tuple(one for one in self.manifest.served if one not in stay)


def evaluate(
    path: str | Path,
    source: str,
    *,
    max_escape: float | None = None,
    confidence: float | None = None,
    quarantine: Path | None = None,
    seed: int = 0,
    watch: Watch = unwatched,
) -> Evaluation:
    """Measure the bundle at path on the pictures of source that it has not seen.

    max_escape, confidence: another promise than the bundle's; new thresholds come from its own calibrate logits, and
    ONNX Runtime's float32 is what is measured.
    seed: of the bootstrap. BundleError, DataError and SettingsError say what is wrong and what to do.
    """
    bundle, split, calibrate = steady(path, kept)
    manifest = bundle.manifest
    point = operating_point(manifest, calibrate, max_escape, confidence)
    is_new = point != manifest.operating_point
    model = load(path, engine="onnxruntime", precision="float32") if is_new else load(path)
    if bundle.sha256 != model.sha256:
        raise BundleError(f"{path}: was replaced while it was being opened; do this again")
    with watch("checking") as progress:
        checkup = check(read(source, quarantine=quarantine), progress=progress)
    new = unseen(checkup, split, manifest.classes)
    refuse_tiny(checkup, new.rows, manifest.input.min_side_px)
    pictures = tuple(checkup.pictures[i] for i in new.rows)
    index = {name: k for k, name in enumerate(manifest.classes)}
    labels = np.array([index[p.label] for p in pictures], np.int64)
    with watch("evaluating") as progress:
        (answers,) = parity.answers([model.infer], [p.path for p in pictures], progress)
    rng = np.random.default_rng(seed)
    return Evaluation(
        model=model,
        bundle=bundle,
        source=source,
        warned=in_short(checkup.findings, source),
        unseen=new,
        pictures=pictures,
        labels=labels,
        logits=answers.logits,
        ms=answers.ms,
        point=point,
        point_is_new=is_new,
        calibrate=calibrate,
        calibrate_judged=judge(calibrate.logits, calibrate.labels, manifest.classes, manifest.accept, point),
        judged=judge(answers.logits, labels, manifest.classes, manifest.accept, point),
        score=score(
            answers.logits,
            labels,
            manifest.classes,
            rng=rng,
            accept=manifest.accept,
            point=point,
            temperature=manifest.temperature,
            groups=new.groups,
        ),
        fixed="it is signed" if bundle.signature() is not None else folder.fixed(path),
        looks=manifest.evaluations + 1,
        seed=seed,
    )


def operating_point(
    manifest: Manifest, calibrate: Calibrate, max_escape: float | None, confidence: float | None
) -> OperatingPoint | None:
    """The bundle's own operating point, or for another promise a new one from its calibrate logits."""
    own = manifest.operating_point
    if not manifest.accept:
        if max_escape is not None:
            raise SettingsError(
                "--max-escape: this bundle has no accepted class, it only sorts; "
                "name the classes that may pass when training: lineside train --accept CLASS"
            )
        return None
    if own is not None and max_escape in (None, own.max_escape) and confidence in (None, own.confidence):
        return own
    return from_calibrate(
        manifest,
        calibrate,
        max_escape if max_escape is not None else own.max_escape if own else operating.MAX_ESCAPE,
        confidence if confidence is not None else own.confidence if own else operating.CONFIDENCE,
        own.max_overkill if own else operating.MAX_OVERKILL,
    )


def from_calibrate(
    manifest: Manifest, calibrate: Calibrate, max_escape: float, confidence: float, max_overkill: float
) -> OperatingPoint:
    """The operating point that this promise has on the calibrate answers that a bundle keeps."""
    accept = [manifest.classes.index(name) for name in manifest.accept]
    return operating.choose(
        margin(calibrate.logits, accept),
        np.isin(calibrate.labels, accept),
        max_escape=max_escape,
        confidence=confidence,
        max_overkill=max_overkill,
        groups=calibrate.groups,
    )


def store(evaluation: Evaluation, page: str) -> bool:
    """Put report.html, the test metrics and the operating point into the bundle, and count the look.

    False where they are not put there; evaluation.not_stored says why. The look is counted all the same, but for a
    signed bundle (what was signed stays what was signed) and one that can not be changed.
    """
    old, file = evaluation.manifest, evaluation.model.served.file

    def unchanged(now: Manifest) -> Manifest:
        if (now.files.get(file), now.operating_point, now.served) != (old.files[file], old.operating_point, old.served):
            raise BundleError(
                f"{evaluation.bundle.path}: was changed while it was evaluated (another model, operating point or "
                "engine); evaluate again"
            )
        return replace(now, evaluations=now.evaluations + 1)

    if evaluation.not_stored is not None:
        if evaluation.fixed is None:
            folder.replace(evaluation.bundle.path, {}, unchanged)
        return False
    served, files = withdraw(evaluation.bundle) if evaluation.point_is_new else (old.served, {})

    def change(now: Manifest) -> Manifest:
        now = unchanged(now)
        metrics = {k: v for k, v in now.metrics.items() if not k.startswith("test ")}
        return replace(
            now,
            operating_point=evaluation.point,
            served=served,
            metrics=metrics | evaluation.score.metrics("test"),
        )

    folder.replace(evaluation.bundle.path, {**files, REPORT: page.encode("utf-8")}, change)
    return True


def metrics(evaluation: Evaluation) -> dict[str, Estimate]:
    """Every metric of the test pictures by name."""
    return evaluation.score.metrics("test")


def kept(bundle: Bundle) -> tuple[Bundle, Split, Calibrate]:
    """What a bundle keeps of its making: a job for bundle.folder.steady."""
    manifest = bundle.manifest
    where = f"{bundle.path}: calibrate.csv"
    rows = parity.read_reference(bundle.read("calibrate.csv"), manifest.classes, manifest.accept, where)
    split = split_of(bundle)
    index = {name: k for k, name in enumerate(manifest.classes)}
    labels = np.array([index[label] for label in rows.labels], np.int64)
    return bundle, split, Calibrate(rows.names, labels, rows.logits, groups_of(rows.names, split))


def refuse_tiny(checkup: Checkup, rows: np.ndarray, min_side_px: int) -> None:
    """DataError where one of these pictures is smaller than the bundle takes."""
    small = [i for i in rows if checkup.size_px[i].min() < min_side_px]
    if small:
        width, height = checkup.size_px[small[0]]
        raise DataError(
            f"{checkup.dataset.root}: {len(small)} pictures have a side under the {min_side_px} pixels that the bundle "
            f"needs; first: {checkup.pictures[small[0]].name}, {width}×{height}. Take them out or leave them out with "
            "--quarantine; on the line they would be rejected"
        )
