"""What pictures are there, and what does the data set say of each: its label, part and group.

    folder      ROOT/<class>/…/picture, or ROOT/{train,val,test}/<class>/…/picture (some of them: a hold-out set)
    CSV         columns path,label[,split,group]; path is relative to the CSV's folder      (read_csv.py)
    nuts:       the built-in set                                                            (read_nuts.py)

Nothing is opened but files whose extension says nothing; nothing is dropped without a finding.
"""

import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lineside.data.finding import Finding, found, many, some
from lineside.data.picture import EXTENSIONS, HEAD_BYTES, sniff
from lineside.data.quarantine import read_quarantine
from lineside.errors import DataError
from lineside.labels import classes

PARTS: tuple[str, ...] = ("train", "calibrate", "test")
PART_WORDS = {  # what data sets call their parts
    "train": "train",
    "training": "train",
    "calibrate": "calibrate",
    "calibration": "calibrate",
    "val": "calibrate",
    "valid": "calibrate",
    "validation": "calibrate",
    "dev": "calibrate",
    "test": "test",
    "testing": "test",
}
PICTURE_EXTENSIONS = {e for extensions in EXTENSIONS.values() for e in extensions}
SYSTEM_FILES = {"thumbs.db", "desktop.ini", "__macosx"}  # as good as hidden


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture file and what the data set says of it."""

    path: Path  # the file
    name: str  # path relative to the data set's root, "/"-separated: its name in every list and message
    label: str  # class name
    part: str | None = None  # one of PARTS if the data set itself says so
    group: str | None = None  # part, lot, video: never torn apart by a split


@dataclass(frozen=True)
class Dataset:
    """Every picture of a data set in order of name, and what reading it already saw."""

    root: Path
    layout: str  # "folder per class", "folder per part and class", "CSV", "nuts"
    pictures: tuple[Picture, ...]
    findings: tuple[Finding, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order that indices use (labels.classes)."""
        return classes(p.label for p in self.pictures)


def read(source: str, *, quarantine: Path | None = None) -> Dataset:
    """The data set at source: a folder, a CSV file or "nuts:". DataError names file, reason and remedy.

    quarantine is a CSV with a column `name`, as `lineside check --quarantine` writes it: those files are left out.
    """
    dataset = _read(source)
    if quarantine is not None:
        dataset = _without(dataset, read_quarantine(quarantine), quarantine)
    if not dataset.pictures:
        left_out = (
            f"; {len(dataset.findings)} findings, first: {dataset.findings[0].message}" if dataset.findings else ""
        )
        raise DataError(
            f"{source}: holds no pictures; expected one folder per class with {', '.join(sorted(PICTURE_EXTENSIONS))} "
            f"in it, or a CSV with the columns path,label{left_out}"
        )
    return dataset


def _read(source: str) -> Dataset:
    if source == "nuts:":
        from lineside.data.read_nuts import read_nuts

        return read_nuts()
    if not source:  # Path("") would be the folder that one happens to be in
        raise DataError(
            "DATA is empty (was a variable of the shell empty?); give the data set's folder (. is the one that you are "
            "in), its CSV with path,label, or nuts:"
        )
    path = Path(source)
    try:
        if path.is_dir():
            return read_folder(path)
        if path.suffix.lower() == ".csv" and path.is_file():
            from lineside.data.read_csv import read_csv

            return read_csv(path)
        there = path.exists()
    except OSError as error:  # a path longer than the system allows, a folder above it that may not be searched
        raise DataError(f"{source}: can not be opened ({error.strerror}); check the path and its permissions") from None
    if there:
        raise DataError(f"{source}: is neither a folder nor a .csv file; give the data set's folder, its CSV, or nuts:")
    raise DataError(f"{source}: is not there; give the data set's folder, its CSV with path,label, or nuts:")


