"""Folding changes the number of layers and nothing else."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lineside.nets.catalog import NETS
from lineside.nets.depthwise import Depthwise
from lineside.nets.fold import Scale, fold_batch_norm, without_batch_norm
from lineside.nets.parts import conv_bn, seq
from lineside.nets.stages import freeze_below, outputs
from tests.nets.randomised import maps, randomise

LEFT = {  # batch norms that stay
    "resnet20": 0,
    "plain20": 0,
    "resnet18": 0,
    "seresnet18": 0,
    "resnext50_32x4d": 0,
    "mobilenet_v2": 0,
    "efficientnet_lite0": 0,
    "lenet5": 0,
    "preact_resnet18": 7 + 1,  # before every unit but the first, which has the stem's; behind the last
    "preact_resnet164": 53 + 1,
    "densenet121": 58 + 3 + 1,  # before every layer and transition; behind the last
}


@pytest.mark.parametrize(("name", "left"), LEFT.items())
def test_a_folded_net_puts_out_the_same_at_every_stage(name, left):
    net = randomise(NETS[name].build(10)).double()  # in float32 some processors add up 164 layers 1e-5 apart
    before = {key: value.clone() for key, value in net.state_dict().items()}
    folded = fold_batch_norm(net)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in folded.modules()) == left
    assert not folded.training
    side = 32 if NETS[name].size_px == 32 else 64
    x = maps(2, 3, side, side).double()
    with torch.no_grad():
        ours, theirs = outputs(folded, x), outputs(net, x)
    assert ours.keys() == theirs.keys()
    for stage, expected in theirs.items():
        torch.testing.assert_close(ours[stage], expected, rtol=1e-9, atol=1e-11 * expected.abs().max().item())
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("name", ["resnet20", "preact_resnet18", "densenet121"])
def test_what_cannot_fold_is_a_line_for_each_channel(name):
    net = randomise(NETS[name].build(10))
    plain = without_batch_norm(net)
    assert sum(isinstance(m, Scale) for m in plain.modules()) == LEFT[name]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in plain.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    x = maps(2, 3, 32, 32)
    with torch.no_grad():
        ours, theirs = plain(x), net(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * theirs.abs().max().item())


def test_in_float64_nothing_is_lost():
    net = randomise(NETS["resnet20"].build(10)).double()
    x = maps(2, 3, 32, 32).double()
    with torch.no_grad():
        torch.testing.assert_close(fold_batch_norm(net)(x), net(x), rtol=1e-12, atol=1e-12)


def test_folding_takes_the_statistics_of_eval_and_leaves_a_net_that_trains_alone():
    net = randomise(NETS["resnet20"].build(10)).train()
    freeze_below(net, "stage2")
    folded = fold_batch_norm(net)
    assert net.training
    assert net.get_submodule("stage2").training
    x = maps(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(folded(x), net.eval()(x), rtol=1e-4, atol=1e-4)


def test_biases_strides_groups_and_bare_batch_norms_fold():
    body = seq(
        a=nn.Conv2d(3, 8, 3, 2, 1),
        b=nn.BatchNorm2d(8, affine=False),
        c=Depthwise(8, 5, 1, 2),
        d=nn.BatchNorm2d(8),
        e=nn.Conv2d(8, 4, 3, 1, 2, 2, 4, padding_mode="reflect"),
        f=nn.BatchNorm2d(4),
    )
    for module in body:
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    net = seq(stem=body).eval()
    folded, alone = fold_batch_norm(net), fold_batch_norm(body)
    assert list(folded.get_submodule("stem")._modules) == list(alone._modules) == ["a", "c", "e"]
    x = maps(2, 3, 17, 17)
    torch.testing.assert_close(folded(x), net(x), rtol=1e-4, atol=1e-5)
    assert torch.equal(alone(x), folded(x))


def test_what_has_no_statistics_or_two_places_stays():
    shared = nn.Conv2d(4, 4, 1)
    batch = seq(conv=nn.Conv2d(3, 4, 1), bn=nn.BatchNorm2d(4, track_running_stats=False))
    net = seq(stem=batch, stage1=seq(a=shared, bn=nn.BatchNorm2d(4), b=shared)).eval()
    folded = fold_batch_norm(net)
    x = maps(2, 3, 5, 5)
    assert torch.equal(folded(x), net(x))
    assert sum(isinstance(m, nn.BatchNorm2d) for m in folded.modules()) == 2


def test_a_batch_norm_before_a_padded_convolution_has_no_equal_convolution():
    """Inside it has; at the border it has not, because the border is 0 and not what the batch norm makes of 0."""
    bn, conv = nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=1, bias=False)
    randomise(bn)
    assert bn.running_mean is not None
    assert bn.running_var is not None
    scale = bn.weight / (bn.running_var + bn.eps).sqrt()
    shift = bn.bias - bn.running_mean * scale
    x = maps(1, 3, 7, 7)
    absorbed = F.conv2d(x, conv.weight * scale.view(1, -1, 1, 1), (conv.weight.sum((2, 3)) * shift).sum(1), padding=1)
    right = conv(bn(x))
    torch.testing.assert_close(absorbed[..., 1:-1, 1:-1], right[..., 1:-1, 1:-1])
    assert not torch.allclose(absorbed, right, atol=1e-3)
    net = seq(stem=seq(bn=bn, conv=conv), stage1=seq(conv=conv_bn(4, 4, 3))).eval()
    folded = fold_batch_norm(net)
    assert list(folded.get_submodule("stem")._modules) == ["bn", "conv"]
    assert list(folded.get_submodule("stage1.conv")._modules) == ["conv", "act"]
