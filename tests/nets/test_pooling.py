"""The generalised mean stands between average and maximum, and a net that pools nothing refuses it."""

import pytest
import torch
from torch import nn

from lineside.errors import SettingsError
from lineside.nets.catalog import NETS
from lineside.nets.parts import PowerMean, pool_by, seq


def test_power_1_is_the_average_and_a_high_power_nears_the_maximum():
    x = torch.rand(2, 3, 5, 4) + 0.1
    torch.testing.assert_close(PowerMean(1)(x), x.mean((2, 3), keepdim=True))
    torch.testing.assert_close(PowerMean(60)(x), x.amax((2, 3), keepdim=True), rtol=0.06, atol=0)
    assert (PowerMean(3)(x) > PowerMean(1)(x)).all()


def test_one_place_in_fifty_counts_for_more_than_a_fiftieth():
    x = torch.zeros(1, 1, 7, 7)
    x[0, 0, 3, 3] = 1
    assert PowerMean(1)(x).item() == pytest.approx(1 / 49, rel=1e-3)
    assert PowerMean(3)(x).item() == pytest.approx(49 ** (-1 / 3), rel=1e-3)


@pytest.mark.parametrize("power", [1, 3, 20, 100])
def test_gradients_stay_finite_where_nothing_or_little_is_positive(power):
    x = torch.tensor([[[[0.0, -1.0], [0.0, 0.0]]], [[[0.002, 0.003], [5.0, 1e-3]]]], requires_grad=True)
    PowerMean(power)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_a_net_is_made_with_it_and_one_without_a_pool_refuses():
    assert isinstance(NETS["resnet18"].make(3, 3.0).get_submodule("head.pool"), PowerMean)
    assert not isinstance(NETS["resnet18"].make(3).get_submodule("head.pool"), PowerMean)
    with pytest.raises(SettingsError, match="pool_power is 3, but this net pools no last maps"):
        pool_by(seq(stem=nn.Identity(), head=seq(fc=nn.Linear(2, 2))), 3.0)
