"""The check-up of a data set: decode everything once, then say what is wrong with it.

Codes and severities are in finding.py. Sameness is judged on decoded pixels: "the same" is equal RGB pixels, whatever
the file; "nearly the same" is near.py. Time and memory grow linearly: about 5 KB a picture stays in memory.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lineside.data.facts import THUMB_PX, Refusal, examine_all
from lineside.data.finding import CODES, SEVERITIES, Finding, found, many, some
from lineside.data.near import near_pairs
from lineside.data.read import PARTS, Dataset, Picture
from lineside.data.union import components
from lineside.labels import same_but_for_case
from lineside.progress import Progress, silent

IMBALANCE = 20  # the largest class may have so many times the pictures of the smallest
FEW = 20  # pictures of a class below which hardly anything can be shown about it
LOOK_ALIKE_SHARE = 0.2  # a cluster of near duplicates over this share of the pictures is a fixture, not copies
LOOK_ALIKE_LEAST = 20


@dataclass(frozen=True)
class Checkup:
    """Columns over the pictures that could be read, in the data set's order; the unreadable are in findings."""

    dataset: Dataset
    pictures: tuple[Picture, ...]
    sha256: tuple[str, ...]  # of the file's bytes, hex
    size_px: np.ndarray  # (N, 2) int32: width, height, upright
    cluster: np.ndarray  # (N,) int64: same number = exact or near duplicates
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that fail the command."""
        return tuple(f for f in self.findings if f.severity == "error")


def check(dataset: Dataset, *, workers: int | None = None, progress: Progress = silent) -> Checkup:
    """Decode every picture and judge the data set; workers: decoding processes, by default one a core."""
    total = len(dataset.pictures)
    thumbs = np.empty((total, THUMB_PX, THUMB_PX), np.uint8)
    size_px = np.empty((total, 2), np.int32)
    pictures: list[Picture] = []
    sha256: list[str] = []
    pixels: list[bytes] = []
    marked: dict[tuple[str, str], list[str]] = defaultdict(list)
    refused: list[Finding] = []
    files = [(str(p.path), p.name) for p in dataset.pictures]
    for done, (picture, fact) in enumerate(zip(dataset.pictures, examine_all(files, workers), strict=True), 1):
        if isinstance(fact, Refusal):
            refused.append(found(fact.code, (picture.name,), fact.message))
        else:
            thumbs[len(pictures)] = np.frombuffer(fact.thumb, np.uint8).reshape(THUMB_PX, THUMB_PX)
            size_px[len(pictures)] = fact.width, fact.height
            pictures.append(picture)
            sha256.append(fact.sha256)
            pixels.append(fact.pixels)
            for mark in fact.marks:
                marked[mark, fact.form].append(picture.name)
        progress(done, total, f"{len(refused):,} refused" if refused else "")
    count = len(pictures)
    thumbs, size_px = thumbs[:count], size_px[:count].copy()
    same = _same(pixels)
    near, look_alike = _near(thumbs, size_px, same)
    cluster = components(count, [*_chains(same), *near])
    findings = [
        *dataset.findings,
        *refused,
        *(_mark(code, form, tuple(names)) for (code, form), names in sorted(marked.items())),
        *_sizes(size_px),
        *_classes(dataset, pictures),
        *_groups(pictures),
        *_sameness(pictures, same, near),
        *_look_alike(look_alike, pictures),
    ]
    return Checkup(dataset, tuple(pictures), tuple(sha256), size_px, cluster, in_order(findings))


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first, then warnings and notes; within those as CODES lists them."""
    order = {code: i for i, code in enumerate(CODES)}
    return tuple(sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), order[f.code])))


def to_leave_out(checkup: Checkup) -> dict[str, Finding]:
    """name → the error that it is in: what a quarantine list must hold so that the rest can be trusted.

    Of a leak the test picture stays (then the calibrate one): a test set that shrinks by itself would be worse.
    """
    part_of = {p.name: p.part for p in checkup.dataset.pictures}
    rank = {part: i for i, part in enumerate(PARTS)}
    leave: dict[str, Finding] = {}
    for finding in checkup.errors:
        names = finding.names
        if finding.code in ("leakage", "group-torn"):
            last = max(rank[part_of[name] or "train"] for name in names)
            names = tuple(name for name in names if rank[part_of[name] or "train"] < last)
        for name in names:
            leave.setdefault(name, finding)
    return leave


