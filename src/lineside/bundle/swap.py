"""Put a file or a folder in its place whole, in one instant, whatever stood there before.

It is made under a hidden name beside its place, forced to the disk, and swapped in by one system call (renameat2
RENAME_EXCHANGE, Linux). Where there is no exchange the old one is moved aside first; folder.locate looks for it there,
too. What fails is removed, and the old one stays as it was.

Hidden siblings: `.NAME.new-XXXXXXXX` is being written, `.NAME.old` was moved aside. One writer at a time has the lock
on the parent folder, so whatever of these a writer finds was left by one that died.
"""

import ctypes
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lineside.errors import BundleError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One writer at a time in path's folder; the lock is on the folder itself and leaves no file behind."""
    try:
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise BundleError(
            f"{path}: the folder {path.parent} can not be used ({error.strerror}); make it first, or choose another"
        ) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:  # a network file system without locks
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
                raise
        yield
    finally:
        os.close(descriptor)


def put_file(path: Path, fill: Callable[[BinaryIO], None]) -> None:
    """A file that fill writes. OSError where it can't be done."""
    temporary = _temporary(path)
    try:
        with temporary.open("xb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def put_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """A folder of files; names may have slashes. OSError where it can't be done."""
    temporary = _temporary(path)
    try:
        temporary.mkdir()
        for name, data in files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            _write_file(temporary / name, data)
        for folder, _, _ in os.walk(temporary):
            _sync(Path(folder))
        _swap(temporary, path)
        _sync(path.parent)
    finally:  # after a swap this is the old one
        shutil.rmtree(temporary, ignore_errors=True)


def recover(path: Path) -> None:
    """Tidy up after writers that died: put back what was moved aside, remove what was begun."""
    if (old := aside(path)).is_dir():
        shutil.rmtree(old, ignore_errors=True) if path.exists() else os.rename(old, path)
    for left in path.parent.glob(f".{_literal(path.name)}.new-*"):
        shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def aside(path: Path) -> Path:
    """Where what stood at path is for a moment, where there is no exchange."""
    return path.with_name(f".{path.name}.old")


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.new-{secrets.token_hex(4)}")


def _write_file(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _swap(temporary: Path, path: Path) -> None:
    """temporary ⇄ path. Without the exchange call there is a moment in which the old one is only aside."""
    if not path.exists():
        os.rename(temporary, path)
        return
    if _exchange(temporary, path):
        return
    old = aside(path)
    try:
        os.rename(path, old)
        os.rename(temporary, path)
    except BaseException:
        if not path.exists() and old.exists():
            os.rename(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _exchange(a: Path, b: Path) -> bool:
    """Swap two paths in one instant; False where the kernel or the file system can't."""
    rename_exchange, at_fdcwd = 2, -100  # linux/fs.h, fcntl.h
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    if renameat2(at_fdcwd, os.fsencode(a), at_fdcwd, os.fsencode(b), rename_exchange) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM):
        return False
    raise OSError(code, os.strerror(code))


def _literal(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
