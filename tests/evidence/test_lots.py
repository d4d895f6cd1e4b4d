"""Lots are fewer witnesses than their pictures, and as many where pictures of one lot have nothing in common."""

import numpy as np
import pytest

from lineside.evidence.lots import worth


def test_lots_of_one_are_no_lots():
    assert worth(np.array([0.0, 1.0, 1.0]), np.arange(3)) == 3
    assert worth(np.zeros(0), np.zeros(0)) == 0


def test_one_lot_is_one_witness():
    assert worth(np.arange(6.0), np.zeros(6)) == 1


@pytest.mark.parametrize(("sizes", "expected"), [([5] * 40, 40), ([1, 9] * 20, 200 / (20 * 82 / 200))])
def test_pictures_that_are_what_their_lot_is_count_as_lots(sizes, expected):
    """n / m: m is the size of the lot that a picture is in, on average."""
    lots = np.repeat(np.arange(len(sizes)), sizes)
    assert worth(lots.astype(float), lots) == pytest.approx(expected)


def test_pictures_that_have_nothing_in_common_are_all_witnesses():
    values = np.tile([-1.0, 0.0, 1.0, 0.0, 0.0], 40)
    assert worth(values, np.repeat(np.arange(40), 5)) == 200
