"""Confident learning: planted label errors are found, clean labels are not blamed, and cleanlab says the same."""

from pathlib import Path

import numpy as np
import pytest

from lineside.data.label_errors import label_errors, suspects
from lineside.data.read import Picture


def made(seed: int, count: int = 600, classes: int = 4, wrong: int = 30) -> tuple[np.ndarray, np.ndarray, set[int]]:
    """Labels of which some are wrong, probabilities of a decent model, the rows that are wrong."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, count)
    logits = rng.normal(0, 1, (count, classes))
    logits[np.arange(count), truth] += rng.uniform(2, 6, count)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    given, planted = truth.copy(), rng.choice(count, wrong, replace=False)
    given[planted] = (truth[planted] + rng.integers(1, classes, wrong)) % classes
    return given, probabilities, set(planted.tolist())


@pytest.mark.parametrize("seed", range(5))
def test_planted_errors_are_found_surest_first(seed: int) -> None:
    given, probabilities, planted = made(seed)
    rows, other = suspects(given, probabilities)
    assert len(set(rows.tolist()) & planted) >= 0.6 * len(
        planted
    )  # the rest are below the mean probability of their class
    assert len(set(rows.tolist()) - planted) <= 0.03 * len(given)
    assert set(rows[:10].tolist()) <= planted
    assert (other != given[rows]).all()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.filterwarnings("ignore")  # cleanlab's own
def test_the_rule_is_that_of_cleanlab(seed: int) -> None:
    find = pytest.importorskip("cleanlab.filter").find_label_issues
    given, probabilities, _ = made(seed)
    theirs = find(given, probabilities, filter_by="confident_learning", n_jobs=1)
    assert set(suspects(given, probabilities)[0].tolist()) == set(np.flatnonzero(theirs).tolist())


def test_no_answer_and_no_held_out_pictures() -> None:
    given, probabilities, planted = made(0)
    probabilities[list(planted)] = np.nan
    assert not set(suspects(given, probabilities)[0].tolist()) & planted
    rows, _ = suspects(given, made(0)[1], np.zeros(len(given), bool))
    assert len(rows) == 0
    assert len(suspects(np.zeros(0, int), np.zeros((0, 3)))[0]) == 0


def test_findings_say_what_to_look_at() -> None:
    pictures = [Picture(Path(f"{i}.png"), f"{i}.png", label) for i, label in enumerate(["bad", "bad", "good", "good"])]
    probabilities = np.array([[0.9, 0.1], [0.03, 0.97], [0.1, 0.9], [0.05, 0.95]])
    (finding,) = label_errors(pictures, probabilities, ("bad", "good"), np.array([True, False, True, True]))
    assert (finding.code, finding.severity, finding.names) == ("label-error", "warning", ("1.png",))
    said = "1.png: labelled 'bad', the model says 'good' (97%, 'bad' 3%)"
    assert finding.message == f"{said}, though it was trained with this label; look at it"