def _same(pixels: Sequence[bytes]) -> list[list[int]]:
    """Rows of equal pixels, for every content that is there more than once."""
    rows: dict[bytes, list[int]] = defaultdict(list)
    for row, digest in enumerate(pixels):
        rows[digest].append(row)
    return [own for own in rows.values() if len(own) > 1]


def _near(
    thumbs: np.ndarray, size_px: np.ndarray, same: list[list[int]]
) -> tuple[list[tuple[int, int]], list[list[int]]]:
    """Pairs of near duplicates (one row stands for all of equal pixels), and clusters too big to be copies."""
    distinct = np.ones(len(thumbs), bool)
    for rows in same:
        distinct[rows[1:]] = False
    kept = np.flatnonzero(distinct)
    pairs = kept[near_pairs(thumbs[kept], size_px[kept, 0] / size_px[kept, 1])]
    cluster = components(len(thumbs), map(tuple, pairs.tolist()))
    sizes = np.bincount(cluster, minlength=1)
    too_big = set(np.flatnonzero(sizes > max(LOOK_ALIKE_LEAST, LOOK_ALIKE_SHARE * len(kept))).tolist())
    look_alike = [np.flatnonzero(cluster == number).tolist() for number in sorted(too_big)]
    return [(a, b) for a, b in pairs.tolist() if int(cluster[a]) not in too_big], look_alike


def _chains(same: list[list[int]]) -> list[tuple[int, int]]:
    return [pair for rows in same for pair in pairwise(rows)]


def _sameness(pictures: list[Picture], same: list[list[int]], near: list[tuple[int, int]]) -> list[Finding]:
    findings = []
    for rows in same:
        names = tuple(pictures[i].name for i in rows)
        labels = sorted({pictures[i].label for i in rows})
        if len(labels) > 1:
            said = f"one picture has the labels {', '.join(labels)} ({some(names)})"
            findings.append(found("label-conflict", names, f"{said}; decide which is right and remove the others"))
        elif len({pictures[i].part for i in rows}) == 1:
            said = f"{len(rows)} files hold the same picture ({some(names)})"
            findings.append(found("duplicate", names, f"{said}; they stay on one side of a split; one is enough"))
    stands_for = {rows[0]: rows for rows in same}
    cluster = components(len(pictures), near)
    alike: dict[int, list[int]] = defaultdict(list)
    for row in sorted({row for pair in near for row in pair}):
        alike[int(cluster[row])] += stands_for.get(row, [row])
    for rows in alike.values():
        names = tuple(pictures[i].name for i in rows)
        labels = sorted({pictures[i].label for i in rows})
        if len(labels) > 1:
            said = f"nearly the same picture has the labels {', '.join(labels)} ({some(names)})"
            findings.append(found("label-doubt", names, f"{said}; look whether both are right"))
        elif len({pictures[i].part for i in rows}) == 1:
            said = f"{len(rows)} files hold nearly the same picture ({some(names)})"
            findings.append(found("near-duplicate", names, f"{said}; they stay on one side of a split"))
    nearly = {rows[0] for rows in alike.values()}
    in_alike = {row for rows in alike.values() for row in rows}
    for rows in [*alike.values(), *(rows for rows in same if rows[0] not in in_alike)]:
        parts = {pictures[i].part for i in rows}
        if len(parts) > 1:
            names = tuple(
                pictures[i].name for i in sorted(rows, key=lambda i: -PARTS.index(pictures[i].part or "train"))
            )
            word = "nearly the same" if rows[0] in nearly else "the same"
            message = (
                f"{word} picture is in {' and '.join(p for p in PARTS if p in parts)} ({some(names)}); "
                "what is measured on it would be too good: keep it in one part"
            )
            findings.append(found("leakage", names, message))
    return findings


def _look_alike(clusters: list[list[int]], pictures: list[Picture]) -> list[Finding]:
    findings = []
    for rows in clusters:
        names = tuple(pictures[i].name for i in rows)
        message = (
            f"{len(rows):,} of {len(pictures):,} pictures look so alike ({some(names)}) that "
            "copies can not be told from other parts on the same fixture; they are not tied: "
            "give a group (part, lot) in a CSV if several pictures show one part"
        )
        findings.append(found("look-alike", names, message))
    return findings


