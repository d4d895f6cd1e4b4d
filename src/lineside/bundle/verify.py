"""Is a bundle whole, unchanged, signed, and does it still give its answers? Every check, and what each found.

    format      manifest.json is of a format and task of this program; nothing unlisted, no link, no pickle by name
    hashes      every file has the sha256 that the manifest says, and none is a pickle by content
    signature   manifest.json is signed; by the key asked for, if one was
    more        what the caller adds, by name: of a task, say, whether the operating point is what calibrate.csv gives
    samples     samples/ through every engine that the bundle serves and this machine has: each score within
                samples.TOLERANCE of what that engine answered when parity accepted it, the same label

A check that could not be run because one before it failed is not listed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from lineside.bundle import samples
from lineside.bundle.folder import Bundle, steady
from lineside.bundle.manifest import Served
from lineside.bundle.model import Model, opened
from lineside.bundle.parity import scores
from lineside.bundle.samples import Sample
from lineside.data import picture
from lineside.errors import BundleError, LinesideError, MissingExtra

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

NO_MORE: Mapping[str, Callable[[Bundle], str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    ok: bool
    found: str


def verify(
    path: str | Path, key: "Ed25519PublicKey | None" = None, more: Mapping[str, Callable[[Bundle], str]] = NO_MORE
) -> list[Check]:
    """Every check of the bundle at path; it is good if all are ok. key: the public key that must have signed it.

    more: further checks by name; each says what it found, or raises BundleError.

    BundleError only where there is nothing to check: no bundle at path, or one that can't be opened at all.
    """
    return steady(
        path, lambda bundle: _every(bundle, key, more), whole=lambda checks: all(check.ok for check in checks)
    )


def _every(bundle: Bundle, key: "Ed25519PublicKey | None", more: Mapping[str, Callable[[Bundle], str]]) -> list[Check]:
    manifest = bundle.manifest
    checks = [Check("format", True, f"format {manifest.format}, {manifest.task}, {len(bundle.names)} files, no more")]
    hashes = _check("hashes", lambda: _hashes(bundle))
    checks += [hashes, _check("signature", lambda: _signature(bundle, key))]
    if hashes.ok:
        checks += [_check(name, lambda job=job: job(bundle)) for name, job in more.items()]
        checks.append(_check("samples", lambda: _samples(bundle)))
    return checks


def _check(name: str, job: Callable[[], str]) -> Check:
    try:
        return Check(name, True, job())
    except LinesideError as error:
        return Check(name, False, str(error))


def _hashes(bundle: Bundle) -> str:
    size = sum(len(bundle.read(name)) for name in sorted(bundle.manifest.files))
    return f"{len(bundle.manifest.files)} files, {size / 2**20:.1f} MiB, each as the manifest says"


def _signature(bundle: Bundle, key: "Ed25519PublicKey | None") -> str:
    by = bundle.signed_by(key)
    if by is None:
        return "not signed"
    return f"signed by {by[:16]}…" + ("" if key else ", not compared with a key (use --key)")


def _samples(bundle: Bundle) -> str:
    asked = samples_of(bundle)
    return "; ".join(_engine(bundle, served, asked) for served in bundle.manifest.served)


def _engine(bundle: Bundle, served: Served, asked: Sequence[tuple[Sample, np.ndarray]]) -> str:
    try:
        model = opened(bundle, served)
    except MissingExtra:
        if served is bundle.manifest.served[0]:
            raise
        return f"{samples.key(served.engine, served.precision)} not tried: {served.engine} is not installed here"
    return compare(model, asked)


def samples_of(bundle: Bundle) -> list[tuple[Sample, np.ndarray]]:
    """The bundle's samples, each with its picture (1, H, W, 3) uint8 RGB."""
    where = f"{bundle.path}: {samples.EXPECTED}"
    if samples.EXPECTED not in bundle.manifest.files:
        raise BundleError(f"{where}: is missing, so there is nothing to compare with; make the bundle again")
    expected = samples.read_expected(bundle.read(samples.EXPECTED), where)
    return [(one, picture.decode(bundle.read(one.file), one.file)[None]) for one in expected]


def compare(model: Model, asked: Sequence[tuple[Sample, np.ndarray]]) -> str:
    """What was found; BundleError where the model answers a sample otherwise than when parity accepted it."""
    served, most = model.served, 0.0
    name, tolerance = samples.key(served.engine, served.precision), samples.TOLERANCE[served.precision]
    for one, pixels in asked:
        truth, answer = np.array([one.logits.get(name, ())], np.float32), model.infer(pixels)
        if truth.shape != answer.shape:
            raise BundleError(f"{model.path}: {samples.EXPECTED}: has no answer of {name} for {one.file}")
        moved = float(np.abs(scores(answer) - scores(truth)).max())
        if not moved <= tolerance or answer.argmax() != truth.argmax():
            raise BundleError(
                f"{model.path}: {one.file} ({one.name}): {name} answers differently on this machine: a score is off "
                f"by {moved:.2g} (allowed: {tolerance:g}); do not use it here: export for this engine on this machine"
            )
        most = max(most, moved)
    return f"{name}: {len(asked)} pictures answered as expected, scores within {most:.1g}"
