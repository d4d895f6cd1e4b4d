"""Which net "auto" takes: measured speed and measured accuracy, and no heroics."""

import numpy as np
import pytest

from lineside.bundle import engine, export
from lineside.bundle.latency import latency_ms
from lineside.data.read import Picture
from lineside.data.split import Split
from lineside.errors import SettingsError
from lineside.learn.recipe import Augment, Recipe
from lineside.learn.run_folder import RunFolder
from lineside.nets.catalog import NETS
from lineside.progress import QUIET
from lineside.tasks.classify import plan
from lineside.tasks.classify.plan import _fits, sample, seen


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


def test_pick_is_told_which_of_the_sampled_pictures_are_of_one_lot(monkeypatch, tmp_path):
    told = []

    def pick(candidates, labels, lots):
        told.append((labels.tolist(), lots))
        return candidates[0], "chosen: the first"

    names = ("resnet18", "resnet50")
    monkeypatch.setattr(plan, "NETS", {name: NETS[name] for name in names})
    monkeypatch.setattr(plan, "at_hand", lambda _: True)
    monkeypatch.setattr(plan, "latency_ms", lambda *_: 1.0)
    monkeypatch.setattr(plan, "_probe", lambda *_: np.ones(6))
    monkeypatch.setattr(plan, "pick", pick)
    for lots in (("a", "a", "b", "b", None, None), (None,) * 6):
        held = [Picture(tmp_path / f"{i}.png", f"{i}.png", "xy"[i % 2], None, lot) for i, lot in enumerate(lots)]
        train = [Picture(tmp_path / f"{name}.png", f"{name}.png", name, None, "c") for name in "xy"]
        split = Split((*held, *train), ("calibrate",) * 6 + ("train",) * 2, ("0" * 64,) * 8, 0, "")
        plan._choose(Recipe(), split, ("x", "y"), ((9, 9), (9, 9)), None, RunFolder(tmp_path), QUIET)
    (labels, lots), (_, none) = told
    assert labels == [0, 0, 0, 1, 1, 1]
    assert none is None
    order = sample(np.array([0, 1] * 3), 800, seed=0)
    tied = np.array([0, 0, 1, 1, 2, 3])[order]
    assert ((lots[:, None] == lots) == (tied[:, None] == tied)).all()


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
