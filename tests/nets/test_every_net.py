"""What every net of the catalog promises: the published size, its stages, and that it trains and saves.

Every net is built, run forward and backward at two sizes on the meta device, which checks shapes, sizes and costs and
computes nothing. Nets of up to SMALL_PARAMS parameters, and the smallest of each family, are held to the rest with
numbers; those up to MOST_PARAMS (members.py) are in test_every_large_net.py. Left out of what computes are the nets
that are larger, for memory; and of ONNX (tests/bundle/test_export.py) all that are not small, for time.
"""

from math import prod

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from lineside.errors import SettingsError
from lineside.nets import efficientnet_lite
from lineside.nets.catalog import NETS, find
from lineside.nets.stages import Frozen, freeze_below, outputs, split_at
from tests.nets.members import SMALL

aten = torch.ops.aten
SIDE = {name: max(row.least_px, 32 if row.size_px == 32 else 64) for name, row in NETS.items()}  # quick to test at


class Macs(TorchDispatchMode):
    """Counts multiply-adds by operation, not by module."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is aten.convolution.default:
            self.total += out.numel() * prod(args[1].shape[1:])
        elif func is aten.addmm.default:
            self.total += out.numel() * args[1].shape[-1]
        elif func in (aten.mm.default, aten.bmm.default):
            self.total += out.numel() * args[0].shape[-1]
        elif func.overloadpacket.__name__.startswith("_scaled_dot_product"):  # on a device; on meta it is two bmm
            q, k, v = args[:3]
            self.total += q.numel() * k.shape[-2] + q[..., 0].numel() * v[0, 0].numel()
        return out


def random_net(name: str, classes: int = 5, seed: int = 0) -> nn.Sequential:
    """A net whose batch norms have statistics of their own, so that eval and train differ.

    They are those of a batch, moved a little: with others what is added grows by the block, and over the 333 blocks of
    preact_resnet1001 beyond what a float can hold. A channel that hardly varies over two pictures is not blown up.
    """
    torch.manual_seed(seed)
    net = NETS[name].build(classes).train()
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean of all batches: of this one
    if norms:
        with torch.no_grad():
            net(batch(name))
    for norm in norms:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.momentum = 0.1
        norm.running_mean += 0.1 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
        norm.running_var.clamp_(min=norm.running_var.mean().item())
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.5, 1.5)
    return net


def batch(name: str, n: int = 2, side: int | None = None) -> Tensor:
    side = side or SIDE[name]
    return torch.randn(n, 3, side, side, generator=torch.manual_seed(7))


@pytest.mark.parametrize("name", NETS)
def test_parameters_and_macs_are_the_published_ones(name):
    row = NETS[name]
    with torch.device("meta"):
        net = row.build(row.classes).eval()
        x = torch.empty(1, 3, row.size_px, row.size_px)
    with Macs() as counted, torch.no_grad():
        out = net(x)
    assert out.shape == (1, row.classes)
    assert sum(p.numel() for p in net.parameters()) == row.params
    assert counted.total == row.macs


def test_efficientnet_lite_costs_what_its_table_says():
    """The same 385,187,552 by arithmetic on the paper's table, without building anything."""
    side, cin = 112, efficientnet_lite.STEM
    macs = side**2 * cin * 3 * 9
    for expansion, k, cout, repeats, stride in efficientnet_lite.ROWS:
        for j in range(repeats):
            hidden = cin * expansion
            macs += side**2 * cin * hidden if expansion > 1 else 0
            side //= 1 if j else stride
            macs += side**2 * hidden * (k * k + cout)
            cin = cout
    macs += side**2 * cin * efficientnet_lite.LAST + efficientnet_lite.LAST * 1000
    assert macs == NETS["efficientnet_lite0"].macs


@pytest.mark.parametrize("name", NETS)
def test_every_net_says_where_its_figures_are_from(name):
    row = NETS[name]
    assert row.source
    assert row.counted
    assert row.published is None or row.published.source
    assert name == name.lower().strip()


