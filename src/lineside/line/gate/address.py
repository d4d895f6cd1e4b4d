"""//HOST:PORT?key=value&…, as gates and servers are named: a host, a port, and settings of a dataclass."""

from typing import TypeVar
from urllib.parse import urlsplit

from lineside.errors import SettingsError
from lineside.line.url import options
from lineside.redact import redact

T = TypeVar("T")


def address(url: str, where: str, cls: type[T], port: int) -> tuple[str, int, T]:
    """(host, port, settings). SettingsError names the key that is unknown or wrong; port is the protocol's own."""
    example = f"{url.partition(':')[0]}://192.168.0.10:{port}"
    try:
        parts = urlsplit("x:" + where)
        found = parts.port or port
    except ValueError:
        raise SettingsError(
            f"{redact(url)!r}: Port out of range, or a host that is none; expected such as {example}"
        ) from None
    if not parts.hostname or parts.path or parts.fragment or parts.username is not None:
        raise SettingsError(
            f"{redact(url)!r}: expected HOST or HOST:PORT after //, and settings after ?, such as {example}"
        )
    return parts.hostname, found, options(cls, parts.query, url)
