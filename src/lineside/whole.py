"""A file, whole or not at all: pages, lists, reports and pictures that a full disk or Ctrl-C must not leave in half."""

import os
from pathlib import Path
from secrets import token_hex

from lineside.errors import SettingsError


def write(path: Path, content: str | bytes) -> None:
    """Put content at path, text in UTF-8; what was there before stays until then. OSError where that can not be done.

    A link stays a link, and what is no file (/dev/null, a pipe) is written to, not replaced. Of a file name that is no
    Unicode the stray bytes are written as \\udcff.
    """
    place = Path(os.path.realpath(path))
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    if place.exists() and not place.is_file():
        place.write_bytes(data)
        return
    temporary = place.with_name(f".lineside-{token_hex(8)}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, place)
    finally:
        temporary.unlink(missing_ok=True)


def output(path: Path, content: str | bytes) -> None:
    """The same for a file whose place a flag names: SettingsError where it can not be written."""
    try:
        write(path, content)
    except OSError as error:
        raise SettingsError(
            f"{path}: can not be written ({error.strerror or error}); choose another place, or make room"
        ) from None
