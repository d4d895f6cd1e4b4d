"""Secrets: from the environment, or from a file that only its owner can read. Never from a URL, never in a message."""

import os
from collections.abc import Mapping
from pathlib import Path

from lineside.errors import SettingsError
from lineside.private import private


def read_secret(path: str | Path, what: str) -> bytes:
    """The content of a private file without the line end; what names the secret in messages."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        why = getattr(error, "strerror", None) or error
        raise SettingsError(f"{path}: {what} can not be read ({why}); look at its name and owner") from None
    try:
        private(os.fstat(file), path, what)
        content = os.read(file, 65_536).rstrip(b"\r\n")
    finally:
        os.close(file)
    if not content:
        raise SettingsError(f"{path}: {what} is expected here, and the file is empty")
    return content


def secret(file: Path | None, variable: str, environment: Mapping[str, str], what: str) -> bytes | None:
    """From the file if one is named, else from the environment; None where there is neither."""
    if file is not None:
        return read_secret(file, what)
    found = environment.get(variable, "")
    return found.encode() if found else None
