"""A file, whole or not at all: pages, lists, reports and pictures that a full disk or Ctrl-C must not leave in half."""

import codecs
import os
from io import BytesIO
from pathlib import Path
from secrets import token_hex

from lineside.errors import SettingsError

PAGE = "<!doctype html"  # what every page begins with


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


def output(path: Path, content: str | bytes, own: str) -> None:
    """The same for a file whose place a flag names: SettingsError where it can not be written, or is another's."""
    free(path, own)
    try:
        write(path, content)
    except OSError as error:
        raise SettingsError(
            f"{path}: can not be written ({error.strerror or error}); choose another place, or make room"
        ) from None


def free(path: Path, own: str) -> None:
    """SettingsError where a file is at path that begins otherwise than own, so that Lineside has not written it: a
    picture, a label list. An empty one may be replaced. Said before long work, too."""
    try:
        with path.open("rb") if path.is_file() else BytesIO() as file:
            head = file.read(2 * len(own) + 8)
    except OSError as error:
        raise SettingsError(
            f"{path}: can not be looked at ({error.strerror}); choose another place, or look at its permissions"
        ) from None
    begins = head.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").lstrip().lower()
    if head and not begins.startswith(own.lower().encode()):
        raise SettingsError(
            f"{path}: is there already and does not begin with {own.strip()!r}, so it is not what would be written "
            "there; name a new file, or move it away"
        )
