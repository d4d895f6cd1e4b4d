"""folder:PATH, the pictures of a folder and its subfolders, in name order: a stream of parts from files.

A picture is a file whose name ends like one; whether it can be read shows at its turn, and if not the part is rejected.
Names are sorted by code point of the whole relative path. Links are followed, but never round in a loop; hidden files
are no parts. The truth of a picture is
known where the folder it lies in has the name of one of the bundle's classes (a test folder with one folder per class).
Pictures that the bundle has learnt are marked, by content: right answers about them prove nothing.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from lineside.bundle.folder import Bundle
from lineside.data.read import PICTURE_EXTENSIONS
from lineside.errors import LineError
from lineside.line.source.frame import MAX_FILE_BYTES, Counts, Frame, Source, counted
from lineside.line.source.learnt import Known, known_to
from lineside.line.source.settings import Camera, refuse

Identity = tuple[int, int, int]  # of a file: inode, size, time of its last change


def connect(url: str, where: str, bundle: Bundle, camera: Camera) -> Source:
    refuse(url, camera, "a folder")
    root = Path(where)
    names, others = names_in(root)
    if not names:
        raise LineError(
            f"{url}: no pictures in {root} ({len(others)} other files); expected files ending in "
            + " ".join(sorted(PICTURE_EXTENSIONS))
        )
    notes = ()
    if others:
        notes = (f"{url}: {len(others)} files are no pictures by their ending and are no parts, such as {others[0]}",)
    counts = Counts()
    frames = _frames(root, names, frozenset(bundle.manifest.classes), known_to(bundle))
    return Source(url, counted(frames, counts), len(names), notes, counts=counts)


def names_in(root: Path) -> tuple[list[str], list[str]]:
    """Relative names of the pictures, and of every other file that is not hidden; both sorted."""
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        raise LineError(f"folder:{root}: {found}; expected a folder of pictures")
    pictures: list[str] = []
    others: list[str] = []
    todo: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]  # folder, identities of those above it
    while todo:
        prefix, above = todo.pop()
        path = root / prefix
        try:
            status = path.stat()
            if (here := (status.st_dev, status.st_ino)) in above:
                continue  # a link to a folder that contains it
            entries = [e for e in os.scandir(path) if not e.name.startswith(".")]
        except OSError as error:
            raise LineError(
                f"folder:{path}: can not be listed ({error.strerror}), so parts would be missed; check its permissions"
            ) from None
        for entry in entries:
            name = f"{prefix}{entry.name}"
            if _is_folder(entry):
                todo.append((f"{name}/", above | {here}))
            else:
                (pictures if os.path.splitext(entry.name)[1].lower() in PICTURE_EXTENSIONS else others).append(name)
    return sorted(pictures), sorted(others)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads only to itself: a part whose picture can't be read
        return False


def _frames(root: Path, names: list[str], classes: frozenset[str], known: Known) -> Iterator[Frame]:
    for sequence, name in enumerate(names, 1):
        yield frame_of(name, sequence, *read_file(root / name), classes, known)


def frame_of(
    name: str,
    sequence: int,
    data: bytes | None,
    error: str,
    classes: frozenset[str],
    known: Known,
    captured_ns: int | None = None,
) -> Frame:
    """The frame of one file; error: why there is no data."""
    folder = name.rpartition("/")[0].rpartition("/")[2]
    digest = hashlib.sha256(data).hexdigest() if data else ""
    return Frame(
        f"{sequence:06d}",
        sequence,
        name,
        data=data,
        error=error,
        truth=folder if folder in classes else None,
        captured_ns=captured_ns,
        digest=digest,
        learnt=digest in known.learnt,
        lot=known.lots.get(digest, ""),
    )


def read_file(path: Path, found: Identity | None = None) -> tuple[bytes | None, str]:
    """(its bytes, "") or (None, why not). found: what was there when it became a part; anything else is another's."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device could take for ever
            return None, f"{path}: is no ordinary file: not read"
        if status.st_size > MAX_FILE_BYTES:
            return None, f"{path}: {status.st_size:,} bytes, more than {MAX_FILE_BYTES:,}: not read"
        with path.open("rb") as file:
            data, status = file.read(), os.fstat(file.fileno())
    except OSError as error:
        return None, f"{path}: can not be read ({error.strerror}); check its permissions"
    if found not in (None, identity(status)):
        return None, f"{path}: was replaced before it was read; give each picture a name of its own"
    return data, ""


def identity(status: os.stat_result) -> Identity:
    return status.st_ino, status.st_size, status.st_mtime_ns
