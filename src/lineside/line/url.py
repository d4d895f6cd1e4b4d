"""SCHEME:WHERE, as sources and sinks are named on the command line."""

from collections.abc import Collection
from difflib import get_close_matches

from lineside.errors import SettingsError


def split(url: str, schemes: Collection[str], kind: str, example: str) -> tuple[str, str]:
    """(scheme, where) of a URL; SettingsError with the nearest known scheme otherwise. kind: "source" or "sink"."""
    scheme, colon, where = url.partition(":")
    if not colon:
        raise SettingsError(f"{url!r}: a {kind} is written SCHEME:WHERE, such as {example}; schemes: {_all(schemes)}")
    if scheme not in schemes:
        near = get_close_matches(scheme.lower(), schemes, n=1)
        hint = f"did you mean {near[0]}:{where}?" if near else f"known: {_all(schemes)}"
        raise SettingsError(f"{url!r}: no {kind} has the scheme {scheme!r}; {hint}")
    return scheme, where


def _all(schemes: Collection[str]) -> str:
    return ", ".join(f"{s}:" for s in sorted(schemes))
