"""What is kept of a part: its row for the store and the sinks, made in the recorder's thread after the verdict left."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from lineside.line.decide import Answer
from lineside.line.source.frame import Frame
from lineside.line.station import Result
from lineside.store.records import Inspection, printable
from lineside.tasks.classify.decode import scores


@dataclass(slots=True)
class Flight:
    """A part between trigger and record."""

    frame: Frame
    answer: Answer | None = None  # None: there is none, or it came after the verdict


def stages_ms(answer: Answer | None, total_ms: float) -> dict[str, float | None]:
    """Times by summary.STAGES."""
    if answer is None:
        return {"total": total_ms}
    return {
        "decode": answer.decode_ms,
        "infer": answer.infer_ms,
        "decide": answer.decide_ms,
        "total": total_ms,
    }


def inspection(
    run_id: str, classes: tuple[str, ...], result: Result, flight: Flight, wall: datetime, total_ms: float
) -> Inspection:
    """The row of one part. wall: when its verdict left, aware."""
    frame, answer = flight.frame, flight.answer
    decision = answer.decision if answer else None
    annotation = decision.annotation if decision else None
    return Inspection(
        id=uuid.uuid4().hex,
        run_id=run_id,
        sequence=result.part.sequence,
        part_id=printable(result.part.part_id),
        name=printable(frame.name),
        sha256=frame.sha256() or None,
        label=annotation.category if annotation else None,
        score=annotation.score if annotation else None,
        scores=_by_class(classes, answer.logits) if answer and annotation else None,
        margin=decision.margin if decision else None,
        verdict=result.verdict,
        reason=result.reason,
        detail=printable(result.detail),
        truth=frame.truth,
        captured=wall - timedelta(milliseconds=total_ms),
        decided=wall,
        decode_ms=answer.decode_ms if answer else None,
        infer_ms=answer.infer_ms if answer else None,
        decide_ms=answer.decide_ms if answer else None,
        total_ms=total_ms,
    )


def _by_class(classes: tuple[str, ...], logits: np.ndarray | None) -> dict[str, float] | None:
    return None if logits is None else dict(zip(classes, scores(logits[None])[0].tolist(), strict=True))
