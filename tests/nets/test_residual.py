"""What residual and dense nets are made of: the facts that papers and lectures state, on the nets that we have."""

from itertools import pairwise
from math import sqrt

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lineside.nets import densenet, preact, resnet, resnet_cifar, resnext, senet, wide
from lineside.nets.catalog import NETS
from lineside.nets.parts import Concat, Gate, Residual, squeeze
from tests.nets.randomised import maps, randomise


def silence(block: nn.Module) -> nn.Module:
    """Zero what makes this block's residual: its last batch norm, or its last convolution where that comes last."""
    add = next(m for m in block.modules() if isinstance(m, Residual))
    gates = {id(m) for gate in add.body.modules() if isinstance(gate, Gate) for m in gate.modules()}
    layers = [m for m in add.body.modules() if isinstance(m, nn.BatchNorm2d | nn.Conv2d) and id(m) not in gates]
    for parameter in layers[-1].parameters():
        nn.init.zeros_(parameter)
    return layers[-1]


def macs(module: nn.Module, *shape: int) -> int:
    """Counted by torch, not by our contract's counter: its "flops" are two to a multiply-add."""
    with torch.device("meta"):
        x = torch.empty(*shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.to("meta").eval()(x)
    return counter.get_total_flops() // 2


def main_path(net: nn.Sequential) -> list[nn.Module]:
    """Convolutions and linear layers that a picture goes through one after the other: no shortcuts, no gates."""
    aside = {
        id(m)
        for part in net.modules()
        if isinstance(part, Residual | Gate)
        for m in (part.shortcut if isinstance(part, Residual) else part).modules()
    }
    return [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear) and id(m) not in aside]


LAYERS = {
    **{f"resnet{n}": n for n in (18, 34, 50, 101, 152, 200, 20, 32, 44, 56, 110)},
    **{f"plain{n}": n for n in (20, 32, 44, 56, 110)},
    **{f"preact_resnet{n}": n for n in (18, 34, 50, 101, 152, 200, 164)},
    **{f"seresnet{n}": n for n in (18, 34, 50, 101, 152)},
    **{f"densenet{n}": n for n in (121, 161, 169, 201)},
    "densenet264": 265,  # 2 · (6 + 12 + 64 + 48) + 5: the paper's table 1 is one more than its name
    **{f"resnext{n}_32x4d": n for n in (50, 101)},
    "senet154": 154,
    "wrn_68_3": 68,
    "wide_resnet50_2": 50,
    "resnet34_option_a": 34,
    "resnet152_paper": 152,
}


@pytest.mark.parametrize(("name", "layers"), LAYERS.items())
def test_the_number_in_the_name_is_the_number_of_layers(name, layers):
    with torch.device("meta"):
        assert len(main_path(NETS[name].build(10))) == layers


@pytest.mark.parametrize("name", [n for n in NETS if n.startswith("wrn_") and n != "wrn_68_3"])
def test_wide_nets_count_every_convolution(name):
    """WRN-d-k: d = 6n + 4 are the stem, 6n in units, and the three shortcuts."""
    with torch.device("meta"):
        net = NETS[name].build(10)
    depth, k = map(int, name.split("_")[1:])
    assert sum(isinstance(m, nn.Conv2d) for m in net.modules()) == depth
    assert NETS[name].stages[-1].channels == 64 * k


@pytest.mark.parametrize("name", [n for n in NETS if n.startswith("wrn_") and n != "wrn_68_3"])
def test_wide_nets_have_the_parameters_of_their_table(name):
    """The same integers by arithmetic on table 1, without building anything."""
    depth, k = map(int, name.split("_")[1:])
    total, cin = 3 * 16 * 9, 16
    for width in (16 * k, 32 * k, 64 * k):
        for _ in range((depth - 4) // 6):
            total += 2 * cin + 9 * cin * width + 2 * width + 9 * width * width
            total += cin * width if cin != width else 0
            cin = width
    assert total + 2 * cin + 10 * cin + 10 == NETS[name].params


@pytest.mark.parametrize(
    "block",
    [
        resnet.option_b(resnet.basic(16, 16, 1)[0], 16, 16, 1),
        resnet.option_b(resnet.bottleneck(64, 16, 1)[0], 64, 64, 1),
        resnet.option_b(resnet.bottleneck(256, 64, 1, groups=32, per_group=4)[0], 256, 256, 1),
        resnet.option_b(senet.gated(resnet.basic, 16, 16, 1)[0], 16, 16, 1),
        preact.unit(preact.basic(16, 16, 1)[0], 16, 16, 1, activated=False),
        preact.unit(preact.bottleneck(64, 16, 1)[0], 64, 64, 1, activated=False),
    ],
    ids=["basic", "bottleneck", "resnext", "se", "preact-basic", "preact-bottleneck"],
)
def test_a_residual_of_zero_is_the_identity(block):
    """Of what a ReLU has put out; of anything where nothing stands behind the sum."""
    cin = next(m for m in block.modules() if isinstance(m, nn.Conv2d)).in_channels
    x = maps(2, cin, 5, 5)
    x = x.relu() if "act" in block._modules else x
    randomise(block)
    with torch.no_grad():
        assert not torch.equal(block(x), x)
        silence(block)
        assert torch.equal(block(x), x)
        x.requires_grad_(True)
    block(x).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, (x > 0).float() if "act" in block._modules else torch.ones_like(x))


