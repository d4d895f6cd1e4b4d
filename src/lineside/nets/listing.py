"""The catalog as a list: what each net costs, what its publishers say it reaches, whether its weights are to be had.

The rows of the families import torch, which takes over a second; what can be said of a net without building it stands
in listed.json, so that `lineside nets` answers at once and without the [train] extra. `python -m tests.nets.listed`
makes that file of the rows, and a test compares.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from lineside.errors import SettingsError
from lineside.nets.cache import at_hand

SORTS = ("name", "params", "macs", "top1")


@dataclass(frozen=True)
class Listed:
    """One net. Accuracy is in percent, on ImageNet's validation pictures; None where nobody says."""

    name: str
    reads: Literal["pictures", "signals"]
    size: int  # of a picture: the side in pixels; of a signal: samples
    params: int
    macs: int
    top1: float | None
    top5: float | None
    said_by: str  # who says top1 and top5; "" where nobody does
    weights: Literal["here", "download", ""]  # published ones: on this machine, to be fetched, none
    stages: tuple[str, ...]
    source: str


@cache
def rows() -> tuple[dict[str, Any], ...]:
    """Every net, in the catalog's order, those of signals last: the fields of Listed, with the places for weights."""
    return tuple(json.loads(files("lineside.nets").joinpath("listed.json").read_text("utf-8")))


def listed(row: dict[str, Any]) -> Listed:
    places = row["weights"]
    weights = "" if not places else "here" if any(map(at_hand, places)) else "download"
    return Listed(**row | {"weights": weights, "stages": tuple(row["stages"])})


def nets(
    patterns: Sequence[str] = (),
    *,
    reads: Literal["pictures", "signals"] | None = None,
    max_params: float | None = None,
    max_macs: float | None = None,
    min_top1: float | None = None,
    weights: Literal["here", "any"] | None = None,
    sort: str = "name",
) -> list[Listed]:
    """The nets that fit, sorted: by name, cheapest first, or most accurate first (top1; unknown last).

    patterns: names with * and ?; none: all. weights: only with published ones, "here" or "any". SettingsError: a
    pattern that fits no net at all.
    """
    for pattern in patterns:
        if not any(fnmatchcase(row["name"], pattern) for row in rows()):
            near = get_close_matches(pattern.lower(), [row["name"] for row in rows()], n=1)
            hint = f"did you mean {near[0]}?" if near else f"`lineside nets` lists all {len(rows())}"
            raise SettingsError(f"no net's name is like {pattern!r}; {hint}")
    found = [
        one
        for row in rows()
        if not patterns or any(fnmatchcase(row["name"], pattern) for pattern in patterns)
        if reads in (None, row["reads"])
        if fits(one := listed(row), max_params, max_macs)
        if min_top1 is None or (one.top1 is not None and one.top1 >= min_top1)
        if weights is None or one.weights == "here" or (weights == "any" and one.weights)
    ]
    keys = {
        "name": lambda one: one.name,
        "params": lambda one: (one.params, one.name),
        "macs": lambda one: (one.macs, one.name),
        "top1": lambda one: (-(one.top1 or 0.0), one.name),
    }
    return sorted(found, key=keys[sort])


def fits(one: Listed, max_params: float | None, max_macs: float | None) -> bool:
    return (max_params is None or one.params <= max_params) and (max_macs is None or one.macs <= max_macs)


def text(found: Sequence[Listed]) -> str:
    """The list for a terminal."""
    if not found:
        return "no net fits; give it more room"
    head = ("net", "size", "M params", "MMAC", "top-1", "top-5", "weights", "stages", "accuracy said by")
    body = [
        (
            one.name,
            f"{one.size} px" if one.reads == "pictures" else f"{one.size} samples",
            f"{one.params / 1e6:,.3f}",
            f"{one.macs / 1e6:,.1f}",
            *("" if value is None else f"{value:.2f}" for value in (one.top1, one.top5)),
            one.weights,
            str(len(one.stages)),
            one.said_by,
        )
        for one in found
    ]
    left = {0, 6, 8}
    widths = [max(len(row[i]) for row in (head, *body)) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(w) if i in left else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in (head, *body)
    ]
    return "\n".join(
        [
            *(line.rstrip() for line in lines),
            "",
            f"{'1 net' if len(found) == 1 else f'{len(found)} nets'}. Parameters and MACs (multiply-adds of "
            "convolutions, linear layers, products) with the published number of classes, at size.",
            "Top-1, top-5: percent on ImageNet's validation pictures as their publishers say, one model; crops and",
            "sizes differ: MACs are at size, accuracy at the larger size that its source names, if it names one.",
        ]
    )
