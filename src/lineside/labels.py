"""One vocabulary for truth and prediction: a prediction is an annotation with a score.

Classes are names (text), in one fixed order per bundle: sorted by code point, as `classes` gives them. An index is
an index into that order and never leaves a file without it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from unicodedata import normalize


@dataclass(frozen=True, slots=True)
class Annotation:
    """What a picture shows. score is None for truth, a probability in [0, 1] for a prediction."""

    category: str
    score: float | None = None


def classes(names: Iterable[str]) -> tuple[str, ...]:
    """Every distinct class name once, in the order that indices use."""
    return tuple(sorted(set(names)))


def same_but_for_case(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of class names that differ only by case, outer space or Unicode form: nearly always one, misspelt."""
    folded: dict[str, set[str]] = {}
    for name in names:
        folded.setdefault(normalize("NFC", name).strip().casefold(), set()).add(name)
    return [tuple(sorted(group)) for group in folded.values() if len(group) > 1]
