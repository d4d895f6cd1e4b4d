"""samples/: a few calibrate pictures with the answers they must get, for `lineside verify` on any machine.

Stored as PNG, pixel for pixel what the decoder gave, so that the check is about the model and not about which JPEG
library is installed. samples/expected.json: [{"file", "name", "label", "logits"}].
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lineside import settings
from lineside.data import picture
from lineside.data.read import Picture
from lineside.errors import BundleError, SettingsError

SAMPLES = 12
EXPECTED = "samples/expected.json"


@dataclass(frozen=True, slots=True)
class Sample:
    file: str  # in the bundle
    name: str  # in the data set
    label: str
    logits: tuple[float, ...]  # of the reference, divided by the temperature


def choose(calibrate: Sequence[Picture], logits: np.ndarray, classes: Sequence[str]) -> dict[str, bytes]:
    """Up to SAMPLES pictures, the classes in turn, and what the reference answers (rows of logits as calibrate)."""
    of_class = [[i for i, one in enumerate(calibrate) if one.label == name] for name in classes]
    in_turn = [rows[turn] for turn in range(SAMPLES) for rows in of_class if turn < len(rows)][:SAMPLES]
    files, expected = {}, []
    for number, i in enumerate(in_turn):
        file = f"samples/{number:02}.png"
        files[file] = _png(picture.load(calibrate[i].path))
        expected.append(Sample(file, calibrate[i].name, calibrate[i].label, tuple(map(float, logits[i]))))
    text = json.dumps([settings.plain(one) for one in expected], indent=1, ensure_ascii=False, allow_nan=False)
    return files | {EXPECTED: (text + "\n").encode()}


def read_expected(data: bytes, where: str) -> tuple[Sample, ...]:
    """The rows of samples/expected.json; BundleError if it is not that."""
    try:
        return tuple(settings.read(Sample, one, f"{where}[{i}]") for i, one in enumerate(json.loads(data)))
    except (ValueError, TypeError, SettingsError) as error:
        raise BundleError(f"{where}: not a table of expected answers: {error}") from None


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