def read_folder(root: Path) -> Dataset:
    """A folder per class, or a folder per part with a folder per class in each: where there is train, or only names of
    parts. A class may be called test, beside others that are no part."""
    walk = _Walk(root, [])
    top_folders, top_files = walk.entries(str(root), "", ())
    folder_names = {entry.name for entry in top_folders}
    part_of = {n: PART_WORDS[n.casefold()] for n in folder_names if n.casefold() in PART_WORDS}
    by_part = "train" in part_of.values() or (bool(folder_names) and not folder_names - part_of.keys())
    if by_part and folder_names - part_of.keys():
        others = tuple(sorted(folder_names - part_of.keys()))
        raise DataError(
            f"{root}: holds {some(tuple(sorted(part_of)))} and also {some(others)}, so it can not be told whether its "
            "folders are parts or classes; keep only train, val and test there, or only class folders"
        )
    pictures: list[Picture] = []
    unlabelled = [name for _, name in walk.pictures(top_files, "")]
    for folder in sorted(top_folders, key=lambda entry: entry.name):
        if not by_part:
            pictures += walk.of_class(folder.path, folder.name, folder.name, None)
            continue
        class_folders, loose = walk.entries(folder.path, folder.name, (_identity(str(root)),))
        unlabelled += [name for _, name in walk.pictures(loose, folder.name)]
        for class_folder in sorted(class_folders, key=lambda entry: entry.name):
            name = f"{folder.name}/{class_folder.name}"
            pictures += walk.of_class(class_folder.path, name, class_folder.name, part_of[folder.name])
    if unlabelled and not pictures:
        parts = f" in {some(tuple(sorted(part_of)))}, which are read as parts" if by_part else ""
        raise DataError(
            f"{root}: holds {many(len(unlabelled), 'picture')} ({some(unlabelled)}) but no class folders with "
            f"pictures{parts}; move each into a folder named by its class, or write a CSV with the columns path,label"
        )
    if unlabelled:
        message = (
            f"{root}: {many(len(unlabelled), 'picture')} beside the class folders without a label "
            f"({some(unlabelled)}); move each into its class folder or remove it"
        )
        walk.findings.append(found("unlabelled", tuple(unlabelled), message))
    pictures.sort(key=lambda picture: picture.name)
    findings = (*walk.summary(), *twin_names(pictures))
    return Dataset(root, "folder per part and class" if by_part else "folder per class", tuple(pictures), findings)


def twin_names(pictures: list[Picture]) -> list[Finding]:
    """Two files of one folder whose names differ only by extension are often a picture and its mask."""
    stems: dict[str, list[str]] = defaultdict(list)
    for picture in pictures:
        stems[picture.name.rpartition(".")[0] or picture.name].append(picture.name)
    twins = tuple(name for names in stems.values() if len(names) > 1 for name in names)
    if not twins:
        return []
    message = (
        f"{len(twins):,} files differ from a neighbour only by extension ({some(twins, 2)}); if one of them is a mask, "
        "it is not a picture of its class: move the masks out, or list the pictures in a CSV"
    )
    return [found("twin-name", twins, message)]


