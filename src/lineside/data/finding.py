"""What reading and the check-up found: one record, one table of codes.

An error says that a number measured on this data would not be true (or could not be measured); it fails the command.
A warning asks for a look. A note says what Lineside did by itself.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

SEVERITIES = ("error", "warning", "note")

# code: (severity, what it means in a table of counts)
CODES = {
    # files
    "unreadable": ("error", "the system does not give the file"),
    "missing": ("error", "listed but not there"),
    "bad-name": ("error", "the file name is not valid Unicode"),
    "zero-byte": ("error", "holds no bytes"),
    "not-a-picture": ("error", "named like a picture, but is none that we read"),
    "truncated": ("error", "ends too early"),
    "corrupt": ("error", "can not be decoded"),
    "animated": ("error", "more than one frame or page"),
    "absurd-size": ("error", "the header claims an absurd size"),
    "tiny": ("error", "too small to show anything"),
    "unsupported-mode": ("error", "pixels without a rule to 8 bits"),
    "wrong-extension": ("warning", "the name says another format than the content"),
    "16-bit": ("warning", "reduced to 8 bits"),
    "cmyk": ("warning", "print colours, converted to RGB"),
    "alpha": ("warning", "has transparent pixels, composited on black"),
    "blank": ("warning", "shows one even grey: dark frame, lens cap, saturation"),
    "exif-rotated": ("note", "turned upright by its EXIF orientation"),
    "mixed-sizes": ("note", "pictures differ in size"),
    # the folder
    "unlabelled": ("error", "a picture outside every class folder"),
    "other-file": ("warning", "not a picture, left out"),
    "twin-name": ("warning", "same name, other extension: a mask?"),
    "empty-class": ("warning", "a class folder without pictures"),
    "symlink-loop": ("warning", "a folder link that leads back to itself"),
    "hidden": ("note", "hidden files, left out"),
    "ignored-column": ("note", "columns of the CSV that mean nothing here"),
    "quarantined": ("note", "left out by the quarantine list"),
    "quarantine-unknown": ("warning", "on the quarantine list, but not in the data"),
    # labels and parts
    "one-class": ("error", "fewer than two classes"),
    "label-case": ("error", "class names that differ only by case or space"),
    "class-not-in-train": ("error", "a class that training never sees"),
    "no-train": ("warning", "parts are stated, but none to train on"),
    "class-missing": ("warning", "a class that calibrate or test never sees"),
    "imbalance": ("warning", "one class is much rarer than another"),
    "few": ("warning", "a class with very few pictures"),
    "label-conflict": ("error", "the same picture under two labels"),
    "label-doubt": ("warning", "nearly the same picture under two labels"),
    "label-error": ("warning", "the model is sure of another label"),
    "not-judged": ("note", "the model does not know such pictures"),
    # sameness
    "leakage": ("error", "the same content in two parts"),
    "group-torn": ("error", "a group is in two parts"),
    "duplicate": ("warning", "the same picture more than once"),
    "near-duplicate": ("warning", "nearly the same picture more than once"),
    "look-alike": ("warning", "pictures too alike to tell a copy from another part"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know about the data. names are the pictures it is about, may be empty; message is for a person."""

    code: str
    severity: str
    names: tuple[str, ...]
    message: str


def found(code: str, names: tuple[str, ...], message: str) -> Finding:
    """A finding with the severity that its code has in CODES."""
    return Finding(code, CODES[code][0], names, message)


def many(count: int, noun: str) -> str:
    """ "1 picture", "1,200 pictures"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def some(names: tuple[str, ...] | list[str], most: int = 3) -> str:
    """The first few names for a message: "a.png, b.png and 7 more"."""
    shown = ", ".join(repr(n) if not n.isprintable() else n for n in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


@dataclass(frozen=True, slots=True)
class Count:
    """One code in a table of counts."""

    code: str
    severity: str
    findings: int
    pictures: int


def counts(findings: Iterable[Finding]) -> list[Count]:
    """How often each code was found and how many pictures it is about; worst first, then in the order of CODES."""
    number: dict[str, int] = defaultdict(int)
    names: dict[str, set[str]] = defaultdict(set)
    for finding in findings:
        number[finding.code] += 1
        names[finding.code].update(finding.names)
    order = {code: i for i, code in enumerate(CODES)}
    codes = sorted(number, key=lambda code: (SEVERITIES.index(CODES[code][0]), order[code]))
    return [Count(code, CODES[code][0], number[code], len(names[code])) for code in codes]


def in_short(findings: Iterable[Finding], source: str) -> str | None:
    """What a command that goes on tells of a check-up without errors: its warnings, and what was left out, by number.

    None where there is neither.
    """
    told = [c for c in counts(findings) if c.severity == "warning" or c.code == "quarantined"]
    if not told:
        return None
    each = (f"{c.pictures or c.findings:,} {c.code} ({CODES[c.code][1]})" for c in told)
    return f"the check-up: {', '.join(each)}; see them with: lineside check {source}"
