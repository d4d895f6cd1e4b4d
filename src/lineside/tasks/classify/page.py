"""An evaluation as a report: which sentences, numbers and pictures tell it, in which order.

The headline is one of four: the promise is shown; not shown (and what would show it); shown on calibrate but
contradicted by test (the interval of test's escape lies above the promise); or the bundle only sorts. Errors are
ordered by what they cost: escapes first, then overkill, then wrong names; within each the surest first.
"""

import numpy as np

from lineside.data import picture
from lineside.evidence.calibration import reliability, softmax
from lineside.evidence.operating import ACCEPT, REJECT
from lineside.evidence.report import (
    CONTRADICTED,
    MOST_SHOWN,
    NOT_SHOWN,
    SHOWN,
    SORTS,
    ClassLine,
    Line,
    Margins,
    Report,
    Shown,
    thumbnail,
)
from lineside.settings import plain
from lineside.tasks.classify import provenance
from lineside.tasks.classify.decode import predict
from lineside.tasks.classify.evaluate import Evaluation
from lineside.tasks.classify.score import TOP, Judged

NEAR_SHOWN = 16


def report(evaluation: Evaluation) -> Report:
    """The report of an evaluation; decodes the pictures of its galleries again."""
    s, judged = evaluation.score, evaluation.judged
    verdict, headline, sentences = _verdict(evaluation)
    errors, near = _worst(evaluation), _near(evaluation)
    shown = errors[: MOST_SHOWN - NEAR_SHOWN]
    margins: tuple[Margins, ...] = ()
    chosen_on = None
    if judged is not None and evaluation.calibrate_judged is not None:
        chosen_on = _margins(
            f"calibrate, {len(evaluation.calibrate_judged.margins):,} parts, where the thresholds were chosen",
            evaluation.calibrate_judged,
        )
        margins = (_margins(f"test, {len(judged.margins):,} parts", judged), chosen_on)
    return Report(
        title=f"{evaluation.bundle.path.name} on {evaluation.source}",
        verdict=verdict,
        headline=headline,
        sentences=sentences,
        lines=_lines(evaluation),
        point=evaluation.point,
        margins=margins,
        chosen_on=chosen_on,
        classes=evaluation.manifest.classes,
        per_class=tuple(
            ClassLine(c.name, c.name in evaluation.manifest.accept, c.n, c.recall, c.precision, s.escape_of.get(c.name))
            for c in s.per_class
        ),
        confusion=s.confusion,
        reliability=_reliability(evaluation),
        errors=tuple(_shown(evaluation, i, note) for i, note in shown),
        errors_in_all=len(errors),
        near=tuple(_shown(evaluation, i, note) for i, note in near[:NEAR_SHOWN]),
        parity=provenance.parity_table(evaluation),
        facts=provenance.facts(evaluation),
        assumptions=provenance.assumptions(evaluation),
    )


def _verdict(e: Evaluation) -> tuple[str, str, tuple[str, ...]]:
    s, point = e.score, e.point
    right = f"{s.top1.percent()} of the test pictures named right"
    unseen = (
        f"{s.n:,} pictures were tested, none of them seen in training or calibration "
        f"(left out: {e.unseen.trained_on:,} that trained the bundle, {e.unseen.calibrated_on:,} that calibrated it, "
        f"{len(e.unseen.nearly_seen):,} nearly the same as those or of their lots)."
    )
    looked = f"Test pictures have been looked at {e.looks} time{'s' if e.looks > 1 else ''}, this one included."
    if e.fixed is not None:
        looked = (
            f"The bundle was not changed ({e.fixed}), so neither this look nor what was measured is in it; "
            f"{e.looks - 1} looks were counted before."
        )
    seen = [unseen, looked] + ([f"Of {e.source} says {e.warned}."] if e.warned else [])
    if point is None or s.escape is None:
        sorts = "This bundle only sorts: no class is marked as one that may pass, so no part is ever accepted."
        return SORTS, f"{right}.", (sorts, *seen)
    on_test = (
        f"On test {_of(s.escape.value, s.escape.n)} bad parts were accepted: escape {s.escape.percent()}; "
        f"overkill {s.overkill.percent() if s.overkill else '–'}, hold {s.hold.percent() if s.hold else '–'}."
    )
    sentences = [f"{right}.", on_test, *seen]
    if not point.overkill_shown:
        sentences.insert(
            2,
            f"Overkill ≤ {100 * point.max_overkill:g} % could not be shown: {point.more_good_needed:,} more good "
            "parts in calibrate would show it.",
        )
    if e.point_is_new:
        sentences.append(_new_point(e))
    if e.contradicted:
        kept = "shown on calibrate" if point.shown else "not shown on calibrate"
        headline = (
            f"Escape ≤ {100 * point.max_escape:g} %: {kept}, and contradicted by test: "
            f"at least {100 * s.escape.low:.2g} % of such bad parts are accepted. Do not use this operating point: "
            "the bad parts of test are not like those of calibrate."
        )
        return CONTRADICTED, headline, tuple(sentences)
    return (SHOWN if point.shown else NOT_SHOWN), point.sentence() + ".", tuple(sentences)


def _new_point(e: Evaluation) -> str:
    if e.not_stored is not None:
        return f"This operating point is not stored: {e.not_stored}."
    said = "This operating point replaces the bundle's."
    if gone := e.withdrawn:
        names = ", ".join(f"{one.engine} {one.precision}" for one in gone)
        again = " and ".join(
            f"lineside export {e.bundle.path} --engine {one.engine} --precision {one.precision}" for one in gone
        )
        said += (
            f" Parity of {names} was shown for the earlier one only, so it leaves the bundle and the line runs "
            f"onnxruntime float32, as measured here. Prove it again with: {again}"
        )
    return said


