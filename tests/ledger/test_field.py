"""The receptive field by arithmetic is the one that gradients show: from which pixels anything reaches a place."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lineside.ledger.cost import cost
from lineside.nets.parts import Concat, Gate, Residual, Shuffle, Split


class Run(nn.Module):
    def __init__(self, run):
        super().__init__()
        self.run = run

    def forward(self, x):
        return self.run(x)


def conv(k, s=1, p=0, d=1, cin=2, cout=2, groups=1):
    return nn.Conv2d(cin, cout, k, s, p, d, groups, bias=False)


def linear(x, a, b):
    return F.linear(x.transpose(a, b), torch.ones(2, 2)).transpose(a, b)


SIDE = 41
CASES = {
    "one": nn.Sequential(conv(5)),
    "two 3x3 see what one 5x5 sees": nn.Sequential(conv(3), conv(3)),
    "strides": nn.Sequential(conv(3, 2, 1), conv(3, 2, 1), conv(3, 1, 1)),
    "dilation": nn.Sequential(conv(3, 1, 2, 2), conv(3, 2, 3, 3)),
    "rectangular": nn.Sequential(conv((1, 7), 1, (0, 3)), conv((3, 1), (2, 1), (1, 0))),
    "pools": nn.Sequential(conv(3), nn.AvgPool2d(3, 2, 1), conv(3), nn.AvgPool2d(2)),
    "pool that rounds up": nn.Sequential(conv(3), nn.AvgPool2d(3, 2, ceil_mode=True), conv(3)),
    "padding on one side": nn.Sequential(nn.ZeroPad2d((0, 1, 2, 0)), conv(3, 2), nn.ZeroPad2d((3, 0, 0, 1)), conv(4)),
    "branches": nn.Sequential(Concat(a=conv(1), b=conv(3, 1, 1), c=conv(5, 1, 2)), conv(3, cin=6)),
    "branches of unequal sides": nn.Sequential(
        Concat(a=conv((1, 5), 1, (0, 2)), b=conv((7, 1), 1, (3, 0))), conv(1, cin=4)
    ),
    "residual": nn.Sequential(Residual(nn.Sequential(conv(3, 2, 1), conv(3, 1, 1)), conv(1, 2)), conv(3)),
    "shortcut by slices": nn.Sequential(Residual(conv(3, 2, 1), Run(lambda x: x[:, :, ::2, ::2])), conv(3)),
    "every second, from the second": nn.Sequential(conv(3), Run(lambda x: x[:, :, 1::2, 1::3]), conv(3)),
    "patches merged": nn.Sequential(
        Run(lambda x: torch.cat([x[:, :, i:40:2, j:40:2] for i in (0, 1) for j in (0, 1)], 1)), conv(3, cin=8)
    ),
    "shuffle and split": nn.Sequential(conv(3, cin=2, cout=4), Shuffle(2), Split(conv(3, 1, 1)), conv(3, cin=4)),
    "transposed": nn.Sequential(conv(3, 2), nn.ConvTranspose2d(2, 2, 4, 2, bias=False), conv(3)),
    "nearest neighbours": nn.Sequential(conv(3, 2), nn.Upsample(scale_factor=2), conv(3)),
    "linear": nn.Sequential(conv(3, 2), nn.Upsample(scale_factor=2, mode="bilinear"), conv(3)),
    "tokens": nn.Sequential(conv(4, 4), Run(lambda x: linear(x.flatten(2), 1, 2).unflatten(2, (10, 10)))),
    "channels last": nn.Sequential(conv(3), Run(lambda x: linear(x, 1, 3)), conv(3)),
    "depthwise and 1x1": nn.Sequential(conv(3, 1, 1, groups=2), conv(1), conv(5, 2, 2, groups=2)),
    "unfold": nn.Sequential(Run(lambda x: F.unfold(x, 3).unflatten(2, (SIDE - 2, SIDE - 2))), conv(3, cin=18)),
}


def ones(net: nn.Module) -> nn.Module:
    """All weights positive, so that nothing cancels."""
    for p in net.parameters():
        nn.init.constant_(p, 1.0)
    return net.double()


@pytest.mark.parametrize("name", CASES)
def test_what_gradients_reach_is_what_the_ledger_says(name):
    net = ones(CASES[name])
    x = torch.ones(1, 2, SIDE, SIDE, dtype=torch.double, requires_grad=True)
    with torch.set_grad_enabled(True):
        torch.set_default_dtype(torch.double)
        try:
            out = net(x)
            field = cost(net, x).rows[-1].field
        finally:
            torch.set_default_dtype(torch.float32)
    assert len(field) == 2
    seen_at_best = [0, 0]
    for place in range(out.shape[-1] // 2 - 2, out.shape[-1] // 2 + 3):  # a few in the middle: phases differ
        at = min(place, out.shape[-2] - 1)
        (gradient,) = torch.autograd.grad(out[0, :, at, place].sum(), x, retain_graph=True)
        reached = gradient[0].abs().sum(0) > 0
        for axis, (i, line) in enumerate(((at, reached.any(1)), (place, reached.any(0)))):
            reach, (pixels,) = field[axis], torch.nonzero(line, as_tuple=True)
            assert i * reach.jump + reach.low <= pixels.min()
            assert pixels.max() <= i * reach.jump + reach.high
            seen_at_best[axis] = max(seen_at_best[axis], int(pixels.max() - pixels.min()) + 1)
    # Between the places of a coarser map phases differ: the ledger gives the bound over all of them.
    loose = {"transposed": 2, "nearest neighbours": 2, "linear": 4}.get(name, 0)
    for axis, reach in enumerate(field):
        assert seen_at_best[axis] <= reach.size <= seen_at_best[axis] + loose


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(conv(3), nn.AdaptiveAvgPool2d(1)),
        nn.Sequential(conv(3), Gate(nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(1)))),
        nn.Sequential(conv(3), nn.Flatten(), nn.Linear(2 * 39 * 39, 4)),
        nn.Sequential(conv(3), nn.GroupNorm(1, 2)),
        nn.Sequential(conv(3), nn.InstanceNorm2d(2)),
        nn.Sequential(
            conv(4, 4), nn.Flatten(2), Run(lambda x: F.scaled_dot_product_attention(*[x.transpose(1, 2)] * 3))
        ),
        nn.Sequential(conv(3), Run(lambda x: x.amax((2, 3)))),
        nn.Sequential(conv(3), Run(lambda x: x.mean((-1, -2)))),
    ],
    ids=["pool", "gate", "flattened", "group norm", "instance norm", "attention", "amax", "mean"],
)
def test_some_operations_see_everything(net):
    assert cost(net, (1, 2, SIDE, SIDE)).rows[-1].field == (None, None)


def test_a_mean_over_one_axis_sees_all_of_that_axis():
    field = cost(nn.Sequential(conv(3), Run(lambda x: x.mean(3))), (1, 2, SIDE, SIDE)).rows[-1].field
    assert field[1] is None
    assert field[0].size == 3


@pytest.mark.parametrize("name", ["two 3x3 see what one 5x5 sees", "one"])
def test_two_3x3_see_what_one_5x5_sees(name):
    """The deck's reason for VGG."""
    assert [reach.size for reach in cost(CASES[name], (1, 2, 9, 9)).rows[-1].field] == [5, 5]


def test_signals_have_one_axis():
    net = nn.Sequential(
        nn.Conv1d(3, 4, 7, 2, 3), nn.MaxPool1d(3, 2, 1), nn.BatchNorm1d(4), nn.Conv1d(4, 4, 3, padding=1)
    )
    (reach,) = cost(net, (1, 3, 100)).rows[-1].field
    assert (reach.size, reach.jump) == (7 + 2 * 2 + 2 * 4, 4)


def test_volumes_have_three():
    net = nn.Sequential(nn.Conv3d(1, 2, (1, 3, 5)), nn.AvgPool3d((2, 2, 1)))
    assert [reach.size for reach in cost(net, (1, 1, 8, 8, 8)).rows[-1].field] == [2, 4, 5]