def _mark(code: str, form: str, names: tuple[str, ...]) -> Finding:
    n = f"{many(len(names), 'picture')} ({some(names)})"
    said = {
        "wrong-extension": f"{n}: {form} by content, named otherwise; read by content; rename it for other programs",
        "16-bit": f"{n}: more than 8 bits a channel; read as v >> 8; scale 10 or 12 bits up first",
        "cmyk": f"{n}: print colours (CMYK), converted without profile; save as RGB to be sure of the colours",
        "alpha": f"{n}: transparent pixels, composited on black; check that the part is not transparent",
        "blank": f"{n}: one even grey; a dark frame, a lens cap or a saturated sensor is no picture of a part",
        "exif-rotated": f"{n}: turned upright by EXIF orientation, as everywhere in Lineside",
    }
    return found(code, names, said[code])


def _sizes(size_px: np.ndarray) -> list[Finding]:
    kinds = np.unique(size_px, axis=0)
    if len(kinds) < 2:
        return []
    area = kinds.astype(np.int64).prod(axis=1)
    (w0, h0), (w1, h1) = kinds[area.argmin()].tolist(), kinds[area.argmax()].tolist()
    return [found("mixed-sizes", (), f"{len(kinds):,} sizes, from {w0} × {h0} to {w1} × {h1} pixels")]


def _classes(dataset: Dataset, pictures: list[Picture]) -> list[Finding]:
    findings = []
    count = Counter(p.label for p in pictures)
    for spellings in same_but_for_case(count):
        rarer = sorted(spellings, key=lambda s: (count[s], s))[:-1]
        names = tuple(p.name for p in pictures if p.label in rarer)
        said = ", ".join(f"{s!r} ({count[s]:,})" for s in spellings)
        message = f"{dataset.root}: the classes {said} differ only by case or space; if they are one class, rename it"
        findings.append(found("label-case", names, message))
    if len(count) < 2:
        only = (
            f"only the class {next(iter(count))!r} ({many(count.total(), 'picture')})"
            if count
            else "no picture that can be read"
        )
        message = f"{dataset.root}: holds {only}; to tell good from bad, pictures of at least two classes are needed"
        findings.append(found("one-class", (), message))
    parts = {p.part for p in pictures} - {None}
    labels_in = {part: {p.label for p in pictures if p.part == part} for part in PARTS if part in parts}
    if "train" in labels_in:
        for part, labels in labels_in.items():
            for label in sorted(labels - labels_in["train"]):
                names = tuple(p.name for p in pictures if p.part == part and p.label == label)
                message = (
                    f"class {label!r}: {many(len(names), 'picture')} in {part}, none in train ({some(names)}); "
                    "no model can learn it: add some to train or take it out"
                )
                findings.append(found("class-not-in-train", names, message))
            for label in sorted(labels_in["train"] - labels):
                message = (
                    f"class {label!r}: is in train, not in {part}; nothing will be known about it there: add pictures"
                )
                findings.append(found("class-missing", (), message))
    elif parts:
        message = (
            f"{dataset.root}: states {' and '.join(labels_in)} but no train; `lineside evaluate` takes it as a "
            "hold-out set, `lineside train` needs a train part beside"
        )
        findings.append(found("no-train", (), message))
    if len(count) > 1:
        (most, high), (least, low) = count.most_common()[0], count.most_common()[-1]
        if high > IMBALANCE * low:
            message = f"{most!r} has {high:,} pictures, {least!r} {low:,}; collect more of the rare class"
            findings.append(found("imbalance", (), message))
        rare = [label for label in count if count[label] < FEW]
        for label in sorted(rare):
            said = f"class {label!r}: {many(count[label], 'picture')}"
            message = f"{said}; under {FEW}, no number about it will be sure: add pictures"
            findings.append(found("few", (), message))
    return findings


def _groups(pictures: list[Picture]) -> list[Finding]:
    rows: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        if picture.group is not None:
            rows[picture.group].append(picture)
    findings = []
    for group, own in rows.items():
        parts = {p.part for p in own}
        if len(parts) > 1:
            names = tuple(p.name for p in own)
            said = f"group {group!r} is in {' and '.join(p for p in PARTS if p in parts)} ({some(names)})"
            message = f"{said}; keep it in one part"
            findings.append(found("group-torn", names, message))
    return findings
