"""Read a dict (from TOML or JSON) into frozen dataclasses, strictly.

An unknown key, a missing key or a wrong type is a sentence with its place: `recipe.toml: augment.flp: unknown key;
did you mean flip?`. A unit in a name is part of it: who writes exposure_ms is told exposure_us, and the value in it.
A message shows no secret (redact.py). `plain` is the way back: a dataclass as dicts, lists and scalars for JSON.
"""

import json
import tomllib
from collections.abc import Collection
from dataclasses import MISSING, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from lineside.errors import SettingsError
from lineside.redact import name as shown_name
from lineside.redact import redact, redacted

T = TypeVar("T")
UNITS = {  # the end of a name: (its unit, of what, how many of the smallest)
    "us": ("microseconds", "time", 1),
    "ms": ("milliseconds", "time", 10**3),
    "s": ("seconds", "time", 10**6),
    "min": ("minutes", "time", 60 * 10**6),
    "kb": ("kilobytes", "bytes", 10**3),
    "mb": ("megabytes", "bytes", 10**6),
    "gb": ("gigabytes", "bytes", 10**9),
    "tb": ("terabytes", "bytes", 10**12),
    "fps": ("a second", "rate", 1),
    "hz": ("a second", "rate", 1),
    "db": ("decibels", "ratio", 1),
    "px": ("pixels", "length", 1),
    "mm": ("millimetres", "length", 1),
}


def read_toml(cls: type[T], path: Path) -> T:
    """An instance of cls from a TOML file; SettingsError says what is wrong and where."""
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{path}: can not be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is one; a number of 5,000 digits another
        raise SettingsError(f"{path}: not a TOML file: {redact(str(error))}") from None
    return read(cls, values, str(path))


def read_json(cls: type[T], text: str | bytes, where: str) -> T:
    """An instance of cls from JSON text; where names the place in messages."""
    try:
        values = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"{where}: not JSON: {error}") from None
    return read(cls, values, where)


def read(cls: type[T], values: Any, where: str) -> T:
    """An instance of the dataclass cls from values; where names the place in messages ("line.toml")."""
    return _record(cls, values, where, "")


def plain(value: Any) -> Any:
    """Dataclasses, tuples and paths as dicts, lists and strings: what json.dumps takes."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _record(cls: Any, values: Any, where: str, key: str) -> Any:
    if not isinstance(values, dict):
        raise SettingsError(f"{_at(where, key)}: expected a table, got {redacted(values)!r}")
    hints, known = get_type_hints(cls), {f.name: f for f in fields(cls)}
    for name in values:
        if name not in known:
            hint = _hint(str(name), values[name], known)
            raise SettingsError(f"{_at(where, key, shown_name(str(name)))}: unknown key; {hint}")
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise SettingsError(f"{_at(where, key, name)}: is required ({_say(hints[name])})")
    given = {name: _value(hints[name], v, where, f"{key}.{name}" if key else name) for name, v in values.items()}
    try:
        return cls(**given)
    except (ValueError, SettingsError) as error:  # a dataclass checks its own ranges in __post_init__
        raise SettingsError(f"{_at(where, key)}: {error}") from None


def _value(kind: Any, value: Any, where: str, key: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if is_dataclass(kind):
        return _record(kind, value, where, key)
    if origin in (Union, UnionType):
        if value is None and type(None) in args:
            return None
        (inner,) = [a for a in args if a is not type(None)]
        return _value(inner, value, where, key)
    if origin is tuple and isinstance(value, list | tuple):
        kinds = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        if len(kinds) == len(value):
            return tuple(_value(k, v, where, f"{key}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if origin is dict and isinstance(value, dict):
        return {str(k): _value(args[1], v, where, f"{key}.{shown_name(str(k))}") for k, v in value.items()}
    if origin is Literal and value in args:
        return value
    if kind is float and type(value) is int and abs(value) < 2**1000:
        return float(value)
    if kind is Path and isinstance(value, str) and value and value.isprintable():
        return Path(value)
    if origin is None and type(value) is kind:
        return value
    raise SettingsError(f"{_at(where, key)}: expected {_say(kind)}, got {redacted(value)!r}")


def _hint(name: str, value: Any, known: Collection[str]) -> str:
    """What was meant by a name that is not known."""
    stem, _, unit = name.rpartition("_")
    said = UNITS.get(unit.lower())
    stem = stem if said else name
    for right in known:
        base, _, of = right.rpartition("_")
        if of in UNITS and base and base.lower() == stem.lower():
            means, of_what, size = UNITS[of]
            number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**1000
            if said and said[1] == of_what and number:
                return f"did you mean {right} = {value * said[2] / size:.12g}? It is in {means}"
            return f"did you mean {right}? It is in {means}"
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"


def _at(where: str, *keys: str) -> str:
    path = ".".join(k for k in keys if k)
    return f"{where}: {path}" if path else where


def _say(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(repr, get_args(kind)))
    if get_origin(kind) is None and isinstance(kind, type) and not is_dataclass(kind):
        said = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "Path": "a path"}
        return said.get(kind.__name__, kind.__name__)
    origin, args = get_origin(kind), get_args(kind)
    if origin is tuple and args:
        return f"a list, each {_say(args[0])}" if args[-1] is Ellipsis else f"a list of {len(args)}: {_say(args[0])}"
    if is_dataclass(kind) or origin is dict:
        return "a table"
    if origin in (Union, UnionType):
        return _say(next(a for a in args if a is not type(None)))
    return str(kind).replace("typing.", "")
