"""Is a bundle's operating point what its own calibrate answers give? Everything that decides it lies in the bundle.

The promise (max_escape, confidence, max_overkill), the logits of calibrate.csv and the groups of split.csv go through
operating.choose again. Thresholds, what is shown, bounds and rates must be those of the manifest, to 1e-9: another
machine may round a logarithm otherwise. The interval of a rate is compared where both were made by one method; it
decides nothing, and a later Lineside may know a better one. It finds a manifest that was edited, not a forger, who can
edit calibrate.csv too: that is what a signature is for.
"""

import math
from typing import Any

from lineside.bundle.folder import Bundle
from lineside.bundle.manifest import AGAIN
from lineside.errors import BundleError
from lineside.settings import plain
from lineside.tasks.classify.evaluate import from_calibrate, kept

TOLERANCE = 1e-9


def backed(bundle: Bundle) -> str:
    """What was found; BundleError where the manifest says what calibrate.csv does not give: a job for bundle.verify."""
    manifest = bundle.manifest
    own = manifest.operating_point
    if own is None:
        return "the bundle only sorts: no operating point to compare"
    _, _, calibrate = kept(bundle)
    found = from_calibrate(manifest, calibrate, own.max_escape, own.confidence, own.max_overkill)
    for name, says, gives in _pairs("", plain(own), plain(found)):
        if not _same(says, gives):
            raise BundleError(
                f"{bundle.path}: manifest.json: operating_point.{name} is {_said(says)}, but the bundle's own "
                f"calibrate.csv gives {_said(gives)}: it was edited, or made by another program; {AGAIN}"
            )
    return f"{len(calibrate.labels):,} calibrate answers give these thresholds, bounds and rates; " + (
        "the promise is shown" if own.shown else "the promise is NOT shown"
    )


def _pairs(prefix: str, says: dict[str, Any], gives: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    rows: list[tuple[str, Any, Any]] = []
    if says.get("method") != gives.get("method"):  # a rate, its interval made another way
        says = {name: says[name] for name in ("value", "n")}
    for name, one in says.items():
        other = gives[name]
        rows += _pairs(f"{name}.", one, other) if isinstance(one, dict) else [(f"{prefix}{name}", one, other)]
    return rows


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return a == b


def _said(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
