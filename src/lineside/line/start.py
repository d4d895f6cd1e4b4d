"""The model, the source and the drift detector of a line, out of one and the same bundle."""

from pathlib import Path

import numpy as np

from lineside.bundle.folder import Bundle, steady
from lineside.bundle.model import Model, choose, opened
from lineside.evidence.drift import Detector
from lineside.line.drift import CALIBRATE, detector
from lineside.line.source.catalog import open_source
from lineside.line.source.frame import Source


def start(path: str | Path, url: str, rng: np.random.Generator) -> tuple[Model, Source, Detector | None]:
    """The first served model of the bundle at path; the source of a URL, which knows what that bundle has learnt; and
    the detector of drift from its calibrate pictures (None: it only sorts, or holds none). rng breaks its ties.

    Opened once: a bundle that another process puts there meanwhile is taken whole or not at all.
    """

    def all_three(bundle: Bundle) -> tuple[Model, Source, Detector | None]:
        watched = bundle.manifest.accept and CALIBRATE in bundle.names
        return (
            opened(bundle, choose(bundle, None, None)),
            open_source(url, bundle),
            detector(bundle, rng) if watched else None,
        )

    return steady(path, all_three)
