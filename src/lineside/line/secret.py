"""Secrets: from the environment, or from a file that only its owner can read. Never from a URL, never in a message."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from lineside.errors import SettingsError


def read_secret(path: str | Path, what: str) -> bytes:
    """The content of a private file without the line end; what names the secret in messages."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SettingsError(f"{path}: {what} can not be read ({error.strerror}); look at its name and owner") from None
    try:
        private(os.fstat(file), path, what)
        content = os.read(file, 65_536).rstrip(b"\r\n")
    finally:
        os.close(file)
    if not content:
        raise SettingsError(f"{path}: {what} is expected here, and the file is empty")
    return content


def private(status: os.stat_result, path: str | Path, what: str) -> None:
    """SettingsError unless this is a plain file that only its owner, who is this user or root, can read."""
    if not stat.S_ISREG(status.st_mode):
        raise SettingsError(f"{path}: {what} is expected in a plain file")
    if status.st_mode & 0o077:
        raise SettingsError(
            f"{path}: holds {what} and others can read it (mode {stat.S_IMODE(status.st_mode):03o}); "
            f"take it from them with: chmod 600 {path}"
        )
    if status.st_uid not in (0, os.geteuid()):
        raise SettingsError(f"{path}: holds {what} and belongs to another user; give it to the user of the line")


def secret(file: str | None, variable: str, environment: Mapping[str, str], what: str) -> bytes | None:
    """From the file if one is named, else from the environment; None where there is neither."""
    if file is not None:
        return read_secret(file, what)
    found = environment.get(variable, "")
    return found.encode() if found else None
