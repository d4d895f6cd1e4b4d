"""A data set as a CSV: path,label[,split,group].

UTF-8 with or without a byte order mark, comma-separated, quoted as RFC 4180 has it (a quoted name may hold commas and
line ends). path is relative to the CSV's folder and stays under it. A row that can not be believed stops the reading: a
label file with one wrong row has others.
"""

import csv
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path, PurePosixPath, PureWindowsPath

from lineside.data.finding import Finding, found, many, some
from lineside.data.read import PART_WORDS, Dataset, Picture, twin_names
from lineside.errors import DataError

NEEDED = ("path", "label")
KNOWN = ("path", "label", "split", "group")


def read_csv(path: Path) -> Dataset:
    """The data set that a CSV describes; DataError names file, line, reason and remedy."""
    pictures: list[Picture] = []
    findings: list[Finding] = []
    line_of: dict[str, int] = {}
    missing: list[str] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            columns = _columns(path, next(reader, []))
            extra = [c for c in columns if c not in KNOWN]
            if extra:
                findings.append(
                    found("ignored-column", (), f"{path}: the columns {', '.join(extra)} mean nothing here")
                )
            for line, row in _rows(path, reader, columns):
                picture = _picture(path, line, row)
                if picture.name in line_of:
                    raise DataError(
                        f"{path}, line {line}: {picture.name!r} is already in line {line_of[picture.name]}; "
                        "each picture has one row: remove one of them"
                    )
                line_of[picture.name] = line
                if picture.path.is_file():
                    pictures.append(picture)
                else:
                    missing.append(picture.name)
                    message = f"{path}, line {line}: {picture.name!r} is not there; correct the path or remove the row"
                    findings.append(found("missing", (picture.name,), message + _slashes(picture.name)))
    except OSError as error:
        raise DataError(f"{path}: can not be read ({error.strerror}); check its permissions") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 (byte {error.start}); save it as CSV UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path}: is not a CSV ({error}); quote cells that hold commas, quotes or line ends") from None
    if missing and not pictures:
        raise DataError(
            f"{path}: none of its {many(len(missing), 'picture')} is there ({some(missing)}); "
            f"paths are relative to {path.parent}"
        )
    unsplit = [p.name for p in pictures if p.part is None]
    if unsplit and len(unsplit) < len(pictures):
        raise DataError(
            f"{path}: {many(len(unsplit), 'row')} without a split ({some(unsplit)}) among others with one; "
            "fill all or none"
        )
    pictures.sort(key=lambda picture: picture.name)
    return Dataset(path.parent, "CSV", tuple(pictures), (*findings, *twin_names(pictures)))


def _columns(path: Path, header: list[str]) -> list[str]:
    columns = [cell.strip().casefold() for cell in header]
    twice = sorted({c for c in columns if columns.count(c) > 1})
    if twice:
        raise DataError(f"{path}, line 1: the column {twice[0]!r} is there twice; remove one")
    for needed in NEEDED:
        if needed in columns:
            continue
        near = get_close_matches(needed, columns, n=1)
        hint = f"; is {near[0]!r} meant to be it?" if near else ""
        for separator, word in ((";", "semicolons"), ("\t", "tabs")):
            if separator in "".join(header):
                hint = f"; it seems to be separated by {word}: save it with commas"
        raise DataError(
            f"{path}, line 1: has no column {needed!r} (found: {', '.join(map(repr, header)) or 'nothing'}); "
            f"expected path,label and, if known, split,group{hint}"
        )
    return columns


def _rows(path: Path, reader, columns: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line where the row begins, its cells by column); blank lines are skipped."""
    begins = reader.line_num + 1
    for cells in reader:
        line, begins = begins, reader.line_num + 1
        if not cells:
            continue
        if len(cells) != len(columns):
            raise DataError(
                f"{path}, line {line}: has {len(cells)} cells, expected {len(columns)} ({','.join(columns)}); "
                "quote cells that hold commas or line ends"
            )
        yield line, dict(zip(columns, cells, strict=True))


def _picture(path: Path, line: int, row: dict[str, str]) -> Picture:
    name, label, part_word = row["path"], row["label"], row.get("split", "").strip()
    if not name:
        raise DataError(f"{path}, line {line}: the path is empty; name the picture or remove the row")
    if not label.strip():
        raise DataError(f"{path}, line {line}: {name!r} has no label; fill it in or remove the row")
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute():
        raise DataError(f"{path}, line {line}: {name!r} is an absolute path; write it relative to {path.parent}")
    if ".." in PurePosixPath(name).parts or ".." in PureWindowsPath(name).parts:
        raise DataError(
            f"{path}, line {line}: {name!r} leads to a parent folder; "
            "put the CSV above its pictures and write the path from there"
        )
    if "\0" in name:
        raise DataError(f"{path}, line {line}: {name!r} holds a NUL, which no file name can; correct the path")
    if part_word and part_word.casefold() not in PART_WORDS:
        raise DataError(f"{path}, line {line}: {part_word!r} is no split; expected train, calibrate (or val) or test")
    part = PART_WORDS[part_word.casefold()] if part_word else None
    relative = PurePosixPath(name)  # "./a//b.png" and "a/b.png" are one picture
    return Picture(path.parent / relative, str(relative), label, part, row.get("group") or None)


def _slashes(name: str) -> str:
    return "; it is written with \\, expected /" if "\\" in name else ""
