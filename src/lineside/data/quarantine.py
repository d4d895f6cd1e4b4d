"""The list of files to leave out: CSV name,code,message, written by `lineside check --quarantine`, obeyed by `read`."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from lineside import whole
from lineside.data.finding import Finding, many
from lineside.errors import DataError

COLUMNS = ("name", "code", "message")
HEAD = ",".join(COLUMNS) + "\n"  # what such a list begins with


def write_quarantine(leave_out: Mapping[str, Finding], path: Path) -> str:
    """One row a file in order of name; leave_out as doctor.to_leave_out gives it. What was done, as a sentence.

    SettingsError: path can not be written, or holds what is no such list.
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    writer.writerows((name, f.code, f.message) for name, f in sorted(leave_out.items()))
    whole.output(path, file.getvalue(), HEAD)
    return f"{many(len(leave_out), 'file')} to leave out listed in {path}"


def read_quarantine(path: Path) -> dict[str, str]:
    """name → code of every file to leave out; a list of one's own needs only the column name."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, strict=True)
            columns = rows.fieldnames or ()
            if "name" not in columns:
                raise DataError(
                    f"{path}: has the columns {', '.join(columns) or '(none)'}; a quarantine list has "
                    f"{','.join(COLUMNS)}, as `lineside check DATA --quarantine FILE` writes it"
                )
            found: dict[str, str] = {}
            for row in rows:
                if not row["name"]:
                    raise DataError(
                        f"{path}, line {rows.line_num}: has no name; write the picture's name there or remove the row"
                    )
                found[row["name"]] = row.get("code") or ""
            return found
    except OSError as error:
        raise DataError(f"{path}: the quarantine list can not be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: the quarantine list is not a CSV in UTF-8 ({error})") from None