@pytest.mark.parametrize(
    ("shallow", "deep"), [("resnet20", "resnet56"), ("resnet18", "resnet34"), ("wrn_16_8", "wrn_28_8")]
)
def test_a_deeper_net_copies_a_shallower_one_exactly_when_its_added_residuals_are_zero(shallow, deep):
    row = NETS[shallow]
    if deep == "wrn_28_8":  # not in the catalog: the same row with four units a stage
        deeper = preact.build(preact.PreAct((4, 4, 4), preact.basic, resnet_cifar.stem, first=16, width=128), 10)
    else:
        deeper = NETS[deep].build(10)
    a, b = randomise(row.build(10), 1), randomise(deeper, 2)
    silenced = []
    for stage in row.stages:
        few, many = a.get_submodule(stage.name), b.get_submodule(stage.name)
        if stage.name == "stem":
            many.load_state_dict(few.state_dict())
            continue
        units = [k for k, m in few.named_children() if "Residual" in repr(m)]
        more = [k for k, m in many.named_children() if "Residual" in repr(m)]
        for key in units:
            many.get_submodule(key).load_state_dict(few.get_submodule(key).state_dict())
        if len(few) > len(units):  # the activation behind the last unit
            many[-1].load_state_dict(few[-1].state_dict())
        silenced += [silence(many.get_submodule(key)) for key in more[len(units) :]]
    b.get_submodule("head").load_state_dict(a.get_submodule("head").state_dict())
    x = maps(2, 3, 32, 32)
    with torch.no_grad():
        expected = a(x)
        assert torch.equal(b(x), expected)
        for layer in silenced:
            nn.init.ones_(layer.weight)
            assert not torch.allclose(b(x), expected)
            nn.init.zeros_(layer.weight)
        assert torch.equal(b(x), expected)


def test_a_deeper_plain_net_with_zeros_copies_nothing():
    """Without shortcuts, a block of zeros forgets the picture."""
    net = randomise(NETS["plain32"].build(10))
    x = maps(3, 3, 32, 32)
    with torch.no_grad():
        assert net(x).std(0).max() > 0
        norm = net.get_submodule("stage2.4.body.c2.bn")
        nn.init.zeros_(norm.weight)
        nn.init.zeros_(norm.bias)
        assert net(x).std(0).max() == 0


@pytest.mark.parametrize("n", [20, 32, 44, 56, 110])
def test_plain_twins_have_the_same_tensors(n):
    """Option A has nothing to learn, so taking the shortcuts away takes no parameter away."""
    with torch.device("meta"):
        residual, plain = NETS[f"resnet{n}"].build(10), NETS[f"plain{n}"].build(10)
    assert [t.shape for t in residual.state_dict().values()] == [t.shape for t in plain.state_dict().values()]
    assert sum(isinstance(m, Residual) for m in residual.modules()) == (n - 2) // 2
    assert not any(isinstance(m, Residual) for m in plain.modules())
    assert not [key for key in residual.state_dict() if "shortcut" in key]


def test_option_a_is_every_second_pixel_and_zeros():
    shortcut = NETS["resnet20"].build(10).get_submodule("stage2.0.add.shortcut")
    x = maps(2, 16, 8, 8)
    assert torch.equal(shortcut(x)[:, :16], x[:, :, ::2, ::2])
    assert shortcut(x).shape == (2, 32, 4, 4)
    assert not shortcut(x)[:, 16:].any()


