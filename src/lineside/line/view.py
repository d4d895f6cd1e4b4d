"""A view: one camera of a line, and who judges what it sees. A part is seen by every view, and is one decision."""

from collections.abc import Mapping
from dataclasses import dataclass

from lineside.bundle.model import Model
from lineside.evidence.drift import Detector
from lineside.line.source.frame import Source

UNNAMED = "part"  # what is made where nobody has named products


@dataclass(frozen=True)
class View:
    name: str  # of the camera
    source: Source
    models: Mapping[str, Model]  # by product
    drifts: Mapping[str, Detector | None]


def only(model: Model, source: Source, drift: Detector | None = None, name: str = "camera") -> tuple[View]:
    """The one view of a line with one camera and one product."""
    return (View(name, source, {UNNAMED: model}, {UNNAMED: drift}),)
