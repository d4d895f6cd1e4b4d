"""What every net for signals promises: the contract of test_every_net, along one axis."""

import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.nn import functional as F

from lineside.errors import SettingsError
from lineside.nets import signals
from lineside.nets.catalog import NETS, SIGNALS, find
from lineside.nets.stages import freeze_below, outputs, split_at
from tests.nets.test_every_net import Macs


def random_net(name: str, channels: int = 2, classes: int = 4, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    net = SIGNALS[name].build(channels, classes)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return net


@pytest.mark.parametrize("name", SIGNALS)
def test_figures_stages_and_names(name):
    row = SIGNALS[name]
    with torch.device("meta"):
        net = row.build(row.channels, row.classes).eval()
        x = torch.empty(1, row.channels, row.samples)
    with Macs() as counted, torch.no_grad():
        found = outputs(net, x)
    assert sum(p.numel() for p in net.parameters()) == row.params
    assert counted.total == row.macs
    assert list(found) == [*(stage.name for stage in row.stages), "head"]
    assert next(iter(found)) == "stem"
    for stage in row.stages:
        assert found[stage.name].shape == (1, stage.channels, row.samples // stage.stride)
    assert found["head"].shape == (1, row.classes)
    assert isinstance(net.get_submodule("head.fc"), nn.Linear)
    assert row.source
    assert row.counted
    assert name not in NETS


@pytest.mark.parametrize("samples", [1, 2, 33, 64])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", SIGNALS)
def test_every_parameter_learns_at_any_length(name, channels, samples):
    net = SIGNALS[name].build(channels, 4).train()
    x = torch.randn(3, channels, samples)
    F.cross_entropy(net(x), torch.tensor([0, 3, 1])).backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", SIGNALS)
def test_one_and_a_batch_agree_it_saves_freezes_and_is_cut(name):
    net, other = random_net(name, seed=1).eval(), random_net(name, seed=2).eval()
    x = torch.randn(3, 2, 50)
    with torch.no_grad():
        whole = net(x)
        assert torch.equal(whole, net(x))
        torch.testing.assert_close(whole, torch.cat([net(x[i : i + 1]) for i in range(3)]), atol=1e-5, rtol=1e-4)
        assert not torch.equal(whole, other(x))
        other.load_state_dict(load(save(net.state_dict())))
        assert torch.equal(whole, other(x))
        below, above = split_at(net, "stage1")
        assert torch.equal(above(below(x)), whole)
    freeze_below(net, "stage1")
    before = {key: value.clone() for key, value in net.train().state_dict().items()}
    step = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    F.cross_entropy(net(x), torch.tensor([0, 1, 2])).backward()
    step.step()
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]) == key.startswith("stem."), key


@pytest.mark.parametrize("k", [*signals.RESNET_KERNELS, *signals.INCEPTION_KERNELS, 1])
def test_an_even_kernel_pads_one_sample_more_behind(k):
    layer = signals.same(1, 1, k, bias=False)
    conv = layer.get_submodule("conv")
    assert isinstance(conv, nn.Conv1d)
    nn.init.ones_(conv.weight)
    x = torch.zeros(1, 1, 101)
    x[..., 50] = 1
    reached = layer(x)[0, 0].nonzero().flatten()
    assert (reached.min(), reached.max()) == (50 - k // 2, 50 + (k - 1) // 2)


def test_a_command_of_pictures_refuses_them_with_a_sentence():
    with pytest.raises(
        SettingsError, match=r"net 'resnet_1d' reads signals \(channels, samples\), not pictures; name a"
    ):
        find("resnet_1d")
