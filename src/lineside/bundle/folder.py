"""A bundle on disk: a folder, or the same files stored in one .zip.

Writing   goes to a hidden folder beside the target, is forced to the disk, and is swapped in by one system call
          (renameat2 RENAME_EXCHANGE, Linux). At every instant, power cut included, the path holds a whole bundle.
          Where there is no exchange the old one is moved aside first; `locate` finds it there if we die in between.
          A full disk, Ctrl-C or any other failure removes what was begun and leaves the old bundle as it was.
Reading   hands out nothing but the bytes that the manifest's hash vouches for. Links, unlisted files, pickles and every
          trick that an archive can play (names that lead out, names twice, compression) are refused.

Hidden siblings: `.NAME.new-XXXXXXXX` is being written, `.NAME.old` was moved aside. One writer at a time has the lock
on the parent folder, so whatever of these a writer finds was left by one that died.
"""

import ctypes
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lineside.bundle import manifest as manifests
from lineside.bundle import signature as signatures
from lineside.bundle.manifest import MANIFEST, SIGNATURE, Manifest, bad_name
from lineside.bundle.pickles import refuse_pickle, refuse_pickle_name
from lineside.errors import BundleError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

T = TypeVar("T")
AGAIN = "take the bundle from its source again, or make it again"
MAX_FILES = 10_000
MAX_ZIP_BYTES = 8 * 2**30
PLAIN_FLAGS = 0x80E  # of a member: deflate's level (no matter here), sizes after the data, name in UTF-8


@dataclass(frozen=True)
class Bundle:
    """An open bundle: its manifest, and its files by name. Nothing has been read yet but the manifest."""

    path: Path  # as the user named it
    manifest: Manifest
    manifest_bytes: bytes  # what is signed; its sha256 is the bundle's own
    names: frozenset[str]  # every file there, manifest.json included
    _read: Callable[[str], bytes]

    @property
    def sha256(self) -> str:
        return sha256(self.manifest_bytes)

    def read(self, name: str) -> bytes:
        """The bytes of one file of the manifest, checked against its hash."""
        if name not in self.manifest.files:
            raise BundleError(f"{self.path}: {name}: is not in the manifest; {AGAIN}")
        data = self._read(name)
        refuse_pickle(data, f"{self.path}: {name}")
        if (found := sha256(data)) != self.manifest.files[name]:
            raise BundleError(
                f"{self.path}: {name}: was changed or damaged: its sha256 is {found[:12]}…, "
                f"the manifest says {self.manifest.files[name][:12]}…; {AGAIN}"
            )
        return data

    def signature(self) -> bytes | None:
        """The bytes of signature.json, if there is one."""
        return self._read(SIGNATURE) if SIGNATURE in self.names else None

    def signed_by(self, key: "Ed25519PublicKey | None" = None) -> str | None:
        """The hex of the key that signed it, None: not signed. BundleError where the signature does not fit.

        With a key, only its signature will do.
        """
        return signatures.check(self.manifest_bytes, self.signature(), key, str(self.path))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ------------------------------------------------------------------------------------------------------------ reading


def open_bundle(path: str | Path) -> Bundle:
    """The bundle at path, a folder or a .zip. BundleError names the file, the reason and the remedy."""
    path = Path(path)
    place = locate(path)
    try:
        names, read = _look(path, place)
    except OSError as error:
        raise _cannot_read(path, error) from None
    if MANIFEST not in names:
        raise _no_bundle(path)
    text = read(MANIFEST)
    manifest = manifests.read(text, f"{path}/{MANIFEST}")
    for name in sorted(names):
        refuse_pickle_name(f"{path}: {name}", name)
    if extra := sorted(names - {MANIFEST, SIGNATURE} - manifest.files.keys()):
        raise BundleError(
            f"{path}: {extra[0]}: is not in the manifest{_more(extra)}; a bundle holds only what its manifest lists: "
            "move the file away, and ask how it came here"
        )
    if missing := sorted(manifest.files.keys() - names):
        raise BundleError(f"{path}: {missing[0]}: is in the manifest but not in the bundle{_more(missing)}; {AGAIN}")
    return Bundle(path, manifest, text, frozenset(names), read)


def steady(path: str | Path, job: Callable[[Bundle], T], whole: Callable[[T], bool] = lambda _: True) -> T:
    """job(the bundle at path), again if another process replaced the bundle while the job was reading it.

    That shows in a BundleError, or in an answer that is not whole.
    """
    for _ in range(20):
        before = _identity(path)
        try:
            answer = job(open_bundle(path))
            if whole(answer) or _identity(path) == before:
                return answer
        except BundleError:
            if _identity(path) == before:
                raise
    raise BundleError(f"{path}: is being replaced all the time; wait for the writer to end, then do this again")


