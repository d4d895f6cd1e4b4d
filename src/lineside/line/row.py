"""What is kept of a part: its row for the store and the sinks, made in the recorder's thread after the verdict left;
and what is remembered of it before."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from lineside.line.decide import Answer
from lineside.line.events import WORST_LAST, Result, Word
from lineside.line.source.frame import Frame
from lineside.store.records import Given, Inspection, printable
from lineside.tasks.classify.decode import scores


@dataclass(slots=True)
class Flight:
    """A part between trigger and record."""

    product: str
    frames: dict[str, Frame]  # by camera, as they come
    answers: dict[str, Answer] = field(default_factory=dict)  # those that came before the verdict
    id: str = field(default_factory=lambda: uuid.uuid4().hex)  # of its result

    @property
    def frame(self) -> Frame:
        """The part's first picture: what the part is called, and what is known of it."""
        return next(iter(self.frames.values()))


def stages_ms(flight: Flight, total_ms: float) -> dict[str, float | None]:
    """Times by summary.STAGES; of several cameras, what they took together."""
    answers = flight.answers.values()
    if not answers:
        return {"total": total_ms}
    return {
        "decode": _sum(answer.decode_ms for answer in answers),
        "infer": _sum(answer.infer_ms for answer in answers),
        "decide": _sum(answer.decide_ms for answer in answers),
        "total": total_ms,
    }


def given(run_id: str, result: Result, flight: Flight, wall: datetime, total_ms: float, product: str | None) -> Given:
    """What is remembered of a part before its verdict leaves."""
    return Given(
        id=flight.id,
        run_id=run_id,
        sequence=result.part.sequence,
        part_id=printable(result.part.part_id),
        name=printable(flight.frame.name),
        verdict=result.verdict,
        reason=result.reason,
        detail=printable(result.detail),
        truth=flight.frame.truth,
        decided=wall,
        total_ms=total_ms,
        product=product,
    )


def inspection(
    run_id: str,
    classes: Mapping[str, tuple[str, ...]],  # by camera, of the part's product
    result: Result,
    flight: Flight,
    wall: datetime,  # when its verdict left, aware
    total_ms: float,
    product: str | None,
) -> Inspection:
    """The row of one part: what the camera that decided it has said, and where there are several, what each has."""
    deciding = _deciding(result, flight)
    frame = flight.frames.get(deciding, flight.frame)
    times = stages_ms(flight, total_ms)
    cameras = list(classes)
    several = len(cameras) > 1
    return Inspection(
        id=flight.id,
        run_id=run_id,
        sequence=result.part.sequence,
        part_id=printable(result.part.part_id),
        name=printable(frame.name),
        sha256=frame.sha256() or None,
        **_said(flight.answers.get(deciding), classes.get(deciding, ())),
        verdict=result.verdict,
        reason=result.reason,
        detail=printable(result.detail),
        truth=flight.frame.truth,
        captured=wall - timedelta(milliseconds=total_ms),
        decided=wall,
        decode_ms=times.get("decode"),
        infer_ms=times.get("infer"),
        decide_ms=times.get("decide"),
        total_ms=total_ms,
        product=product,
        views=[_view(name, classes[name], result, flight) for name in cameras] if several else None,
    )


def _view(camera: str, classes: tuple[str, ...], result: Result, flight: Flight) -> dict[str, Any]:
    """What one of several cameras has seen and said."""
    frame, answer = flight.frames.get(camera), flight.answers.get(camera)
    word = next((word for word in result.words if word.camera == camera), None)
    return {
        "camera": camera,
        "name": printable(frame.name) if frame else None,
        "sha256": (frame.sha256() or None) if frame else None,
        **_said(answer, classes),
        "verdict": word.verdict if word else None,
        "reason": word.reason if word else None,
        "detail": printable(word.detail) if word else None,
        "decode_ms": answer.decode_ms if answer else None,
        "infer_ms": answer.infer_ms if answer else None,
        "decide_ms": answer.decide_ms if answer else None,
    }


def _deciding(result: Result, flight: Flight) -> str:
    """The camera whose word was the worst; of equal ones that with the least margin."""

    def badness(word: Word) -> tuple[int, float]:
        margin = word.decision.margin if word.decision else None
        return WORST_LAST.index(word.verdict), -margin if margin is not None and margin == margin else float("inf")

    if result.words:
        return max(result.words, key=badness).camera
    return next(iter(flight.answers or flight.frames))


def _said(answer: Answer | None, classes: tuple[str, ...]) -> dict[str, Any]:
    decision = answer.decision if answer else None
    annotation = decision.annotation if decision else None
    return {
        "label": annotation.category if annotation else None,
        "score": annotation.score if annotation else None,
        "scores": _by_class(classes, answer.logits) if answer and annotation else None,
        "margin": decision.margin if decision else None,
    }


def _by_class(classes: tuple[str, ...], logits: np.ndarray | None) -> dict[str, float] | None:
    return None if logits is None else dict(zip(classes, scores(logits[None])[0].tolist(), strict=True))


def _sum(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