class _Walk:
    """One pass over a folder with os.scandir, keeping what it must tell."""

    def __init__(self, root: Path, findings: list[Finding]):
        self.root, self.findings = root, findings
        self.hidden: list[str] = []
        self.others: list[str] = []

    def of_class(self, folder: str, name: str, label: str, part: str | None) -> Iterator[Picture]:
        """Every picture at any depth under a class folder. Depth first, without recursion: a deep tree is no error."""
        todo, count = [(folder, name, (_identity(str(self.root)),))], 0
        while todo:
            path, prefix, above = todo.pop()
            folders, files = self.entries(path, prefix, above)
            here = (*above, _identity(path))
            todo += [(entry.path, f"{prefix}/{entry.name}", here) for entry in folders]
            for file, file_name in self.pictures(files, prefix):
                yield Picture(Path(file), file_name, label, part)
                count += 1
        if not count:
            message = f"{name}: holds no pictures, so there is no class {label!r}; fill the folder or remove it"
            self.findings.append(found("empty-class", (), message))

    def entries(self, path: str, prefix: str, above: tuple) -> tuple[list[os.DirEntry], list[os.DirEntry]]:
        """(folders, files) in a folder; above: identities of the folders that contain it."""
        folders: list[os.DirEntry] = []
        files: list[os.DirEntry] = []
        if _identity(path) in above:
            message = f"{prefix}: is a link to a folder that contains it; it was not entered; remove the link"
            self.findings.append(found("symlink-loop", (prefix,), message))
            return folders, files
        try:
            with os.scandir(path) as found_here:
                for entry in found_here:
                    self._sort(entry, f"{prefix}/{entry.name}" if prefix else entry.name, folders, files)
        except OSError as error:
            if not prefix:
                raise DataError(
                    f"{path}: the folder can not be listed ({error.strerror}); check its permissions"
                ) from None
            message = f"{prefix}: the folder can not be listed ({error.strerror}); check its permissions"
            self.findings.append(found("unreadable", (prefix,), message))
        return folders, files

    def _sort(self, entry: os.DirEntry, name: str, folders: list[os.DirEntry], files: list[os.DirEntry]) -> None:
        if entry.name.startswith(".") or entry.name.casefold() in SYSTEM_FILES:
            self.hidden.append(_printable(name))
            return
        try:
            entry.name.encode()
        except UnicodeEncodeError:
            shown = _printable(name)
            message = f"{shown}: its name is not valid Unicode, so no list could hold it; rename it"
            self.findings.append(found("bad-name", (shown,), message))
            return
        try:
            (folders if entry.is_dir() else files).append(entry)
        except OSError as error:  # a link that only leads to itself
            message = f"{name}: can not be read ({error.strerror}); remove the link"
            self.findings.append(found("symlink-loop", (name,), message))

    def pictures(self, files: list[os.DirEntry], prefix: str) -> Iterator[tuple[str, str]]:
        """(path, name) of the files that are pictures by extension, or by content where the extension says nothing."""
        for entry in files:
            name = f"{prefix}/{entry.name}" if prefix else entry.name
            named = os.path.splitext(entry.name)[1].lower() in PICTURE_EXTENSIONS
            if (named and not _may_wait(entry)) or _sniffed(entry):
                yield entry.path, name
            else:
                self.others.append(name)

    def summary(self) -> list[Finding]:
        """All findings, the left-out files counted."""
        if self.others:
            message = f"{many(len(self.others), 'file')} without a picture left out ({some(sorted(self.others))})"
            self.findings.append(found("other-file", tuple(sorted(self.others)), message))
        if self.hidden:
            message = f"{many(len(self.hidden), 'hidden or system file')} left out ({some(sorted(self.hidden))})"
            self.findings.append(found("hidden", tuple(sorted(self.hidden)), message))
        return self.findings


def _may_wait(entry: os.DirEntry) -> bool:
    """Whether it is a pipe or a device, which could make its reader wait for ever; a broken link is none."""
    try:
        return not stat.S_ISREG(entry.stat().st_mode)
    except OSError:
        return False


def _sniffed(entry: os.DirEntry) -> bool:
    try:
        if _may_wait(entry):
            return False
        with open(entry.path, "rb") as file:
            return sniff(file.read(HEAD_BYTES)) is not None
    except OSError:
        return False


def _identity(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (-1, hash(path))
    return status.st_dev, status.st_ino


def _printable(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _without(dataset: Dataset, left_out: dict[str, str], list_path: Path) -> Dataset:
    kept = tuple(p for p in dataset.pictures if p.name not in left_out)
    gone = tuple(p.name for p in dataset.pictures if p.name in left_out)
    findings = [f for f in dataset.findings if not (f.names and all(name in left_out for name in f.names))]
    known = {name for f in dataset.findings for name in f.names} | set(gone)
    if gone:
        message = f"{many(len(gone), 'picture')} left out by {list_path} ({some(gone)})"
        findings.append(found("quarantined", gone, message))
    unknown = tuple(name for name in left_out if name not in known)
    if unknown:
        message = f"{list_path}: lists {many(len(unknown), 'name')} not in {dataset.root} ({some(unknown)})"
        findings.append(found("quarantine-unknown", unknown, message))
    return replace(dataset, pictures=kept, findings=tuple(findings))
