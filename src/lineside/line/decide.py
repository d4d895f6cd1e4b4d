"""One frame → one answer: decode, infer, decide, and how long each took. What the engine's thread does for every part.

Nothing in here raises for one part's sake: a picture that can't be read and an engine that fails are events of the
station, which rejects the part.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lineside.bundle.folder import Bundle, steady
from lineside.bundle.model import Model
from lineside.bundle.samples import Sample
from lineside.bundle.verify import compare, samples_of
from lineside.data.picture import decode
from lineside.errors import BundleError, LineError, PictureError, SettingsError
from lineside.evidence.operating import OperatingPoint
from lineside.line.events import ENGINE, UNREADABLE, Answered, Failed, Part
from lineside.line.source.frame import Frame
from lineside.tasks.classify.decode import Decision, decider

WARM_UPS = 3  # the first inferences of an engine allocate; they happen before the first part


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes to the station, and beside it what is worth storing. Times in milliseconds; None: did not happen."""

    event: Answered | Failed
    logits: np.ndarray | None = None  # (K,)
    decision: Decision | None = None
    decode_ms: float | None = None
    infer_ms: float | None = None
    decide_ms: float | None = None
    picture: np.ndarray | None = None  # (H, W, 3) uint8: what was decided on; not kept


def point_of(model: Model) -> OperatingPoint:
    """Where the model accepts, holds and rejects; SettingsError for one that can accept nothing."""
    manifest = model.manifest
    if not manifest.accept or manifest.operating_point is None:
        raise SettingsError(
            f"{model.path}: this bundle sorts only: it says of no class that it may pass, so the station could accept "
            f"nothing; train it with: lineside train DATA -o {model.path} --accept CLASS --max-escape 0.01"
        )
    return manifest.operating_point


def answerer(model: Model, now_ns: Callable[[], int], camera: str = "") -> Callable[[Frame], Answer]:
    """answer(frame) for a camera, by a bundle that can accept; SettingsError with the remedy for one that can not."""
    decide = decider(model.manifest.classes, model.manifest.accept, point_of(model))

    def answer(frame: Frame) -> Answer:
        part = Part(frame.part_id, frame.sequence)
        begun = now_ns()
        try:
            picture = pixels(frame)
        except PictureError as error:
            return Answer(Failed(part, UNREADABLE, f"{error.code}: {error}", now_ns(), camera))
        except Exception as error:  # a decoder's surprise is one bad picture, not the end of the shift
            return Answer(Failed(part, UNREADABLE, f"{type(error).__name__}: {error}", now_ns(), camera))
        decoded = now_ns()
        decode_ms = (decoded - begun) / 1e6
        try:
            logits = model.infer(picture[None])[0]
            inferred = now_ns()
            decision = decide(logits)
        except PictureError as error:  # too small for this bundle
            return Answer(Failed(part, UNREADABLE, f"{error.code}: {error}", now_ns(), camera), decode_ms=decode_ms)
        except Exception as error:  # whatever the engine throws, the part is rejected
            return Answer(
                Failed(part, ENGINE, f"{type(error).__name__}: {error}", now_ns(), camera), decode_ms=decode_ms
            )
        decided = now_ns()
        event = Answered(part, decision, decided, camera)
        return Answer(
            event, logits, decision, decode_ms, (inferred - decoded) / 1e6, (decided - inferred) / 1e6, picture
        )

    return answer


def doubts(model: Model) -> tuple[str, ...]:
    """What the user should know of the bundle before it decides anything."""
    point = model.manifest.operating_point
    return () if point is None or point.shown else (f"{model.path}: {point.sentence()}",)


def pixels(frame: Frame) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a frame; PictureError where there is none."""
    if frame.picture is not None:
        return frame.picture
    if frame.data is None:
        raise PictureError("not-acquired", frame.error or f"{frame.name}: the source gave no picture")
    return decode(frame.data, frame.name)


def compare_rounded(model: Model) -> None:
    """Ask an int8 or bfloat16 model the bundle's own samples: another CPU may round otherwise. LineError if it does."""
    if model.served.precision == "float32":
        return

    def samples(bundle: Bundle) -> list[tuple[Sample, np.ndarray]]:
        if bundle.sha256 != model.sha256:
            raise LineError(f"{model.path}: was replaced while the line was starting; start it again")
        return samples_of(bundle)

    asked = steady(model.path, samples)
    try:
        compare(model, asked)
    except BundleError as error:
        raise LineError(str(error)) from None


def warm_up(model: Model, first: Frame | None) -> None:
    """Run the engine before the first part, on the first part's picture if that is usable. LineError if it can't."""
    side = max(model.manifest.input.size_px, model.manifest.input.min_side_px)
    blank = np.zeros((side, side, 3), np.uint8)
    try:
        try:
            picture = blank if first is None else pixels(first)
            model.infer(picture[None])
        except PictureError:  # it will be rejected at its turn
            picture = blank
        for _ in range(WARM_UPS):
            model.infer(picture[None])
    except Exception as error:
        raise LineError(
            f"{model.path}: the engine does not answer ({type(error).__name__}: {error}); "
            f"look at it with: lineside verify {model.path}"
        ) from None
