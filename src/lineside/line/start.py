"""The model, the source and the drift detector of a line, out of one and the same bundle."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lineside.bundle.folder import Bundle, steady
from lineside.bundle.model import Model, choose, opened
from lineside.evidence.drift import Detector
from lineside.line.decide import point_of
from lineside.line.drift import CALIBRATE, detector
from lineside.line.source.catalog import open_source
from lineside.line.source.frame import Source
from lineside.line.source.settings import Camera

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def start(
    path: str | Path,
    url: str,
    rng: np.random.Generator,
    camera: Camera | None = None,
    key: "Ed25519PublicKey | None" = None,
) -> tuple[Model, Source, Detector | None]:
    """The first served model of the bundle at path; the source of a URL, which knows what that bundle has learnt; and
    the detector of drift from its calibrate pictures (None: it holds none). rng breaks its ties. key: whose signature
    the bundle must have. SettingsError for a bundle that only sorts.

    Opened once: a bundle that another process puts there meanwhile is taken whole or not at all. Close the source.
    """
    sources: list[Source] = []

    def all_three(bundle: Bundle) -> tuple[Model, Source, Detector | None]:
        for source in sources:  # of a bundle that was replaced: a camera can be opened only once
            source.close()
        model, drift = _watched(bundle, rng, key)
        sources.append(open_source(url, bundle, camera))
        return model, sources[-1], drift

    return steady(path, all_three)


def watched_model(
    path: str | Path, rng: np.random.Generator, key: "Ed25519PublicKey | None" = None
) -> tuple[Model, Detector | None]:
    """The same without a source: of one more product that a camera looks at."""
    return steady(path, lambda bundle: _watched(bundle, rng, key))


def _watched(bundle: Bundle, rng: np.random.Generator, key: "Ed25519PublicKey | None") -> tuple[Model, Detector | None]:
    model = opened(bundle, choose(bundle, None, None), key=key)
    point_of(model)  # before a camera is opened and a store is made
    return model, detector(bundle, rng) if CALIBRATE in bundle.names else None
