"""A bundle as one .zip: its files stored as they are, so that it can never hold more than its own size.

Every trick that an archive can play is refused: names that lead out, names twice, links, compression, encryption.
"""

import stat
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from lineside.bundle.manifest import AGAIN, MANIFEST, SIGNATURE, bad_name
from lineside.errors import BundleError

MAX_FILES = 10_000
MAX_ZIP_BYTES = 8 * 2**30
PLAIN_FLAGS = 0x80E  # of a member: deflate's level (no matter here), sizes after the data, name in UTF-8


def look(path: Path) -> tuple[set[str], Callable[[str], bytes]]:
    """The names of the files in the archive, and what reads one. BundleError where it is refused."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        size = path.stat().st_size
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: not a .zip that can be read ({error}); {AGAIN}") from None
    for one in members:
        _refuse_member(path, one)
    if len(members) > MAX_FILES:
        raise BundleError(f"{path}: holds more than {MAX_FILES:,} files; this is no bundle")
    if sum(one.file_size for one in members) > min(size, MAX_ZIP_BYTES):
        raise BundleError(f"{path}: says that it holds more than the {size:,} bytes it has; an archive bomb is refused")
    names = {one.filename for one in members if not one.is_dir()}
    if len({name.casefold() for name in names}) < sum(not one.is_dir() for one in members):
        raise BundleError(f"{path}: a name is in the archive twice; {AGAIN}")

    def read(name: str) -> bytes:
        try:
            with zipfile.ZipFile(path) as archive:
                return archive.read(name)
        except (zipfile.BadZipFile, OSError, EOFError, KeyError, ValueError) as error:
            raise BundleError(f"{path}: {name}: can not be read from the archive ({error}); {AGAIN}") from None

    return names, read


def _refuse_member(path: Path, one: zipfile.ZipInfo) -> None:
    name, kind = one.filename, stat.S_IFMT(one.external_attr >> 16)
    why = None if name in (MANIFEST, SIGNATURE) else bad_name(name.removesuffix("/"))
    if one.orig_filename != name or why:
        raise BundleError(f"{path}: {one.orig_filename!r}: {why or 'is not a plain name'}; the archive is refused")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise BundleError(f"{path}: {name}: is a link or a device, not a file; the archive is refused")
    if one.flag_bits & 1:
        raise BundleError(f"{path}: {name}: is encrypted; unpack it with its password and use the folder")
    if one.flag_bits & ~PLAIN_FLAGS:
        raise BundleError(
            f"{path}: {name}: has flags ({one.flag_bits:#x}) that a stored file does not need; the archive is refused"
        )
    if one.compress_type != zipfile.ZIP_STORED or one.compress_size != one.file_size:
        raise BundleError(
            f"{path}: {name}: is compressed; a bundle's files are stored as they are (zip -0), so that an archive "
            "can never hold more than its own size: unpack it and use the folder"
        )


def fill(file: BinaryIO, files: Mapping[str, bytes]) -> None:
    """Write an archive of the files; the same files give the same bytes."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for member, data in files.items():
            info = zipfile.ZipInfo(member)  # of 1980-01-01
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, data)


def is_bundle(path: Path) -> bool:
    """Whether it is an archive with a manifest, whole or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return MANIFEST in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False
