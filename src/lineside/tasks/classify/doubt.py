"""What a bundle thinks of the labels of a data set: `lineside check --bundle`. The rule is data/label_errors.py."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from lineside.bundle import parity
from lineside.bundle.folder import Bundle, steady
from lineside.bundle.made_from import split_of
from lineside.bundle.model import Model, choose, opened
from lineside.data.doctor import Checkup, in_order
from lineside.data.finding import found, some
from lineside.data.label_errors import label_errors
from lineside.progress import Progress, silent
from lineside.tasks.classify.decode import scores


def with_label_errors(checkup: Checkup, path: Path, *, progress: Progress = silent) -> Checkup:
    """The check-up with a finding for every label that the bundle at path is confident is another.

    Pictures of its train part are judged too, but set no threshold: the model has learnt their labels.
    """
    model, trained = steady(path, _model_and_train)
    classes, shortest = model.manifest.classes, model.manifest.input.min_side_px
    known = np.array([p.label in classes for p in checkup.pictures], bool)
    rows = np.flatnonzero(known & (checkup.size_px.min(axis=1, initial=1 << 30) >= shortest))
    held_out = np.array([checkup.sha256[i] not in trained for i in rows], bool)
    pictures = [checkup.pictures[i] for i in rows]
    findings = list(checkup.findings)
    if pictures:
        logits = parity.answers([model.infer], [p.path for p in pictures], progress)[0].logits
        findings += label_errors(pictures, scores(logits), classes, held_out)
    skipped = tuple(checkup.pictures[i].name for i in sorted(set(range(len(known))) - set(rows.tolist())))
    if skipped:
        message = (
            f"{len(skipped):,} pictures are of a class or size that {path} does not know ({some(skipped)}); not judged"
        )
        findings.append(found("not-judged", skipped, message))
    return replace(checkup, findings=in_order(findings))


def _model_and_train(bundle: Bundle) -> tuple[Model, set[str]]:
    """The first served model, and the contents that it was trained on: out of one and the same bundle."""
    model, split = opened(bundle, choose(bundle, None, None)), split_of(bundle)
    return model, {sha for sha, part in zip(split.sha256, split.part, strict=True) if part == "train"}
