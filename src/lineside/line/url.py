"""SCHEME:WHERE, as sources, sinks and gates are named, and NAME=VALUE&NAME=VALUE behind a ? or #.

Options are the fields of a dataclass and are read as those of line.toml are: strictly, with did-you-mean. A truth is
true or false, and nothing else. No message shows what may be a secret (redact.py).
"""

import os.path
from collections.abc import Collection
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints
from urllib.parse import parse_qsl, quote, unquote_plus

from lineside import settings
from lineside.errors import SettingsError
from lineside.redact import name as shown_name
from lineside.redact import redact

T = TypeVar("T")
PATHS = ("folder", "video", "csv")  # schemes where everything after the colon is a path
PATHS_TO_HASH = ("watch", "genicam")  # a path up to the #
FOLDERS = ("folder", "watch")  # Path("") is the folder that one happens to be in, so it must be said
FOREIGN_QUERY = ("webhook", "rtsp")  # it belongs to the receiver, or to the camera
PATH_OPTIONS = ("pki", "users", "password_file", "secret_file", "ca", "cert", "key")


def split(url: str, schemes: Collection[str], kind: str, example: str) -> tuple[str, str]:
    """(scheme, where) of a URL; SettingsError with the nearest known scheme otherwise. kind: "source" or "sink"."""
    scheme, colon, where = url.partition(":")
    if not colon:
        raise SettingsError(
            f"{redact(url)!r}: a {kind} is written SCHEME:WHERE, such as {example}; schemes: {_all(schemes)}"
        )
    if scheme not in schemes:
        near = get_close_matches(scheme.lower(), schemes, n=1)
        hint = f"did you mean {redact(f'{near[0]}:{where}')}?" if near else f"known: {_all(schemes)}"
        raise SettingsError(f"{redact(url)!r}: no {kind} has the scheme {redact(scheme)!r}; {hint}")
    path = where if scheme in PATHS else where.partition("#")[0]
    if not path and scheme in (*PATHS, *FOLDERS):
        here = f", or {scheme}:. for the folder that you are in" if scheme in FOLDERS else ""
        raise SettingsError(
            f"{redact(url)!r}: no path after the colon (was a variable of the shell empty?); expected "
            f"{scheme}:PATH{here}"
        )
    if not url.isprintable() and scheme not in PATHS:
        raise SettingsError(f"{redact(url)!r}: holds a character that can not be printed; expected an address")
    return scheme, where


def options(cls: type[T], text: str, url: str) -> T:
    """An instance of the dataclass cls from name=value&name=value; %XX is decoded. url is for messages."""
    refuse_at(text, url)
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text))
    except ValueError:
        raise SettingsError(f"{redact(url)}: bad query field; expected NAME=VALUE&NAME=VALUE") from None
    return settings.read(cls, typed(cls, pairs, url), redact(url))


def refuse_at(text: str, url: str) -> None:
    """SettingsError where an @ stands in the options: then they may be the end of a password, and are not shown."""
    if "@" in text:
        raise SettingsError(
            f"{redact(url)}: an @ among the options; in a password write # as %23 and ? as %3F, in an option @ as %40"
        )


def typed(cls: type, pairs: Collection[tuple[str, str]], url: str) -> dict[str, Any]:
    """The values of (name, text) as the fields of cls want them; what does not fit stays text, for the reader."""
    hints = get_type_hints(cls)
    kinds = {field.name: hints[field.name] for field in fields(cls)}
    given: dict[str, Any] = {}
    for name, text in pairs:
        if name in given:
            raise SettingsError(f"{redact(url)}: {shown_name(name)} is given twice")
        given[name] = _typed(kinds.get(name), text)
    return given


def _typed(kind: Any, text: str) -> Any:
    kinds = get_args(kind) or (kind,)  # of X | None, too
    try:
        if bool in kinds:
            return {"true": True, "false": False}.get(text, text)
        return int(text) if int in kinds else float(text) if float in kinds else text
    except ValueError:
        return text


def below(url: str, folder: Path) -> str:
    """The same URL with every relative path in it below this folder, as those of a settings file are meant."""
    scheme, colon, where = url.partition(":")
    if scheme in PATHS:
        return f"{scheme}:{folder / where}"
    address, hash_, tail = where.partition("#")
    if scheme in PATHS_TO_HASH:
        return f"{scheme}:{folder / address}{hash_}{tail}"
    place, mark, query = address.partition("?")
    if scheme not in FOREIGN_QUERY:
        query = _below(query, folder)
    return f"{scheme}{colon}{place}{mark}{query}{hash_}{_below(tail, folder)}"


def _below(options: str, folder: Path) -> str:
    return "&".join(_option_below(one, folder) for one in options.split("&"))


def _option_below(one: str, folder: Path) -> str:
    name, _, value = one.partition("=")
    if name not in PATH_OPTIONS or not value or os.path.isabs(unquote_plus(value)):
        return one
    return f"{name}={quote(str(folder))}/{value}"


def _all(schemes: Collection[str]) -> str:
    return ", ".join(f"{s}:" for s in sorted(schemes))
