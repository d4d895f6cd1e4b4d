"""A bundle, ready to answer: what evaluate, verify and the line run. No torch here.

model = load("nuts.bundle")
logits = model.infer(pictures)        # (N, H, W, 3) uint8 RGB → (N, K) float32, columns as model.manifest.classes
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lineside.bundle.engine import Infer, open_model
from lineside.bundle.folder import Bundle, steady
from lineside.bundle.manifest import EngineName, Manifest, Precision, Served
from lineside.errors import BundleError, PictureError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


@dataclass(frozen=True)
class Model:
    """infer takes (N, H, W, 3) uint8 RGB and returns logits (N, K) float32, already divided by the temperature.

    It raises PictureError for an array that is no picture or has a side below manifest.input.min_side_px. A NaN of the
    engine comes back as NaN: evidence.operating.zones rejects it.
    """

    path: Path
    manifest: Manifest
    sha256: str  # of manifest.json, which holds the hash of everything else: the bundle's identity
    served: Served  # engine, precision and file that run
    infer: Infer


def load(
    path: str | Path,
    *,
    engine: EngineName | None = None,
    precision: Precision | None = None,
    threads: int | None = None,
) -> Model:
    """The model of a bundle (folder or .zip), its bytes checked against the manifest, and that against its signature.

    engine, precision: another than the bundle's first, of those that parity has accepted. threads: None = all cores.
    BundleError says what is wrong with the bundle; MissingExtra that this machine lacks the engine.
    """

    return steady(path, lambda bundle: opened(bundle, choose(bundle, engine, precision), threads))


def opened(bundle: Bundle, served: Served, threads: int | None = None, key: "Ed25519PublicKey | None" = None) -> Model:
    """One of the served models of an open bundle; BundleError where its signature does not fit, or is not by key."""
    bundle.signed_by(key)
    graph = bundle.read(served.file)
    try:
        infer = open_model(served.engine, graph, served.precision, threads)
    except BundleError as error:
        raise BundleError(f"{bundle.path}: {served.file}: {error}") from None
    return Model(bundle.path, bundle.manifest, bundle.sha256, served, _checked(infer, bundle.manifest))


def choose(bundle: Bundle, engine: EngineName | None, precision: Precision | None) -> Served:
    """The first of the bundle's served models with this engine and precision (None: any)."""
    for served in bundle.manifest.served:
        if engine in (None, served.engine) and precision in (None, served.precision):
            return served
    has = ", ".join(f"{s.engine} {s.precision}" for s in bundle.manifest.served)
    wanted = " ".join(w for w in (engine, precision) if w)
    flags = f" --engine {engine}" if engine else ""
    raise BundleError(
        f"{bundle.path}: parity was never shown for {wanted}, only for {has}; "
        f"try it with: lineside export {bundle.path}{flags}{' --int8' if precision == 'int8' else ''}"
    )


def _checked(infer: Infer, manifest: Manifest) -> Infer:
    classes, shortest = len(manifest.classes), manifest.input.min_side_px

    def checked(pictures: np.ndarray) -> np.ndarray:
        if not isinstance(pictures, np.ndarray) or pictures.dtype != np.uint8:
            kind = pictures.dtype if isinstance(pictures, np.ndarray) else type(pictures).__name__
            raise PictureError("dtype", f"expected pictures as uint8, 0 to 255, got {kind}")
        if pictures.ndim != 4 or pictures.shape[3] != 3 or not len(pictures):
            raise PictureError("shape", f"expected pictures as (N, H, W, 3) RGB, got the shape {pictures.shape}")
        height, width = pictures.shape[1:3]
        if min(height, width) < shortest:
            raise PictureError(
                "tiny", f"the picture is {width}×{height} pixels; this bundle takes sides of at least {shortest}"
            )
        logits = infer(np.ascontiguousarray(pictures))
        if logits.shape != (len(pictures), classes):
            raise BundleError(
                f"the model gave answers of shape {logits.shape}, the manifest's {classes} classes need "
                f"{(len(pictures), classes)}; model and manifest do not belong together"
            )
        return logits

    return checked
