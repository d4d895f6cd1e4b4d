"""A bundle on disk: a folder, or the same files stored in one .zip (archive.py).

Writing   puts the whole bundle in its place in one instant (swap.py). At every instant, power cut included, the path
          holds a whole bundle; a full disk, Ctrl-C or any other failure leaves the old one as it was.
Reading   hands out nothing but the bytes that the manifest's hash vouches for. Links, unlisted files and pickles are
          refused.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import replace as changed
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lineside.bundle import archive, swap
from lineside.bundle import manifest as manifests
from lineside.bundle import signature as signatures
from lineside.bundle.manifest import AGAIN, MANIFEST, SIGNATURE, Manifest
from lineside.bundle.pickles import refuse_pickle, refuse_pickle_name
from lineside.errors import BundleError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

T = TypeVar("T")


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
        return aside if not real.exists() and (aside := swap.aside(real)).is_dir() else real
    except OSError as error:  # a name that is too long, a folder that one may not enter
        raise _cannot_read(path, error) from None


def fixed(path: str | Path) -> str | None:
    """Why we can not change the bundle at path, as far as its permissions say; None: they allow it.

    A swap needs the folder around it, and what it replaces must be ours to remove.
    """
    place = locate(Path(path))
    for one in (place, place.parent):
        if not os.access(one, os.W_OK | (os.X_OK if one.is_dir() else 0)):
            return f"{one} is not ours to write"
    return None


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
        return archive.look(path)
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
                    if len(names) + len(todo) > archive.MAX_FILES:
                        raise BundleError(
                            f"{path}: not a bundle: it holds more than {archive.MAX_FILES:,} files; is this the right "
                            "folder?"
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


# ------------------------------------------------------------------------------------------------------------ writing


def write(path: str | Path, files: Mapping[str, bytes], manifest: Manifest, *, signature: bytes | None = None) -> Path:
    """Write a bundle at path, whole or not at all; what was there before is replaced in one instant.

    files: every file but manifest.json; manifest.files is filled in here from their hashes. A path that ends in .zip
    becomes an archive. signature: signature.json over exactly this manifest. BundleError if it can't be written.
    """
    path = Path(os.path.realpath(path))
    with swap.locked(path):
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
    with swap.locked(target):
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
    with swap.locked(target):
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
        swap.recover(path)
        refuse_what_is_no_bundle(path)
        if path.suffix == ".zip":
            swap.put_file(path, partial(archive.fill, files=everything))
        else:
            swap.put_folder(path, everything)
    except OSError as error:
        if _holds(path, everything[MANIFEST]):
            raise BundleError(
                f"{path}: was written, but the disk did not confirm it ({error.strerror or error}); "
                f"look at the disk, then check with: lineside verify {path}"
            ) from None
        raise BundleError(
            f"{path}: the bundle could not be written ({error.strerror or error}); nothing was changed: "
            "what was there before is whole. Make room, or choose another place"
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
    if path.suffix == ".zip":
        return archive.is_bundle(path)
    return path.is_dir() and ((path / MANIFEST).is_file() or not any(path.iterdir()))


def _holds(path: Path, manifest: bytes) -> bool:
    try:
        return open_bundle(path).manifest_bytes == manifest
    except BundleError:
        return False
