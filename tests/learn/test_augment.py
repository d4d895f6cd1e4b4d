"""Augmented pictures stay pictures, and what happens to one depends on nothing but its own generator."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lineside.learn.augment import augment
from lineside.learn.draws import generator
from lineside.learn.recipe import Augment

NOTHING = Augment(False, False, 0, 0, 0, 0, 0, 0)


def draws(n: int, seed: int = 0) -> list[torch.Generator]:
    return [generator(seed, "augment", 0, i) for i in range(n)]


def pictures(n: int, side: int = 24) -> torch.Tensor:
    return torch.rand((n, 3, side, side), generator=torch.Generator().manual_seed(1))


def test_nothing_asked_nothing_done():
    x = pictures(4)
    assert torch.allclose(augment(x, NOTHING, draws(4)), x, atol=1e-5)


def test_a_flip_is_the_picture_or_its_mirror():
    x = pictures(16)
    out = augment(x, Augment(True, False, 0, 0, 0, 0, 0, 0), draws(16))
    kept = [torch.allclose(a, b, atol=1e-5) for a, b in zip(x, out, strict=True)]
    mirrored = [torch.allclose(a.flip(2), b, atol=1e-5) for a, b in zip(x, out, strict=True)]
    assert all(a != b for a, b in zip(kept, mirrored, strict=True))
    assert 0 < sum(kept) < 16


@given(st.integers(0, 2**31), st.integers(1, 6))
def test_a_row_depends_on_its_own_generator_only(seed, start):
    x = pictures(8)
    whole = augment(x, Augment(), draws(8, seed))
    part = augment(x[start:], Augment(), draws(8, seed)[start:])
    assert torch.allclose(whole[start:], part, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_it_stays_in_range_and_keeps_what_is_in_the_middle(seed):
    x = torch.zeros(8, 3, 64, 64)
    x[:, :, 28:36, 28:36] = 1.0  # a part in the middle: every draw must still show all of it
    out = augment(x, Augment(brightness=0, contrast=0, noise=0), draws(8, seed))
    assert out.min() >= 0
    assert out.max() <= 1
    area = out.sum(dim=(1, 2, 3)) / x.sum(dim=(1, 2, 3))
    assert ((area > 0.85) & (area < 1.17)).all()  # zoom 0.06 twice