@pytest.mark.parametrize("name", NETS)
def test_stages_and_gradients_have_their_shapes_at_two_sizes(name):
    """On the meta device. Stride by difference, so that nets without padding are held to it too: 64 pixels more give
    64 / stride more (a stride of 64 or more, or one that leaves a remainder, would show)."""
    row = NETS[name]
    with torch.device("meta"):
        net = row.build(3).train()
        pictures = [torch.empty(2, 3, side, side) for side in (row.size_px, row.size_px + 64)]
    first, second = (outputs(net, x) for x in pictures)
    for stage in row.stages:
        if stage.tokens:
            for x, found in zip(pictures, (first, second), strict=True):
                assert found[stage.name].shape == (2, 1 + (x.shape[-1] // stage.stride) ** 2, stage.channels)
            continue
        assert first[stage.name].shape[1] == stage.channels
        for axis in (2, 3):
            assert (second[stage.name].shape[axis] - first[stage.name].shape[axis]) * stage.stride == 64
    for found in (first, second):
        assert found["head"].shape == (2, 3)
        found["head"].sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in net.parameters())


@pytest.mark.parametrize("name", NETS)
def test_it_is_an_expression_of_stages_from_stem_to_head(name):
    with torch.device("meta"):
        net = NETS[name].build(3)
    children = list(net._modules)
    assert type(net) is nn.Sequential
    assert children == [*(stage.name for stage in NETS[name].stages), "head"]
    assert children[0] == "stem"
    assert all(isinstance(stage, nn.Sequential) for stage in net)
    assert list(net.get_submodule("head")._modules)[-1] == "fc"
    assert isinstance(net.get_submodule("head.fc"), nn.Linear)


@pytest.mark.parametrize("more", [0, 32])
@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_learns_at_two_sizes(name, more):
    net = NETS[name].build(4).train()
    F.cross_entropy(net(batch(name, 2, SIDE[name] + more)), torch.tensor([0, 3])).backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", SMALL)
def test_one_picture_and_a_batch_agree_and_eval_repeats(name):
    agrees_and_repeats(random_net(name).eval(), batch(name, 3))


def agrees_and_repeats(net: nn.Module, x: Tensor) -> None:
    """Of three pictures x, in float64: untrained gates and plain layers a hundred deep are so touchy that float32's
    rounding alone can be a tenth of the answer."""
    net, x = net.double(), x.double()
    with torch.no_grad():
        whole, again = net(x), net(x)
        singles = torch.cat([net(x[i : i + 1]) for i in range(3)])
    assert torch.equal(whole, again)
    torch.testing.assert_close(whole, singles, atol=1e-6 * whole.abs().max().item(), rtol=1e-6)
    assert whole.std() > 0
    net.float()


@pytest.mark.parametrize("name", SMALL)
def test_safetensors_round_trip(name):
    net, other = random_net(name, seed=1).eval(), random_net(name, seed=2).eval()
    x = batch(name)
    with torch.no_grad():
        assert not torch.equal(net(x), other(x))
        other.load_state_dict(load(save(net.state_dict())))
        assert torch.equal(net(x), other(x))


@pytest.mark.parametrize("name", SMALL)
def test_freezing_below_a_stage_really_freezes(name):
    """After a step in train mode, nothing below has changed: parameters, batch norm statistics, output."""
    really_freezes(random_net(name), batch(name))


def really_freezes(net: nn.Sequential, x: Tensor) -> None:
    """Below the first stage behind the stem's next; x: two pictures."""
    stage = (list(net._modules)[2:] or ["head"])[0]  # a linear classifier has nothing between stem and head
    freeze_below(net, stage)
    net.train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    step = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    F.cross_entropy(net(x), torch.tensor([0, 1])).backward()
    step.step()
    below, above = split_at(net, stage)
    learnt = {key for key, _ in net.named_parameters()}
    # a block that stochastic depth left out of this step: no gradient, and zeros do not decay
    left_out = {key for key, p in net.named_parameters() if p.grad is not None and not p.grad.any() and not p.any()}
    for key, value in net.state_dict().items():
        if key not in learnt and not key.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert torch.equal(value, before[key]), key  # fixed by design: the codes of lenet5_1998
            continue
        is_below = key.split(".")[0] in below._modules
        assert torch.equal(value, before[key]) == (is_below or key in left_out), key
    assert not any(m.training for part in below for m in part.modules())
    assert all(p.grad is None for p in below.parameters())
    assert all(m.training for m in above.modules())


@pytest.mark.parametrize("name", SMALL)
def test_cut_in_two_is_the_net(name):
    net, x = random_net(name).eval(), batch(name)
    with torch.no_grad():
        for stage in (*list(net._modules)[1:], "head.fc"):
            below, above = split_at(net, stage)
            torch.testing.assert_close(above(below(x)), net(x), atol=0, rtol=0)
            assert {id(p) for p in (*below.parameters(), *above.parameters())} == {id(p) for p in net.parameters()}
    assert above.state_dict().keys() == {"head.fc.weight", "head.fc.bias"}


def test_freezing_keeps_names_and_can_be_undone():
    net = random_net("resnet20")
    keys, x = list(net.state_dict()), batch("resnet20")
    with torch.no_grad():
        expected = net.eval()(x)
        for stage in ("head", "stage2", "stage3", "stem"):
            freeze_below(net, stage)
            assert list(net.state_dict()) == keys
            assert torch.equal(net.eval()(x), expected)
            assert [isinstance(s, Frozen) for s in net].count(True) == list(net._modules).index(stage)
    assert all(p.requires_grad for p in net.parameters())
    assert all(m.training for m in net.train().modules())


def test_a_frozen_net_is_copied_frozen():
    """EMA and DDP copy nets: the copy must not thaw."""
    import copy

    net = random_net("resnet20")
    freeze_below(net, "stage2")
    other = copy.deepcopy(net).train()
    assert not other.get_submodule("stem.conv.bn").training
    assert other.get_submodule("stage2").training


def test_a_stage_that_is_not_there_is_named():
    net = NETS["resnet18"].build(3)
    with pytest.raises(SettingsError, match=r"stage 'stag4' is not in this net; did you mean stage4\?"):
        freeze_below(net, "stag4")
    with pytest.raises(SettingsError, match=r"stage 'x' is not in this net; stages: stem, stage1, stage2"):
        split_at(net, "x")
    with pytest.raises(SettingsError, match="stage 'fx' is not in this net"):
        split_at(net, "head.fx")


def test_a_net_that_is_not_there_is_named():
    with pytest.raises(SettingsError, match=r"net 'resnet81' is not known; did you mean resnet18\?"):
        find("resnet81")
    with pytest.raises(SettingsError, match=r"net '\?' is not known; nets: linear, lenet5, lenet5_1998, alexnet"):
        find("?")
    assert find("lenet5") is NETS["lenet5"]


def test_lenet_sees_the_luma_of_the_picture():
    """Grey given as RGB passes unchanged, and colour weighs as PIL's convert("L") does."""
    from PIL import Image

    grey = NETS["lenet5"].build(10).get_submodule("stem.grey")
    x = torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(grey(x.expand(1, 3, 8, 8)), x)
    colours = torch.randint(0, 256, (1, 3, 5, 7), generator=torch.manual_seed(0))
    picture = Image.fromarray(colours[0].permute(1, 2, 0).to(torch.uint8).numpy()).convert("L")
    seen = torch.tensor(list(picture.tobytes())).view(1, 1, 5, 7)
    assert (grey(colours.float()) - seen).abs().max() <= 1.0
    assert NETS["lenet5"].build(10).get_submodule("stem.conv").weight.numel() + 6 == 156