def _of(value: float | None, n: int) -> str:
    return f"{round((value or 0) * n):,} of {n:,}"


def _lines(e: Evaluation) -> tuple[Line, ...]:
    s = e.score
    rows = [
        ("top-1", "the class with the highest score is the true one", s.top1, True),
        (f"top-{TOP}", f"the true class is among the {TOP} highest", s.top5, True),
        ("macro recall", "mean over classes of the share found; all classes weigh the same", s.macro_recall, True),
        ("escape", "bad parts accepted, of bad parts", s.escape, True),
        ("overkill", "good parts rejected, of good parts", s.overkill, True),
        ("hold", "parts sent to a person, of all", s.hold, True),
        ("good accepted", "good parts accepted, of good parts", s.good_accepted, True),
        ("ECE", "how far scores are from how often they are right; 0 is perfect", s.ece, False),
        ("ECE before temperature", "the same with the net's own scores", s.ece_before, False),
        ("NLL", "surprise at the true class, nats", s.nll, False),
        ("Brier score", "squared distance of scores from truth, 0 to 2", s.brier, False),
    ]
    return tuple(Line(name, meaning, estimate, rate) for name, meaning, estimate, rate in rows if estimate is not None)


def _margins(name: str, judged: Judged) -> Margins:
    return Margins(name, judged.margins[judged.is_good], judged.margins[~judged.is_good])


def _reliability(e: Evaluation):
    fine = np.isfinite(e.logits).all(axis=1)
    logits, labels = e.logits[fine].astype(np.float64), e.labels[fine]
    if not len(labels):
        return (), ()
    bins = []
    for factor in (1.0, e.manifest.temperature):
        p = softmax(logits * factor)
        bins.append(reliability(p.max(axis=1), p.argmax(axis=1) == labels, bins=10))
    return bins[0], bins[1]


def _worst(e: Evaluation) -> list[tuple[int, str]]:
    """(row, what is wrong) of every error, the costliest first."""
    predicted = predict(e.logits)
    wrong = predicted != e.labels
    with np.errstate(invalid="ignore"):
        score = np.where(predicted >= 0, np.nan_to_num(softmax(np.nan_to_num(e.logits))).max(axis=1), 1.0)
    if e.judged is None:
        rows = sorted(np.flatnonzero(wrong).tolist(), key=lambda i: -score[i])
        return [(i, f"wrong, score {score[i]:.3f}") for i in rows]
    j = e.judged
    margins = np.nan_to_num(j.margins, nan=-np.inf)
    escapes = np.flatnonzero(~j.is_good & (j.verdicts == ACCEPT))
    overkill = np.flatnonzero(j.is_good & (j.verdicts == REJECT))
    other = np.setdiff1d(np.flatnonzero(wrong), np.concatenate([escapes, overkill]))
    return [
        *((int(i), "escape: a bad part accepted") for i in escapes[np.argsort(-margins[escapes], kind="stable")]),
        *((int(i), "overkill: a good part rejected") for i in overkill[np.argsort(margins[overkill], kind="stable")]),
        *((int(i), f"wrong name, score {score[i]:.3f}") for i in other[np.argsort(-score[other], kind="stable")]),
    ]


def _near(e: Evaluation) -> list[tuple[int, str]]:
    """(row, how near) of parts that are right but close to a threshold, the closest first."""
    if e.judged is None or e.point is None:
        return []
    thresholds = np.array(sorted({e.point.accept_at, e.point.reject_below}))
    away = np.abs(e.judged.margins[:, None] - thresholds).min(axis=1)
    taken = {i for i, _ in _worst(e)}
    order = np.argsort(away, kind="stable").tolist()
    right = [i for i in order if i not in taken and np.isfinite(away[i])]
    return [(i, f"{away[i]:.2f} from a threshold") for i in right[:NEAR_SHOWN]]


def _shown(e: Evaluation, row: int, note: str) -> Shown:
    one, predicted = e.pictures[row], int(predict(e.logits[row : row + 1])[0])
    margin = float(e.judged.margins[row]) if e.judged is not None else None
    return Shown(
        name=one.name,
        truth=one.label,
        said=e.manifest.classes[predicted] if predicted >= 0 else "no answer",
        verdict=str(e.judged.verdicts[row]) if e.judged is not None else "sorted",
        margin=margin if margin is not None and np.isfinite(margin) else None,
        note=note,
        thumb=thumbnail(picture.load(one.path)),
    )


def as_json(e: Evaluation, page: Report, where: str) -> dict:
    """What `lineside evaluate --json` prints; every number finite, null where nothing was measured."""
    return {
        "bundle": str(e.bundle.path),
        "data": e.source,
        "verdict": page.verdict,
        "headline": page.headline,
        "metrics": plain(e.score.metrics("test")),
        "operating_point": plain(e.point),
        "pictures": {
            "test": e.score.n,
            "no_answer": e.score.no_answer,
            "left_out_trained_on": e.unseen.trained_on,
            "left_out_calibrated_on": e.unseen.calibrated_on,
            "left_out_nearly_seen": len(e.unseen.nearly_seen),
        },
        "classes": list(e.manifest.classes),
        "confusion": e.score.confusion.tolist(),
        "engine_ms": {f"p{100 * q:g}": float(np.quantile(e.ms, q)) for q in (0.5, 0.95, 0.99)},
        "looks": e.looks,
        "not_stored": e.not_stored,
        "seed": e.seed,
        "report": where,
    }