def test_option_b_is_what_makes_34_layers_3_7_g_macs():
    """The paper's table 1 says 1.8 and 3.6; three 1x1 convolutions of 6,422,528 MACs each are between A and B."""
    for name, a, b in (("resnet18", "1.8", "1.8"), ("resnet34", "3.6", "3.7")):
        row, other = NETS[name], NETS[f"{name}_option_a"]
        assert row.macs - other.macs == 28**2 * 64 * 128 + 14**2 * 128 * 256 + 7**2 * 256 * 512 == 3 * 6_422_528
        assert row.params - other.params == sum(c * 2 * c + 2 * 2 * c for c in (64, 128, 256)) == 173_824
        assert (f"{other.macs / 1e9:.1f}", f"{row.macs / 1e9:.1f}") == (a, b)


@pytest.mark.parametrize(("name", "printed"), [("resnet50", 3.8), ("resnet101", 7.6), ("resnet152", 11.3)])
def test_the_paper_strides_on_the_first_1x1(name, printed):
    """Same tensors; three first 1x1 on a quarter of the pixels, and three 3x3 likewise."""
    ours, paper = NETS[name], NETS[f"{name}_paper"]
    with torch.device("meta"):
        built, other = ours.build(10), paper.build(10)
    assert {k: v.shape for k, v in built.state_dict().items()} == {k: v.shape for k, v in other.state_dict().items()}
    saved = sum(3 * side**2 * (4 * c // 2) * c for c, side in ((128, 28), (256, 14), (512, 7)))
    assert ours.macs - paper.macs == saved == 231_211_008
    assert paper.macs / 1e9 == pytest.approx(printed, abs=0.06)
    for net, place in ((built, "body.c2"), (other, "body.c1")):
        strided = [key for key, m in net.named_modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
        assert strided[1:] == [f"stage{i}.0.add.{part}.conv" for i in (2, 3, 4) for part in (place, "shortcut")]


def test_a_bottleneck_of_four_times_the_channels_costs_17_where_a_basic_block_costs_18():
    """In units of H·W·C²: 4 + 9 + 4 and 9 + 9 (the deck's slide; 600K, 16K, 36K, 16K, 70K are its roundings)."""
    unit = 14 * 14 * 64**2
    assert macs(resnet.basic(64, 64, 1)[0], 1, 64, 14, 14) == 18 * unit
    assert macs(resnet.bottleneck(256, 64, 1)[0], 1, 256, 14, 14) == 17 * unit
    weights = [m.weight.numel() for m in resnet.bottleneck(256, 64, 1)[0].modules() if isinstance(m, nn.Conv2d)]
    assert weights == [16_384, 36_864, 16_384]
    assert sum(weights) == 69_632
    assert nn.Conv2d(256, 256, 3, bias=False).weight.numel() == 589_824


def weights_of(groups: int, per_group: int) -> int:
    body, _ = resnet.bottleneck(256, 64, 1, groups, per_group)
    return sum(m.weight.numel() for m in body.modules() if isinstance(m, nn.Conv2d))


def test_resnext_costs_about_and_not_exactly_what_the_bottleneck_does():
    """G (8 c C + 9 c²) = 17 C², solved for c at C = 64; the nets round it."""

    def solved(groups: int, c: int = 64) -> float:
        return (-8 * groups * c + sqrt((8 * groups * c) ** 2 + 4 * 9 * groups * 17 * c * c)) / (18 * groups)

    assert solved(1) == pytest.approx(64)
    assert [round(solved(g), 2) for g in (4, 32)] == [23.93, 3.97]
    for groups, c in ((4, 23), (4, 24), (32, 3), (32, 4)):
        assert weights_of(groups, c) == groups * (8 * 64 * c + 9 * c * c)
    assert [weights_of(g, c) for g, c in ((1, 64), (2, 40), (4, 24), (8, 14), (32, 4))] == [
        69_632,
        69_760,
        69_888,
        71_456,
        70_144,
    ]
    assert [round(100 * (weights_of(g, c) / 69_632 - 1), 2) for g, c in ((4, 24), (32, 4))] == [0.37, 0.74]


def test_resnext_groups_and_widths_are_those_of_its_name():
    for name, spec in resnext.FAMILY.items():
        groups, width = map(int, name.split("_")[1].removesuffix("d").split("x"))
        with torch.device("meta"):
            net = resnet.build(spec)
        for stage in range(4):
            conv = net.get_submodule(f"stage{stage + 1}.0.add.body.c2.conv")
            assert isinstance(conv, nn.Conv2d)
            assert (conv.groups, conv.out_channels) == (groups, groups * width << stage)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_grouped_convolution_is_that_many_convolutions_side_by_side(stride):
    """And has Cout · (Cin / G) · K² weights and Cout · (Cin / G) · K² · H' · W' MACs: both a G-th."""
    groups, cin, cout, k = 4, 8, 12, 3
    whole = nn.Conv2d(cin, cout, k, stride, 1, groups=groups, bias=False)
    x = maps(2, cin, 9, 9)
    parts = zip(x.chunk(groups, 1), whole.weight.chunk(groups, 0), strict=True)
    apart = torch.cat([F.conv2d(a, w, None, stride, 1) for a, w in parts], 1)
    torch.testing.assert_close(whole(x), apart)
    assert whole.weight.numel() == groups * (cout // groups) * (cin // groups) * k * k
    side = (9 + 2 - k) // stride + 1
    dense = nn.Conv2d(cin, cout, k, stride, 1, bias=False)
    assert (
        macs(whole, 1, cin, 9, 9) == cout * cin * k * k * side * side // groups == macs(dense, 1, cin, 9, 9) // groups
    )


def test_convolution_layers_correlate():
    """h[m, n] = Σ g[k, l] f[m + k, n + l]; a convolution has f[m − k, n − l], and differs unless g is symmetric."""
    f, g = maps(6, 6, seed=3), maps(3, 3, seed=4)

    def layer(kernel: Tensor) -> Tensor:
        conv = nn.Conv2d(1, 1, 3, bias=False)
        conv.weight.data = kernel.view(1, 1, 3, 3)
        return conv(f.view(1, 1, 6, 6))[0, 0].detach()

    def correlation(kernel: Tensor) -> Tensor:
        return torch.stack(
            [torch.stack([(kernel * f[m : m + 3, n : n + 3]).sum() for n in range(4)]) for m in range(4)]
        )

    def convolution(kernel: Tensor) -> Tensor:  # at the same places: centre (m + 1, n + 1)
        sums = torch.zeros(4, 4)
        for m in range(4):
            for n in range(4):
                sums[m, n] = sum(kernel[k, j] * f[m + 2 - k, n + 2 - j] for k in range(3) for j in range(3))
        return sums

    torch.testing.assert_close(layer(g), correlation(g))
    assert not torch.allclose(layer(g), convolution(g), atol=1e-2)
    torch.testing.assert_close(layer(g.flip(0, 1)), convolution(g))
    symmetric = g + g.flip(0, 1)
    torch.testing.assert_close(layer(symmetric), convolution(symmetric))


def test_in_a_pre_activation_net_what_comes_out_is_what_went_in_plus_a_sum():
    """x_L = x_l + Σ F(x_i), within a stage; nothing clips it, so it has negative values."""
    net = randomise(NETS["preact_resnet164"].build(10))
    stage = net.get_submodule("stage3")
    units = [unit for unit in stage if isinstance(unit, Residual)]
    assert len(units) == 17
    with torch.no_grad():
        x = first = maps(1, 256, 4, 4)
        added = []
        for unit in units:
            added.append(unit.body(x))
            x = unit(x)
    torch.testing.assert_close(x, first + torch.stack(added).sum(0), rtol=1e-4, atol=1e-4 * x.abs().max().item())
    assert (x < 0).any()


def test_a_pre_activation_unit_that_changes_shape_shares_its_activation():
    """The shortcut is of what is activated, and the very first unit takes the stem's."""
    net = NETS["preact_resnet18"].build(10)
    first, changes = net.get_submodule("stage1.0"), net.get_submodule("stage2.0")
    assert isinstance(first, Residual)
    assert isinstance(first.body.get_submodule("c1"), nn.Conv2d)
    assert list(net.get_submodule("stem.conv")._modules) == ["conv", "bn", "act"]
    assert list(changes._modules) == ["pre", "add"]
    x = maps(2, 64, 8, 8)
    with torch.no_grad():
        activated = changes.get_submodule("pre")(x)
        shortcut = changes.get_submodule("add.shortcut")(activated)
        silence(changes)
        assert torch.equal(changes(x), shortcut)
    assert (activated >= 0).all()
    assert list(net.get_submodule("stage4")[-1]._modules) == ["bn", "act"]


@pytest.mark.parametrize("channels", [64, 256])
def test_gates_multiply_each_channel_by_a_factor_between_0_and_1(channels):
    gate = squeeze(channels, channels // 16)
    x = maps(3, channels, 6, 6)
    with torch.no_grad():
        factors = gate.gate(x)
        assert factors.shape == (3, channels, 1, 1)
        assert ((factors > 0) & (factors < 1)).all()
        assert torch.equal(gate(x), x * factors)
        assert factors.std(0).max() > 0  # by picture, not once for all
        shuffled = x.flatten(2)[:, :, torch.randperm(36)].view_as(x)
        torch.testing.assert_close(gate.gate(shuffled), factors)  # by the averages alone
        for parameter in gate.gate.get_submodule("expand").parameters():
            nn.init.zeros_(parameter)
        assert torch.equal(gate(x), x / 2)


@pytest.mark.parametrize(("depth", "added"), [(50, 2_530_992), (101, 4_777_712), (152, 6_629_040)])
def test_gates_add_two_matrices_of_c_by_c_over_16_to_each_block(depth, added):
    row, gated = NETS[f"resnet{depth}"], NETS[f"seresnet{depth}"]
    spec = resnet.FAMILY[f"resnet{depth}"]
    blocks = [(d, 256 << i) for i, d in enumerate(spec.depths)]
    assert gated.params - row.params == sum(d * (2 * c * c // 16 + c // 16 + c) for d, c in blocks) == added
    assert gated.macs - row.macs == sum(d * 2 * c * c // 16 for d, c in blocks)


def test_senet154_is_a_resnext152_of_64_groups_and_more():
    with torch.device("meta"):
        net = NETS["senet154"].build(1000)
    assert [len(net.get_submodule(f"stage{i}")) for i in (1, 2, 3, 4)] == [3, 8, 36, 3]
    convs = {m for m in net.modules() if isinstance(m, nn.Conv2d) and m.groups > 1}
    assert {m.groups for m in convs} == {64}
    assert sorted({m.out_channels // m.groups for m in convs}) == [4, 8, 16, 32]
    assert sum(isinstance(m, Gate) for m in net.modules()) == 50
    kernels = [net.get_submodule(f"stage{i}.0.add.shortcut.conv").kernel_size for i in (1, 2, 3, 4)]
    assert kernels == [(1, 1), (3, 3), (3, 3), (3, 3)]


@pytest.mark.parametrize("name", densenet.FAMILY)
def test_dense_blocks_have_l_times_l_plus_1_over_2_connections(name):
    """Counted by what each layer's first batch norm sees: the block's input and the layers before it."""
    spec = densenet.FAMILY[name]
    with torch.device("meta"):
        net = densenet.build(spec)
    for i, depth in enumerate(spec.depths, 1):
        stage = net.get_submodule(f"stage{i}")
        layers = [m for m in stage.modules() if isinstance(m, Concat)]
        seen = [layer.branches.get_submodule("new.c1.bn").num_features for layer in layers]
        assert all(b - a == spec.growth for a, b in pairwise(seen))
        connections = sum((features - seen[0]) // spec.growth + 1 for features in seen)
        assert connections == depth * (depth + 1) // 2
        assert seen[0] + depth * spec.growth == NETS[name].stages[i].channels


def test_a_dense_layer_hands_on_what_it_got_and_sees_all_of_it():
    net = randomise(NETS["densenet121"].build(10))
    block = [m for m in net.get_submodule("stage1") if isinstance(m, Concat)]
    x = maps(2, 64, 6, 6).requires_grad_(True)
    y = x
    for j, layer in enumerate(block):
        before, y = y, layer(y)
        assert torch.equal(y[:, : 64 + 32 * j], before)
        before.retain_grad()
        y[:, 64 + 32 * j :].sum().backward(retain_graph=True)
        assert before.grad is not None
        sources = before.grad.abs().amax((0, 2, 3)).split([64, *[32] * j])
        assert all(source.max() > 0 for source in sources)
    assert y.shape[1] == 256


def test_what_is_a_guess_says_so():
    assert "guess" in NETS["wrn_68_3"].source
    assert wide.__doc__ is not None
    assert "guess" in wide.__doc__
