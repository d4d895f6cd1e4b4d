"""samples/: a few calibrate pictures with the answers they must get, for `lineside verify` on any machine.

Stored as PNG, pixel for pixel what the decoder gave, so that the check is about the model and not about which JPEG
library is installed. samples/expected.json: [{"file", "name", "label", "logits": {"onnxruntime float32": […]}}], what
each served engine answered when parity accepted it.

Another machine may compute the same engine in another order, or int8 by other instructions. How far a score may then
be from the expected one is TOLERANCE; an int8 model on a CPU whose instructions saturate misses it by far.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lineside import settings
from lineside.bundle.manifest import EngineName, Precision
from lineside.data import picture
from lineside.data.read import Picture
from lineside.errors import BundleError, SettingsError

SAMPLES = 12
EXPECTED = "samples/expected.json"
TOLERANCE: dict[Precision, float] = {"float32": 1e-4, "bfloat16": 0.02, "int8": 0.02}  # of a score


@dataclass(frozen=True, slots=True)
class Sample:
    file: str  # in the bundle
    name: str  # in the data set
    label: str
    logits: dict[str, tuple[float, ...]]  # by engine and precision; divided by the temperature


def key(engine: EngineName, precision: Precision) -> str:
    """An engine's name in Sample.logits."""
    return f"{engine} {precision}"


def choose(
    calibrate: Sequence[Picture], logits: np.ndarray, classes: Sequence[str], engine: EngineName, precision: Precision
) -> dict[str, bytes]:
    """Up to SAMPLES pictures, the classes in turn, and what the engine answered: logits (n, K), rows as calibrate."""
    of_class = [[i for i, one in enumerate(calibrate) if one.label == name] for name in classes]
    in_turn = [rows[turn] for turn in range(SAMPLES) for rows in of_class if turn < len(rows)][:SAMPLES]
    files, expected = {}, []
    for number, i in enumerate(in_turn):
        file = f"samples/{number:02}.png"
        files[file] = _png(picture.load(calibrate[i].path))
        answer = {key(engine, precision): tuple(map(float, logits[i]))}
        expected.append(Sample(file, calibrate[i].name, calibrate[i].label, answer))
    return files | {EXPECTED: write_expected(expected)}


def add(
    expected: Sequence[Sample], names: Sequence[str], logits: np.ndarray, engine: EngineName, precision: Precision
) -> bytes:
    """expected.json with the answers of another engine: logits (n, K), rows as names."""
    row = {name: i for i, name in enumerate(names)}
    return write_expected(
        [
            replace(s, logits=s.logits | {key(engine, precision): tuple(map(float, logits[row[s.name]]))})
            for s in expected
        ]
    )


def write_expected(expected: Sequence[Sample]) -> bytes:
    """samples/expected.json"""
    text = json.dumps([settings.plain(one) for one in expected], indent=1, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def read_expected(data: bytes, where: str) -> tuple[Sample, ...]:
    """The rows of samples/expected.json, one at least; BundleError if it is not that."""
    try:
        rows = json.loads(data)
        if not isinstance(rows, list) or not rows:
            raise ValueError("expected a list with an answer in it")
        return tuple(settings.read(Sample, one, f"{where}[{i}]") for i, one in enumerate(rows))
    except (ValueError, TypeError, SettingsError) as error:
        raise BundleError(f"{where}: not a table of expected answers: {error}") from None


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
