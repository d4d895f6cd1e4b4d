"""Near duplicates: altered copies are found, different pictures of one kind are not, and nothing is quadratic."""

from functools import cache

import numpy as np
import pytest
from PIL import Image

from lineside.data import near, picture
from lineside.data.facts import THUMB_PX
from lineside.data.near import candidates, judge, near_pairs
from lineside.data.union import components, unite
from tests.data.drawing import drawing, encoded


def thumb(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L").resize((THUMB_PX, THUMB_PX), Image.Resampling.BILINEAR))


@cache
def textured(number: int) -> Image.Image:
    """Blobs with fine grain: 200 × 160."""
    rng = np.random.default_rng(number + 10_000)
    pixels = np.asarray(drawing(number, 200, 160)).astype(float) * 0.6 + 40
    return Image.fromarray(np.clip(pixels + rng.normal(0, 8, pixels.shape), 0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    return Image.fromarray(picture.decode(encoded(image, "JPEG", quality=quality), "x"))


ALTERED = {
    "quality 50": lambda image: jpeg(image, 50),
    "half the size": lambda image: image.resize((100, 80)),
    "darker": lambda image: Image.fromarray((np.asarray(image) * 0.9).astype(np.uint8)),
    "brighter": lambda image: Image.fromarray(np.clip(np.asarray(image) * 1.04 + 4.0, 0, 255).astype(np.uint8)),
    "cropped by 1 %": lambda image: image.crop((2, 0, 200, 158)),
    "cropped by 2 %": lambda image: image.crop((1, 3, 197, 160)),
}


@pytest.mark.parametrize("how", ALTERED)
@pytest.mark.parametrize("many", [False, True])
def test_an_altered_copy_is_found_among_few_and_among_many(how: str, many: bool) -> None:
    images = [textured(i) for i in range(400 if many else 20)]
    copies = [ALTERED[how](images[i]) for i in range(0, 20, 2)]
    everything = images + copies
    pairs = near_pairs(np.stack([thumb(i) for i in everything]), np.array([i.width / i.height for i in everything]))
    assert {tuple(p) for p in pairs.tolist()} == {(2 * k, len(images) + k) for k in range(10)}


def test_two_pictures_and_one_and_none() -> None:
    a, b, c = thumb(textured(1)), thumb(jpeg(textured(1), 60)), thumb(textured(2))
    assert near_pairs(np.stack([a, b]), np.ones(2)).tolist() == [[0, 1]]
    assert near_pairs(np.stack([a, c]), np.ones(2)).tolist() == []
    assert near_pairs(np.stack([a]), np.ones(1)).shape == (0, 2)
    assert near_pairs(np.zeros((0, THUMB_PX, THUMB_PX), np.uint8), np.ones(0)).shape == (0, 2)


def test_other_proportions_are_other_pictures() -> None:
    a = thumb(textured(1))
    assert near_pairs(np.stack([a, a]), np.array([1.0, 1.5])).tolist() == []


def test_parts_on_one_fixture_are_told_apart_and_a_copy_of_one_is_found() -> None:
    """One strong common scene, each part a faint pattern of its own: only the recompressed copy is a pair."""
    scene = np.asarray(drawing(0, 200, 160)).astype(float)
    rng = np.random.default_rng(5)

    def part(number: int) -> Image.Image:
        own = np.asarray(drawing(number, 200, 160)).astype(float) - 128
        return Image.fromarray(np.clip(scene * 0.8 + own * 0.08 + rng.normal(0, 2, own.shape), 0, 255).astype(np.uint8))

    images = [part(i) for i in range(1, 300)]
    images.append(jpeg(images[7], 70))
    pairs = near_pairs(np.stack([thumb(i) for i in images]), np.ones(300))
    assert pairs.tolist() == [[7, 299]]


@pytest.mark.parametrize("kind", ["all alike", "all black", "random"])
def test_candidates_grow_linearly_whatever_the_pictures(kind: str) -> None:
    rng = np.random.default_rng(0)
    for count in (1000, 4000):
        thumbs = rng.integers(0, 256, (count, THUMB_PX, THUMB_PX), dtype=np.uint8)
        if kind == "all alike":
            thumbs = (thumbs[:1] // 2 + thumbs // 128).astype(np.uint8)
        if kind == "all black":
            thumbs[:] = 0
        assert len(candidates(thumbs, np.ones(count))) <= near.TABLES * near.WINDOW * count


def test_judging_is_the_same_in_chunks_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    thumbs = np.stack([thumb(i) for k in range(20) for i in (textured(k), jpeg(textured(k), 70))])
    pairs = np.stack(np.triu_indices(len(thumbs), 1), axis=1)
    whole = judge(thumbs, pairs)
    monkeypatch.setattr(near, "CHUNK", 7)
    parts = judge(thumbs, pairs)
    assert np.array_equal(whole.near, parts.near)
    assert np.allclose(whole.left[whole.near], parts.left[parts.near], atol=1e-3)
    assert whole.near.sum() == 20


def test_components_and_unite_tie_through_chains() -> None:
    assert components(6, [(4, 5), (1, 2), (2, 4)]).tolist() == [0, 1, 1, 3, 1, 1]
    assert components(0, []).shape == (0,)
    units = unite(np.array([7, 7, 8, 9, 9, 10]), [None, "lot", "lot", None, "other", None])
    assert units.tolist() == [0, 0, 0, 3, 3, 5]
