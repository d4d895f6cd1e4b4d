"""Which net "auto" takes: measured speed and measured accuracy, and no heroics."""

import numpy as np
import pytest

from lineside.bundle import engine, export
from lineside.bundle.latency import latency_ms
from lineside.errors import SettingsError
from lineside.learn.recipe import Augment, Recipe
from lineside.nets.catalog import NETS
from lineside.tasks.classify.plan import Candidate, _fits, pick, sample, seen


def candidate(net: str, latency_ms: float, wrong: range, n: int = 200) -> Candidate:
    right = np.ones(n, bool)
    right[list(wrong)] = False
    return Candidate(net, latency_ms, right)


def test_a_faster_net_is_taken_where_the_difference_is_not_shown():
    chosen, why = pick([candidate("slow", 20, range(4)), candidate("fast", 5, range(4, 12))])
    assert chosen.net == "fast"
    assert "8 against 4 pictures, McNemar p = 0.39, n = 200" in why


def test_a_faster_net_that_is_shown_to_be_worse_is_not():
    chosen, why = pick([candidate("slow", 20, range(4)), candidate("fast", 5, range(40))])
    assert chosen.net == "slow"
    assert "every faster net is shown to be worse" in why


def test_equals_give_the_faster_one_and_a_single_one_is_taken():
    twins = [candidate("slow", 20, range(4)), candidate("fast", 5, range(4))]
    assert pick(twins)[0].net == "fast"
    assert pick(twins[:1])[0].net == "slow"


def test_a_picture_too_small_for_the_net_is_refused():
    with pytest.raises(SettingsError, match="size_px = 28 is too small for lenet5, which is made for 32; raise it"):
        _fits(Recipe(net="lenet5", size_px=28), NETS["lenet5"])
    for name, row in NETS.items():
        _fits(Recipe(net=name, size_px=row.size_px), row)


@pytest.mark.parametrize(
    ("recipe", "seen_px", "says"),
    [
        (
            Recipe(net="lenet5", size_px=224),
            ((4000, 4000), (3000, 3000)),
            "pictures of 4000 × 3000 px: the net sees 224 × 224 px, 18 × 13 px become 1 (size_px in a recipe); "
            "augmented by flips (left-right and up-down), 3° of rotation, shift, zoom, brightness, contrast, noise "
            "(augment.* in a recipe); turn flips off where they make one class look like another",
        ),
        (
            Recipe(net="lenet5", size_px=224, augment=Augment(False, True, 0.0, noise=0.0)),
            ((300, 640), (176, 200)),
            "pictures of 300 to 640 × 176 to 200 px: the net sees 224 × 224 px, 2.86 × 0.893 px of the largest "
            "become 1 (size_px in a recipe); augmented by flips (up-down), shift, zoom, brightness, contrast "
            "(augment.* in a recipe); turn flips off where they make one class look like another",
        ),
        (
            Recipe(net="lenet5", size_px=224, augment=Augment(False, False)),
            ((176, 176), (176, 176)),
            "pictures of 176 × 176 px: the net sees 224 × 224 px, none is made smaller; augmented by 3° of rotation, "
            "shift, zoom, brightness, contrast, noise (augment.* in a recipe)",
        ),
        (
            Recipe(net="efficientnet_lite0", size_px=224, freeze_below="head"),
            ((224, 224), (224, 224)),
            "pictures of 224 × 224 px: the net sees 224 × 224 px, none is made smaller; "
            "not augmented: only a new last layer is fitted",
        ),
        (
            Recipe(net="lenet5", size_px=32, augment=Augment(False, False, 0, 0, 0, 0, 0, 0)),
            ((32, 32), (32, 32)),
            "pictures of 32 × 32 px: the net sees 32 × 32 px, none is made smaller; "
            "augmented by nothing (augment.* in a recipe)",
        ),
    ],
)
def test_train_says_what_the_net_sees_and_what_is_done_to_pictures(recipe, seen_px, says):
    assert seen(recipe, seen_px) == says


def test_a_rare_class_is_in_every_sample():
    labels = np.array([0] * 6000 + [1] * 2)
    rows = sample(labels, 1500, seed=3)
    assert np.bincount(labels[rows]).tolist() == [750, 2]
    assert len(set(rows.tolist())) == 752


@pytest.mark.parametrize("seed", range(20))
def test_what_is_chosen_is_never_slower_than_the_best(seed):
    rng = np.random.default_rng(seed)
    some = [Candidate(f"n{i}", float(rng.uniform(1, 50)), rng.random(150) < rng.uniform(0.6, 1)) for i in range(5)]
    chosen, _ = pick(some)
    best = max(some, key=lambda c: (c.right.sum(), -c.latency_ms))
    assert chosen.latency_ms <= best.latency_ms


def test_a_limit_of_latency_holds_for_the_largest_pictures(monkeypatch):
    """Pictures of many sizes: the resize of the largest takes longest."""
    shapes = []

    def infer(pictures: np.ndarray) -> np.ndarray:
        shapes.append(pictures.shape)
        return np.zeros((1, 2), np.float32)

    monkeypatch.setattr(export, "to_onnx", lambda *_: b"")
    monkeypatch.setattr(engine, "open_model", lambda *_: infer)
    latency_ms("lenet5", 32, 2, ((100, 640), (80, 480)))
    assert set(shapes) == {(1, 480, 640, 3)}