def locate(path: Path) -> Path:
    """Where the bundle of this path really is: there, or moved aside by a writer that died in the middle of a swap."""
    real = Path(os.path.realpath(path))
    try:
        return aside if not real.exists() and (aside := _aside(real)).is_dir() else real
    except OSError as error:  # a name that is too long, a folder that one may not enter
        raise _cannot_read(path, error) from None


def beside(bundle: Path, ending: str) -> Path:
    """Where a file goes that belongs to a bundle but is none of its own: nuts.bundle, ".db" → nuts.bundle.db"""
    bundle = bundle.resolve() if bundle.name in ("", "..") else bundle
    return bundle.parent / f"{bundle.name}{ending}"


def _look(path: Path, place: Path) -> tuple[set[str], Callable[[str], bytes]]:
    """The names of the files at place, and what reads one. OSError where one may not look."""
    if place.is_dir():
        if not (place / MANIFEST).exists():  # before any link in a foreign folder is complained about
            raise _no_bundle(path)
        return _folder(path, place)
    if place.is_file():
        return _zip(path)
    raise BundleError(f"{path}: there is no bundle here; make one with: lineside train DATA -o {path}")


def _no_bundle(path: Path) -> BundleError:
    return BundleError(f"{path}: not a bundle: there is no {MANIFEST}; a bundle is what lineside train -o writes")


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _identity(path: str | Path) -> tuple[Path, int, int, int] | None:
    """Which bundle is there, and where: a swap may be between its two renames."""
    try:
        place = locate(Path(path))
        found = place.stat()
        return place, found.st_dev, found.st_ino, found.st_mtime_ns
    except (OSError, BundleError):
        return None


