"""What is trained to be looked at: the linear classifier, and the means of the benchmarks on depth and gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import depth, stem_gradients
from lineside.explain.first_layer import first_layer
from lineside.nets.catalog import NETS


def test_a_linear_classifier_learns_that_the_ship_is_blue():
    """Grey noise on a blue ground, on a red one, and on a grey one: three classes that differ by the ground alone."""
    torch.manual_seed(0)
    grounds = torch.tensor([[-0.5, -0.3, 0.7], [0.7, -0.5, -0.4], [0.0, 0.0, 0.0]])
    y = torch.arange(3).repeat(20)
    x = grounds[y][:, :, None, None] + 0.3 * torch.randn(60, 1, 32, 32)
    net = NETS["linear"].build(3)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01)
    for _ in range(30):
        optimiser.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimiser.step()
    assert (net(x).argmax(1) == y).all()
    ship, car, _ = first_layer(net).tiles.astype(int)
    assert (ship.mean((0, 1)).argmax(), car.mean((0, 1)).argmax()) == (2, 0)
    assert (ship[..., 2] > ship[..., 0]).mean() > 0.99


def test_what_a_linear_classifier_starts_with_is_too_little_to_be_seen():
    """Where pictures never differ no gradient comes, and the start stays: it is a hundredth of what is learnt."""
    torch.manual_seed(0)
    fc = NETS["linear"].build(10).get_submodule("head.fc")
    assert isinstance(fc, nn.Linear)
    assert 0 < fc.weight.std() < 2e-3
    assert sum(p.numel() for p in fc.parameters()) == 32 * 32 * 3 * 10 + 10


@pytest.mark.parametrize(("plain", "residual"), [("plain20", "resnet20"), ("plain56", "resnet56")])
def test_a_plain_net_and_its_residual_twin_start_alike(plain, residual):
    """So that what becomes of them is the shortcuts' doing; and they do not compute the same."""
    nets = []
    for name in (plain, residual):
        torch.manual_seed(3)
        nets.append(NETS[name].build(10).eval())
    ours, theirs = (list(net.parameters()) for net in nets)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert not torch.allclose(nets[0](x), nets[1](x))


def test_a_changed_picture_is_a_piece_of_it_and_half_are_mirrored():
    x = torch.arange(1.0, 65.0).view(1, 1, 8, 8).repeat(200, 1, 1, 1)
    out = depth.changed(x, torch.Generator().manual_seed(0))
    assert out.shape == x.shape
    padded = F.pad(x[0, 0], (depth.CROP,) * 4, value=-depth.MEAN / depth.STD)
    places = [(down, across) for down in range(2 * depth.CROP + 1) for across in range(2 * depth.CROP + 1)]
    pieces = {
        (*place, mirror): p.flip(1) if mirror else p
        for place in places
        for mirror in (False, True)
        for p in [padded[place[0] : place[0] + 8, place[1] : place[1] + 8]]
    }
    found = [next(key for key, piece in pieces.items() if torch.equal(piece, one)) for one in out[:, 0]]
    assert 70 < sum(mirror for *_, mirror in found) < 130
    assert {down for down, _, _ in found} == {across for _, across, _ in found} == set(range(2 * depth.CROP + 1))


def run(net: str, seed: int, error: float) -> dict:
    curve = [[10, 90.0], [20, error]]
    return {"plan": "short", "net": net, "seed": seed, "steps": 20, "train_error": error, "curve": curve}


def test_what_depth_costs_is_paired_by_seed():
    """Differences 10 and 14: mean 12, standard error 2, t of one degree of freedom 12.706."""
    runs = [run("plain20", 0, 20.0), run("plain56", 0, 30.0), run("plain20", 1, 22.0), run("plain56", 1, 36.0)]
    runs += [run("resnet20", 0, 19.0), run("resnet56", 0, 18.5), run("resnet20", 7, 1.0)]
    plain, residual = depth.gaps(runs)
    assert (plain["gap"], plain["mean"], plain["n"]) == ("plain56 − plain20", 12.0, 2)
    assert (plain["low"], plain["high"]) == (pytest.approx(12 - 25.41, abs=0.01), pytest.approx(12 + 25.41, abs=0.01))
    assert (residual["mean"], residual["low"], residual["n"]) == (-0.5, None, 1)


def test_the_drawing_has_a_line_a_net_and_one_a_seed():
    runs = [run(name, seed, 10.0 + seed) for name in ("plain20", "plain56", "resnet20") for seed in (0, 1)]
    drawn = depth.draw(runs)
    assert drawn.count('<polyline class="plain deep"') == 1
    assert drawn.count('<polyline class="plain seed"') == 4
    assert drawn.count('<polyline class="residual deep"') == 0
    assert "plain56, n = 2" in drawn
    assert drawn.startswith('<svg xmlns="http://www.w3.org/2000/svg"')


def test_the_ratio_of_gradients_is_a_geometric_mean_over_seeds():
    same = stem_gradients.ratio([[[1.0, 2.0], [1.0, 8.0]], [[3.0, 12.0]]])
    assert (same["ratio"], same["least"], same["most"], same["n"]) == (4.0, 2.0, 8.0, 2)
    assert same["low"] == same["high"] == 4.0
    assert stem_gradients.ratio([[[2.0, 1.0]]])["low"] is None


@pytest.mark.parametrize("name", stem_gradients.NETS)
def test_the_two_losses_share_one_net_and_the_auxiliary_ones_reach_the_stem(name):
    net = stem_gradients.made(name, "xavier", 0)
    x, y = torch.randn(2, 3, 80, 80, generator=torch.manual_seed(1)), torch.tensor([1, 7])
    last, every = stem_gradients.losses(net, x, y)
    first = net.get_parameter(stem_gradients.FIRST)
    (whole,) = torch.autograd.grad(every - last, first, retain_graph=True)
    assert whole.norm() > 0
    aux = [p for key, p in net.named_parameters() if key.startswith("heads.")]
    assert all(g is None for g in torch.autograd.grad(last, aux, allow_unused=True, retain_graph=True))
    assert stem_gradients.AUXILIARY_WEIGHT == 0.3


def test_the_rate_falls_by_ten_at_half_and_at_three_quarters():
    rates = [depth.FULL.rate_at(step) for step in (1, 32_000, 32_001, 48_000, 48_001, 64_000)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
