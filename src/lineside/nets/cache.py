"""Where fetched weights are kept, and whether those of a net are on this machine. No torch: `lineside nets` asks."""

import os
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit


def cache() -> Path:
    """The cache folder: $LINESIDE_CACHE, or lineside under $XDG_CACHE_HOME, or ~/.cache/lineside."""
    if chosen := os.environ.get("LINESIDE_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lineside"


def at_hand(place: str) -> bool:
    """Whether the weights of this place (net.Weights.place) are on this machine, so that using them downloads nothing.

    Of a pip package: whether it is installed.
    """
    if urlsplit(place).scheme not in ("http", "https"):
        return find_spec(place.partition(":")[0]) is not None
    name = Path(urlsplit(place).path)
    try:
        return any((cache() / "weights" / file).is_file() for file in (f"{name.stem}.safetensors", name.name))
    except (OSError, RuntimeError):  # a cache one may not look into, or no home to have one in
        return False
