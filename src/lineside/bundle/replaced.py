"""What is known of a bundle that a new one replaces: looks at test, which count on, and a signature, which is gone.

Looks belong to the test pictures, not to the net: trained again to the same place on the same split, a bundle takes
over how often they have been looked at. A bundle that can not be read tells nothing.
"""

from pathlib import Path

from lineside.bundle.folder import Bundle, open_bundle
from lineside.bundle.manifest import SIGNATURE
from lineside.errors import BundleError


def looks(path: str | Path, split: str) -> int:
    """How often the test part of this split (its fingerprint) was looked at by the bundle at path; 0: none there."""
    old = _old(path)
    return old.manifest.evaluations if old is not None and old.manifest.data.sha256 == split else 0


def signed(path: str | Path) -> bool:
    """Whether the bundle at path is signed; False: none there."""
    old = _old(path)
    return old is not None and SIGNATURE in old.names


def said(path: Path, was_signed: bool, evaluations: int) -> list[str]:
    """What the user of a new bundle at path is told of the one that it replaced; evaluations as taken over."""
    lines = []
    if evaluations:
        times = f"{evaluations} time{'s' if evaluations > 1 else ''}"
        lines.append(f"replaces a bundle of the same split: its test pictures were looked at {times}, and that is kept")
    if was_signed:
        lines.append(f"replaces a signed bundle: sign it again with: lineside export {path} --sign KEY")
    return lines


def _old(path: str | Path) -> Bundle | None:
    try:
        return open_bundle(path)
    except BundleError:
        return None
