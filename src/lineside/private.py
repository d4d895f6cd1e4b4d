"""A file with a secret in it is its owner's alone. (sshd and libpq refuse others in the same way.)"""

import os
import stat
from pathlib import Path

from lineside.errors import SettingsError


def private_file(path: str | Path, what: str) -> None:
    """`private` of the file at this path; SettingsError where there is none, too."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise SettingsError(f"{path}: {what} can not be read ({error.strerror}); look at its name and owner") from None
    private(status, path, what)


def private(status: os.stat_result, path: str | Path, what: str) -> None:
    """SettingsError unless this is a plain file that only its owner, who is this user or root, can read or change."""
    if not stat.S_ISREG(status.st_mode):
        raise SettingsError(f"{path}: {what} is expected in a plain file")
    if status.st_mode & 0o077:
        raise SettingsError(
            f"{path}: holds {what} and others can read it (mode {stat.S_IMODE(status.st_mode):03o}); "
            f"take it from them with: chmod 600 {path}"
        )
    if status.st_uid not in (0, os.geteuid()):
        raise SettingsError(f"{path}: holds {what} and belongs to another user; give it to the user of the line")
