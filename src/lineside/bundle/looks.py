"""looks.csv: how each calibrate picture looks, in the order of calibrate.csv; the drift detector starts from it."""

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np

from lineside.data.looks import NAMES, looks
from lineside.data.picture import load
from lineside.errors import BundleError

FILE = "looks.csv"


def write(names: Sequence[str], paths: Sequence[Path]) -> bytes:
    """looks.csv of these pictures."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\r\n")
    rows.writerow(["name", *NAMES])
    for name, path in zip(names, paths, strict=True):
        rows.writerow([name, *(f"{value:.6g}" for value in astuple(looks(load(path))))])
    return text.getvalue().encode()


def read(data: bytes, names: Sequence[str], where: str) -> dict[str, np.ndarray]:
    """{number: (n,) float64} again; BundleError if these are not the looks of the pictures called names, in order."""
    try:
        head, *rows = csv.reader(io.StringIO(data.decode(), newline=""), strict=True)
        if head != ["name", *NAMES]:
            raise ValueError(f"its columns are {head}")
        if [row[0] for row in rows] != list(names):
            raise ValueError("its pictures are not those of calibrate.csv")
        columns = np.array([[float(x) for x in row[1:]] for row in rows]).reshape(len(rows), len(NAMES))
        if not np.isfinite(columns).all():
            raise ValueError("a number is not finite")
    except (ValueError, IndexError, csv.Error) as error:
        raise BundleError(f"{where}: not a table of looks: {error}") from None
    return dict(zip(NAMES, columns.T, strict=True))
