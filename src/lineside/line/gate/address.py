"""//HOST:PORT?key=value&…, as gates are named: a host, a port, and settings of a dataclass."""

from dataclasses import fields
from typing import TypeVar, get_type_hints
from urllib.parse import parse_qsl, urlsplit

from lineside import settings
from lineside.errors import SettingsError

T = TypeVar("T")


def address(url: str, where: str, cls: type[T], port: int) -> tuple[str, int, T]:
    """(host, port, settings). SettingsError names the key that is unknown or wrong; port is the protocol's own."""
    example = f"{url.partition(':')[0]}://192.168.0.10:{port}"
    try:
        parts = urlsplit("x:" + where)
        found = parts.port or port
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise SettingsError(f"{url!r}: {error}; expected such as {example}") from None
    if not parts.hostname or parts.path or parts.fragment or parts.username is not None:
        raise SettingsError(f"{url!r}: expected HOST or HOST:PORT after //, and settings after ?, such as {example}")
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise SettingsError(f"{url!r}: {max(names, key=names.count)} is given twice")
    hints = get_type_hints(cls)
    kinds = {field.name: hints[field.name] for field in fields(cls)}  # pyright: ignore[reportArgumentType]
    values = {name: _number(value, kinds.get(name)) for name, value in pairs}
    return parts.hostname, found, settings.read(cls, values, url)


def _number(text: str, kind: object) -> int | float | bool | str:
    if kind is bool:
        return {"true": True, "false": False}.get(text, text)
    try:
        return int(text) if kind is int else float(text) if kind is float else text
    except ValueError:
        return text  # the reader of settings says what was expected
