"""Three numbers of a picture: what moves each, and what does not."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lineside.data.looks import SIDE, looks


def noise(h=64, w=80, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)


def test_of_a_flat_picture():
    flat = looks(np.full((10, 12, 3), (255, 0, 0), np.uint8))
    assert flat.brightness == pytest.approx(0.299 * 255, abs=1e-3)
    assert flat.contrast == pytest.approx(0, abs=1e-3)
    assert flat.sharpness == pytest.approx(0, abs=1e-3)


def test_brightness_and_contrast_are_those_of_pillows_luma():
    picture = noise()
    luma = np.asarray(Image.fromarray(picture).convert("L"), np.float64)
    seen = looks(picture)
    assert seen.brightness == pytest.approx(luma.mean(), abs=0.6)
    assert seen.contrast == pytest.approx(luma.std(), abs=0.1)


def test_blur_lowers_sharpness_and_leaves_brightness():
    picture = noise()
    blurred = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(2)))
    assert looks(blurred).sharpness < looks(picture).sharpness - 1
    assert looks(blurred).brightness == pytest.approx(looks(picture).brightness, abs=2)


def test_the_laplacian_of_one_bright_pixel():
    picture = np.zeros((5, 5, 3), np.uint8)
    picture[2, 2] = 100
    # 4 · 100 at its place, −100 at its four neighbours, of 3 × 3 places
    assert looks(picture).sharpness == pytest.approx(np.log1p((400**2 + 4 * 100**2) / 9))


def test_noise_of_the_sensor_is_not_sharpness():
    """A soft picture whose pixels get noise of 2 grey values: less than 0.5, where a blur takes more than 1."""
    soft = np.asarray(Image.fromarray(noise(128, 128)).filter(ImageFilter.GaussianBlur(1.5)), np.float64)
    noisy = np.clip(soft + np.random.default_rng(1).normal(0, 2, soft.shape), 0, 255).astype(np.uint8)
    assert looks(noisy).sharpness - looks(soft.astype(np.uint8)).sharpness < 0.5


def test_a_large_picture_is_asked_at_fewer_places():
    small = noise(SIDE, SIDE)
    large = np.kron(small, np.ones((4, 4, 1), np.uint8))
    assert looks(large).brightness == pytest.approx(looks(small).brightness, abs=0.5)


def test_the_smallest_picture():
    assert np.isfinite(looks(noise(3, 3)).sharpness)
