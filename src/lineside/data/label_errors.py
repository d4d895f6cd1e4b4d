"""Likely wrong labels, once a model exists: confident learning.

Northcutt, Jiang & Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70, eq. 1-2. The
model is confident of class j for a picture where its probability reaches t_j, the mean probability of j over the
pictures labelled j: a class that the model finds hard has a lower threshold. A picture whose confident class is not its
label is suspect (an off-diagonal of the confident joint), unless the label is what the model would answer anyway.

Its probabilities must come from pictures that did not train the model; thresholds are taken from those alone.
"""

from collections.abc import Sequence

import numpy as np

from lineside.data.finding import Finding, found
from lineside.data.read import Picture


def suspects(
    given: np.ndarray, probabilities: np.ndarray, held_out: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(rows, other): suspect rows, surest first, and the class index that the model is confident of.

    given: (N,) class index of each label; probabilities: (N, K), rows with NaN are never suspect; held_out: (N,) bool,
    the rows that did not train the model (default all).
    """
    finite = np.isfinite(probabilities.sum(axis=1))
    judged = finite if held_out is None else np.logical_and(finite, held_out)
    p = np.where(finite[:, None], probabilities, 0.0)
    threshold = np.full(p.shape[1], np.inf)
    for k in range(p.shape[1]):
        own = np.flatnonzero(judged & (given == k))
        if len(own):
            threshold[k] = p[own, k].mean()
    confident = np.where(p >= threshold - 1e-6, p, -1.0)
    other, answer = confident.argmax(axis=1), p.argmax(axis=1)
    rows = np.flatnonzero(finite & (confident.max(axis=1) >= 0) & (other != given) & (answer != given))
    doubt = p[rows, other[rows]] - p[rows, given[rows]]
    order = np.argsort(-doubt, kind="stable")
    return rows[order], other[rows[order]]


def label_errors(
    pictures: Sequence[Picture],
    probabilities: np.ndarray,
    classes: Sequence[str],
    held_out: np.ndarray | None = None,
) -> tuple[Finding, ...]:
    """One finding per suspect label, surest first; probabilities: (N, len(classes)), every label one of classes."""
    index = {name: k for k, name in enumerate(classes)}
    given = np.array([index[p.label] for p in pictures], np.int64)
    rows, other = suspects(given, probabilities, held_out)
    findings = []
    for row, k in zip(rows.tolist(), other.tolist(), strict=True):
        own = pictures[row]
        learnt = "" if held_out is None or held_out[row] else ", though it was trained with this label"
        message = (
            f"{own.name}: labelled {own.label!r}, the model says {classes[k]!r} ({probabilities[row, k]:.0%}, "
            f"{own.label!r} {probabilities[row, given[row]]:.0%}){learnt}; look at it"
        )
        findings.append(found("label-error", (own.name,), message))
    return tuple(findings)