def _folder(path: Path, place: Path) -> tuple[set[str], Callable[[str], bytes]]:
    names: set[str] = set()
    todo = [""]
    try:
        while todo:
            prefix = todo.pop()
            with os.scandir(place / prefix) as entries:
                for entry in entries:
                    name = prefix + entry.name
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(name + "/")
                    elif entry.is_file(follow_symlinks=False):
                        names.add(name)
                    else:
                        raise BundleError(
                            f"{path}: {name}: is a link or a device, not a file; put the file itself there"
                        )
                    if len(names) + len(todo) > MAX_FILES:
                        raise BundleError(
                            f"{path}: not a bundle: it holds more than {MAX_FILES:,} files; is this the right folder?"
                        )
    except OSError as error:
        raise _cannot_read(path, error) from None

    def read(name: str) -> bytes:
        try:
            descriptor = os.open(place / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:
                return file.read()
        except OSError as error:
            raise _cannot_read(f"{path}: {name}", error) from None

    return names, read


def _cannot_read(where: Path | str, error: OSError) -> BundleError:
    return BundleError(f"{where}: can not be read ({error.strerror}); check the file and its permissions")


def _zip(path: Path) -> tuple[set[str], Callable[[str], bytes]]:
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


# ------------------------------------------------------------------------------------------------------------ writing


def write(path: str | Path, files: Mapping[str, bytes], manifest: Manifest, *, signature: bytes | None = None) -> Path:
    """Write a bundle at path, whole or not at all; what was there before is replaced in one instant.

    files: every file but manifest.json; manifest.files is filled in here from their hashes. A path that ends in .zip
    becomes an archive. signature: signature.json over exactly this manifest. BundleError if it can't be written.
    """
    path = Path(os.path.realpath(path))
    with _locked(path):
        return _write(path, files, manifest, signature)


def replace(
    path: str | Path,
    files: Mapping[str, bytes | None],
    change: Callable[[Manifest], Manifest],
    sign: Callable[[bytes], bytes] | None = None,
    target: str | Path | None = None,
) -> Manifest:
    """Add, replace or (None) remove files of the bundle at path and change its manifest, in one instant.

    change gets the manifest as it is now, not as it was when the caller began, its files with the new ones already
    among them; what it makes of files is not looked at. It may raise to give up. A signature
    does not survive a change: sign(manifest bytes) makes a new one, else the bundle is unsigned from here on. A bundle
    whose signature does not fit is refused.
    target: where the changed bundle goes, if not to path; path is then left as it is.
    """
    target = outside(path, target or path)
    with _locked(target):
        old = open_bundle(path)
        old.signed_by()
        merged = {name: old.read(name) for name in old.manifest.files if name not in files}
        merged |= {name: data for name, data in files.items() if data is not None}
        offered = {name: sha256(data) for name, data in merged.items()}
        manifest = _with_hashes(change(changed(old.manifest, files=old.manifest.files | offered)), merged)
        _write(target, merged, manifest, sign(manifests.write(manifest)) if sign else None)
        return manifest


def pack(source: str | Path, target: str | Path) -> Path:
    """The bundle at source again at target: an archive if target ends in .zip, else a folder.

    Checks every hash and the signature, if there is one.
    """
    target = outside(source, target)
    bundle = open_bundle(source)
    bundle.signed_by()
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    with _locked(target):
        return _write(target, files, bundle.manifest, bundle.signature())


def outside(source: str | Path, target: str | Path) -> Path:
    """target's real path. BundleError where it is in the folder of the bundle at source."""
    real = Path(os.path.realpath(target))
    if Path(os.path.realpath(source)) in real.parents:
        raise BundleError(
            f"{target}: is inside the bundle {source}, which holds only its own files; choose another place"
        )
    return real


def _write(path: Path, files: Mapping[str, bytes], manifest: Manifest, signature: bytes | None) -> Path:
    for name, data in files.items():
        refuse_pickle_name(f"{path}: {name}", name)
        refuse_pickle(data, f"{path}: {name}")
    everything = {MANIFEST: manifests.write(_with_hashes(manifest, files)), **files}
    if signature is not None:
        everything[SIGNATURE] = signature
    try:
        recover(path)
        refuse_what_is_no_bundle(path)
        _write_zip(path, everything) if path.suffix == ".zip" else _write_folder(path, everything)
    except OSError as error:
        if _holds(path, everything[MANIFEST]):
            raise BundleError(
                f"{path}: was written, but the disk did not confirm it ({error.strerror or error}); "
                f"look at the disk, then check with: lineside verify {path}"
            ) from None
        raise BundleError(
            f"{path}: the bundle could not be written ({error.strerror or error}); nothing was changed: "
            "what was there before is whole. Make room or choose another place with -o"
        ) from None
    return path


def _with_hashes(manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
    try:
        return changed(manifest, files={name: sha256(data) for name, data in sorted(files.items())})
    except ValueError as error:
        raise BundleError(f"{MANIFEST}: {error}") from None


def refuse_what_is_no_bundle(path: Path) -> None:
    """BundleError where something stands that a bundle must not replace; said before long work, too."""
    if path.exists() and not _replaceable(path):
        raise BundleError(
            f"{path}: there is something here that is not a bundle; it is left alone: choose another place with -o"
        )


def _replaceable(path: Path) -> bool:
    """Whether what is at path may be replaced: a bundle of the same form, whole or damaged, or an empty folder."""
    if path.suffix != ".zip":
        return path.is_dir() and ((path / MANIFEST).is_file() or not any(path.iterdir()))
    try:
        with zipfile.ZipFile(path) as archive:
            return MANIFEST in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False


def _holds(path: Path, manifest: bytes) -> bool:
    try:
        return open_bundle(path).manifest_bytes == manifest
    except BundleError:
        return False


def _write_zip(path: Path, files: Mapping[str, bytes]) -> None:
    temporary = _temporary(path)
    try:
        with temporary.open("xb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for member, data in files.items():
                    info = zipfile.ZipInfo(member)  # 1980-01-01: the same files give the same archive
                    info.external_attr = (stat.S_IFREG | 0o644) << 16
                    archive.writestr(info, data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _write_folder(path: Path, files: Mapping[str, bytes]) -> None:
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
    finally:  # after a swap this is the old bundle
        shutil.rmtree(temporary, ignore_errors=True)


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
    """temporary ⇄ path. Without the exchange call there is a moment in which the old bundle is only at _aside."""
    if not path.exists():
        os.rename(temporary, path)
        return
    if _exchange(temporary, path):
        return
    aside = _aside(path)
    try:
        os.rename(path, aside)
        os.rename(temporary, path)
    except BaseException:
        if not path.exists() and aside.exists():
            os.rename(aside, path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


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


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def recover(path: Path) -> None:
    """Tidy up after writers that died: put a bundle that was moved aside back, remove what was begun."""
    if (aside := _aside(path)).is_dir():
        shutil.rmtree(aside, ignore_errors=True) if path.exists() else os.rename(aside, path)
    for left in path.parent.glob(f".{_literal(path.name)}.new-*"):
        shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def _literal(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
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
