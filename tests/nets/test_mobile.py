"""The mobile, scaled and searched nets are those of their papers, and do what the lectures say of them.

Tables are written here a second time, from the papers, and not read from the rows.
"""

from math import prod

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from lineside.nets import (
    efficientnet,
    efficientnet_lite,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    nasnet,
    shufflenet_v1,
    shufflenet_v2,
)
from lineside.nets.cache import at_hand
from lineside.nets.catalog import NETS
from lineside.nets.depthwise import Depthwise
from lineside.nets.drop_path import DropPath
from lineside.nets.parts import Gate, SamePad, Shuffle, Split, by_eight, squeeze
from lineside.nets.stages import outputs

FAMILIES = (mobilenet_v1, mobilenet_v2, mobilenet_v3, shufflenet_v1, shufflenet_v2)
ALL = [name for family in (*FAMILIES, efficientnet, efficientnet_lite, nasnet) for name in family.NETS]


class Convolutions(TorchDispatchMode):
    """Adds up the multiply-adds of convolutions and nothing else."""

    def __init__(self):
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            self.macs += out.numel() * prod(args[1].shape[1:])
        return out


def macs(net: nn.Module, x: Tensor) -> int:
    with Convolutions() as counted, torch.no_grad():
        net.eval()(x)
    return counted.macs


def on_meta(name: str, classes: int = 1000) -> nn.Sequential:
    with torch.device("meta"):
        return NETS[name].build(classes)


# depthwise separable convolutions


@pytest.mark.parametrize(
    ("channels", "times"), [(32, 7.02), (64, 7.89), (128, 8.41), (256, 8.69), (512, 8.84), (1024, 8.92)]
)
def test_taking_a_3x3_apart_saves_9c_over_9_plus_c(channels, times):
    x = torch.empty(1, channels, 14, 14, device="meta")
    with torch.device("meta"):
        whole, apart = nn.Conv2d(channels, channels, 3, 1, 1, bias=False), mobilenet_v1.block(channels, channels, 1)
    assert macs(whole, x) == 9 * channels**2 * 14 * 14
    assert macs(apart, x) == (9 * channels + channels**2) * 14 * 14
    assert macs(whole, x) / macs(apart, x) == 9 * channels / (9 + channels)
    assert round(macs(whole, x) / macs(apart, x), 2) == times


def test_a_1x1_convolution_is_a_linear_layer_per_position():
    block = mobilenet_v1.block(12, 7, 1)
    conv = block.get_submodule("point.conv")
    assert isinstance(conv, nn.Conv2d)
    x = torch.randn(2, 12, 5, 6, generator=torch.manual_seed(0))
    weight = conv.weight.detach()[:, :, 0, 0]
    with torch.no_grad():
        torch.testing.assert_close(conv(x).permute(0, 2, 3, 1), F.linear(x.permute(0, 2, 3, 1), weight))


@pytest.mark.parametrize("name", ALL)
def test_every_depthwise_layer_is_the_one_that_learns_quickly_in_bfloat16(name):
    deep = [m for m in on_meta(name).modules() if isinstance(m, nn.Conv2d) and m.groups == m.in_channels > 1]
    assert deep
    for conv in deep:
        assert isinstance(conv, Depthwise)


@pytest.mark.parametrize(
    ("name", "millions"),  # MobileNet, table 6; MobileNetV2, table 4; ShuffleNet, table 5; NASNet, table 3
    [
        *[("mobilenetv1_100", 569), ("mobilenetv1_075", 325), ("mobilenetv1_050", 149), ("mobilenetv1_025", 41)],
        *[("mobilenet_v2", 300), ("shufflenet_v1_x1_5_g3", 292), ("shufflenet_v1_x2_0_g3", 524)],
        *[("shufflenet_v1_x0_5_g3", 38), ("nasnetamobile", 564)],
    ],
)
def test_multiply_adds_are_those_that_the_papers_print(name, millions):
    assert abs(NETS[name].macs / 1e6 - millions) < 1


def test_mobilenet_keeps_most_of_its_multiply_adds_in_1x1_convolutions():
    """Table 2: 94.86 % of the multiply-adds and 74.59 % of the parameters are in 1x1 layers."""
    net, row, sides = on_meta("mobilenetv1_100"), NETS["mobilenetv1_100"], {}
    for conv in (m for m in net.modules() if isinstance(m, nn.Conv2d)):
        conv.register_forward_hook(lambda m, _, out: sides.update({m: out.shape[-1]}))
    with torch.no_grad():
        net.eval()(torch.empty(1, 3, 224, 224, device="meta"))
    points = [m for m in sides if m.kernel_size == (1, 1)]
    assert round(100 * sum(m.weight.numel() * sides[m] ** 2 for m in points) / row.macs, 2) == 94.86
    weights = sum(p.numel() for p in net.parameters() if p.dim() > 1)  # no batch norms, no bias
    assert round(100 * sum(m.weight.numel() for m in points) / weights, 2) == 74.59


# inverted residuals


def inverted(net: nn.Sequential) -> list[tuple[str, nn.Sequential, bool]]:
    """(path, body, has a shortcut) of every block with a depthwise layer below a narrow one."""
    bodies = {path: m for path, m in net.named_modules() if {"deep", "narrow"} <= set(m._modules)}
    found = []
    for path, body in bodies.items():
        assert isinstance(body, nn.Sequential)
        found.append((path, body, path.endswith(".body")))
    return found


@pytest.mark.parametrize(
    ("name", "blocks", "shortcuts"),
    [
        *[("mobilenet_v2", 17, 10), ("mobilenet_v3_large", 15, 10), ("mobilenet_v3_small", 11, 6)],
        *[("efficientnet_b0", 16, 9), ("efficientnet_lite0", 16, 9), ("efficientnet_b7", 55, 48)],
    ],
)
def test_inverted_residuals_are_wide_inside_and_narrow_where_they_add(name, blocks, shortcuts):
    found = inverted(on_meta(name))
    assert len(found) == blocks
    assert sum(add for *_, add in found) == shortcuts
    for path, body, add in found:
        deep, narrow = body.get_submodule("deep.conv"), body.get_submodule("narrow")
        assert isinstance(deep, Depthwise)
        assert [type(m) for m in narrow] == [nn.Conv2d, nn.BatchNorm2d], path  # linear: nothing clips what is added
        cout = narrow[0].out_channels
        cin = body.get_submodule("wide.conv").in_channels if "wide" in body._modules else deep.in_channels
        assert deep.in_channels >= cin
        assert add == (deep.stride == (1, 1) and cin == cout), path
        assert deep.in_channels > cout or "wide" not in body._modules, path  # the first blocks do not expand


def test_mobilenet_v2_expands_six_times_but_in_its_first_block():
    (_, first, _), *rest = inverted(on_meta("mobilenet_v2"))
    assert "wide" not in first._modules
    for _, body, _ in rest:
        wide = body.get_submodule("wide.conv")
        assert wide.out_channels == 6 * wide.in_channels


@pytest.mark.parametrize(
    ("name", "gates"),  # tables 1 and 2: the rows with SE, by what they squeeze to
    [
        ("mobilenet_v3_large", [(72, 24), (120, 32), (120, 32), (480, 120), (672, 168), (672, 168), *[(960, 240)] * 2]),
        (
            "mobilenet_v3_small",
            [(16, 8), (96, 24), (240, 64), (240, 64), (120, 32), (144, 40), (288, 72), (576, 144), (576, 144)],
        ),
    ],
)
def test_mobilenet_v3_gates_a_quarter_of_what_it_expands(name, gates):
    found = [m.gate for m in on_meta(name).modules() if isinstance(m, Gate)]
    assert [(g.reduce.in_channels, g.reduce.out_channels) for g in found] == gates
    assert all(isinstance(list(g)[-1], nn.Hardsigmoid) for g in found)


def test_hard_swish_is_x_times_a_clipped_line():
    x = torch.linspace(-5, 5, 101)
    torch.testing.assert_close(mobilenet_v3.HS()(x), x * (x + 3).clamp(0, 6) / 6)


def test_a_gate_weighs_whole_channels_between_0_and_1():
    torch.manual_seed(0)
    gate, x = squeeze(6, 2), torch.randn(3, 6, 4, 5)
    with torch.no_grad():
        share = gate(x) / x
        by_hand = gate.gate.expand(F.relu(gate.gate.reduce(x.mean((2, 3), keepdim=True)))).sigmoid()
    torch.testing.assert_close(share, by_hand.expand_as(x))
    assert 0 < share.min() < share.max() < 1


@pytest.mark.parametrize(
    ("asked", "given"), [(1, 8), (11.2, 16), (12, 16), (16, 16), (20, 24), (44.8, 48), (1792.0, 1792), (35.2, 32)]
)
def test_widths_are_multiples_of_eight_never_a_tenth_too_narrow(asked, given):
    assert by_eight(asked) == given
    assert given >= 0.9 * asked


# channel shuffle and split


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 8])
def test_a_shuffle_is_a_permutation_that_the_other_factor_undoes(groups):
    channels = 24
    x = torch.arange(channels, dtype=torch.float32).view(1, channels, 1, 1).expand(2, channels, 3, 2)
    mixed = Shuffle(groups)(x)
    order = mixed[0, :, 0, 0].long()
    assert sorted(order.tolist()) == list(range(channels))
    assert torch.equal(order, torch.arange(channels).view(groups, channels // groups).T.reshape(-1))
    assert torch.equal(Shuffle(channels // groups)(mixed), x)
    assert (order.tolist() == list(range(channels))) == (groups == 1)


@pytest.mark.parametrize("shuffled", [True, False])
def test_only_the_shuffle_lets_groups_see_each_other(shuffled):
    """Two grouped 1x1 layers: with the shuffle between them an output depends on every group, without on its own."""
    torch.manual_seed(0)
    first, second = (nn.Conv2d(12, 12, 1, groups=3, bias=False) for _ in range(2))
    x = torch.randn(1, 12, 1, 1, requires_grad=True)
    y = second(Shuffle(3)(first(x)) if shuffled else first(x))
    y[0, 0].sum().backward()
    assert x.grad is not None
    groups = (x.grad.view(3, 4) != 0).all(1).tolist()
    assert groups == ([True] * 3 if shuffled else [True, False, False])


def test_shufflenet_costs_the_same_for_every_number_of_groups():
    """Table 1's last row, in millions without the classifier."""
    paper = {1: 143, 2: 140, 3: 137, 4: 133, 8: 137}
    widest = {1: 576, 2: 800, 3: 960, 4: 1088, 8: 1536}
    for groups, millions in paper.items():
        name = f"shufflenet_v1_x1_0_g{groups}"
        net = on_meta(name)
        assert NETS[name].stages[-1].channels == widest[groups]
        assert NETS[name].macs - macs(net, torch.empty(1, 3, 224, 224, device="meta")) == 1000 * widest[groups]
        assert round((NETS[name].macs - 1000 * widest[groups]) / 1e6) == millions
        grouped = {m.groups for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)}
        assert grouped == {1, groups}  # 1: the very first


def test_shufflenet_v2_lets_half_of_the_channels_pass():
    net = NETS["shufflenet_v2_x0_5"].build(3).eval()
    unit = net.get_submodule("stage1.1")
    x = torch.randn(1, 48, 8, 8, generator=torch.manual_seed(0))
    with torch.no_grad():
        y = unit(x)
    assert torch.equal(y[:, 0::2], x[:, :24])  # after the shuffle they are every second one
    assert not torch.equal(y[:, 1::2], x[:, 24:])
    assert sum(isinstance(m, Split) for m in net.modules()) == 3 + 7 + 3


# compound scaling


@pytest.mark.parametrize(
    ("name", "channels", "repeats"),
    [
        ("efficientnet_b0", (32, 16, 24, 40, 80, 112, 192, 320, 1280), (1, 2, 2, 3, 3, 4, 1)),
        ("efficientnet_b1", (32, 16, 24, 40, 80, 112, 192, 320, 1280), (2, 3, 3, 4, 4, 5, 2)),
        ("efficientnet_b2", (32, 16, 24, 48, 88, 120, 208, 352, 1408), (2, 3, 3, 4, 4, 5, 2)),
        ("efficientnet_b3", (40, 24, 32, 48, 96, 136, 232, 384, 1536), (2, 3, 3, 5, 5, 6, 2)),
        ("efficientnet_b4", (48, 24, 32, 56, 112, 160, 272, 448, 1792), (2, 4, 4, 6, 6, 8, 2)),
        ("efficientnet_b5", (48, 24, 40, 64, 128, 176, 304, 512, 2048), (3, 5, 5, 7, 7, 9, 3)),
        ("efficientnet_b6", (56, 32, 40, 72, 144, 200, 344, 576, 2304), (3, 6, 6, 8, 8, 11, 3)),
        ("efficientnet_b7", (64, 32, 48, 80, 160, 224, 384, 640, 2560), (4, 7, 7, 10, 10, 13, 4)),
        ("efficientnet_lite2", (32, 16, 24, 48, 88, 120, 208, 352, 1280), (1, 3, 3, 4, 4, 5, 1)),
        ("efficientnet_lite4", (32, 24, 32, 56, 112, 160, 272, 448, 1280), (1, 4, 4, 6, 6, 8, 1)),
    ],
)
def test_scaled_channels_and_repeats(name, channels, repeats):
    """Lite leaves the stem, the head and the number of blocks of the first and last stage as they are."""
    net = on_meta(name)
    assert tuple(stage.channels for stage in NETS[name].stages) == channels
    assert tuple(len(net.get_submodule(f"stage{i}")._modules) for i in range(1, 8)) == repeats


def test_compound_scaling_is_the_papers():
    """Eq. 3: α·β²·γ² ≈ 2. Width follows 1.1^φ and the side 1.15^φ to the rounding of what was built; table 2."""
    assert abs(1.2 * 1.1**2 * 1.15**2 - 2) < 0.1
    paper = {  # φ; side; parameters, MACs (table 2)
        "efficientnet_b0": (0, 224, 5.3e6, 0.39e9),
        "efficientnet_b1": (0.5, 240, 7.8e6, 0.70e9),
        "efficientnet_b2": (1, 260, 9.2e6, 1.0e9),
        "efficientnet_b3": (2, 300, 12e6, 1.8e9),
        "efficientnet_b4": (3.5, 380, 19e6, 4.2e9),
        "efficientnet_b5": (5, 456, 30e6, 9.9e9),
        "efficientnet_b6": (6, 528, 43e6, 19e9),
        "efficientnet_b7": (7, 600, 66e6, 37e9),
    }
    for name, (phi, side, params, multiply_adds) in paper.items():
        row, spec = NETS[name], efficientnet.FAMILY[name]
        assert row.size_px == side
        assert abs(side / (224 * 1.15**phi) - 1) < 0.05
        assert abs(spec.width / 1.1**phi - 1) < 0.06
        assert abs(row.params / params - 1) < 0.025
        assert abs(row.macs / multiply_adds - 1) < 0.05
    assert NETS["efficientnet_b0"].params == 5_288_548


def test_multiply_adds_grow_with_depth_width_squared_and_side_squared():
    """Section 3.3, which eq. 3 rests on: d·w²·r². Twice as wide is a little under four times, as a depthwise layer only
    doubles; twice as deep is a little off two, as the stem and the head stay one."""

    def cost(depth: float, width: float, side: int) -> int:
        with torch.device("meta"):
            net = efficientnet.build(efficientnet.EfficientNet(width, depth, 224, 0.2))
        return macs(net, torch.empty(1, 3, side, side, device="meta"))

    one = cost(1, 1, 224)
    assert abs(cost(1, 1, 448) / one - 4) < 0.04  # gates see one place whatever the side
    assert 3.4 < cost(1, 2, 224) / one < 4
    assert 1.8 < cost(2, 1, 224) / one < 2.2


# stochastic depth


def test_stochastic_depth_drops_whole_pictures_and_keeps_the_mean():
    torch.manual_seed(0)
    drop, x = DropPath(0.25), torch.randn(2000, 3, 2, 2)
    y = drop.train()(x)
    gone = (y == 0).flatten(1).all(1)
    torch.testing.assert_close(y[~gone], x[~gone] / 0.75)
    assert 0.2 < gone.float().mean() < 0.3
    assert drop.eval()(x) is x
    assert torch.equal(DropPath(0.0).train()(x), x)


def test_the_deeper_the_block_the_likelier_it_is_dropped():
    net = on_meta("efficientnet_b0")
    found = {path: m.p for path, m in net.named_modules() if isinstance(m, DropPath)}
    assert found == {path + ".drop": pytest.approx(p) for path, p in expected_drops()}
    assert list(found.values()) == sorted(found.values())
    assert max(found.values()) < 0.2


def expected_drops() -> list[tuple[str, float]]:
    """Block number / 16 of 0.2, for every block of table 1 that has a shortcut."""
    blocks = [(i, j) for i, depth in enumerate((1, 2, 2, 3, 3, 4, 1), 1) for j in range(depth)]
    return [(f"stage{i}.{j}.body", 0.2 * number / 16) for number, (i, j) in enumerate(blocks) if j]


# TensorFlow's padding


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("k", [3, 5, 7])
def test_same_pads_as_little_as_gives_a_window_to_every_stride(k, stride):
    pad = SamePad(k, stride)
    for n in range(1, 40):
        before, behind = pad.around(n)
        windows = (before + n + behind - k) // stride + 1
        assert windows == -(-n // stride)
        assert behind - before in (0, 1)
        if before + behind:
            assert (before + n + behind - 1 - k) // stride + 1 < windows
    x = torch.randn(1, 2, 8, 9)
    height, width = pad.around(8), pad.around(9)
    assert torch.equal(pad(x), F.pad(x, (*width, *height)))


def test_same_at_stride_2_depends_on_the_side():
    assert SamePad(3, 2).around(224) == (0, 1)
    assert SamePad(3, 2).around(65) == (1, 1)
    assert SamePad(5, 2).around(224) == (1, 2)
    assert SamePad(5, 2).around(65) == (2, 2)


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("efficientnet_lite0", (112, 112, 56, 28, 14, 14, 7, 7, 7)),
        ("efficientnet_lite1", (120, 120, 60, 30, 15, 15, 8, 8, 8)),
        ("efficientnet_lite2", (130, 130, 65, 33, 17, 17, 9, 9, 9)),
        ("efficientnet_lite3", (140, 140, 70, 35, 18, 18, 9, 9, 9)),
        ("efficientnet_lite4", (150, 150, 75, 38, 19, 19, 10, 10, 10)),
    ],
)
def test_lites_maps_round_up(name, sides):
    size = NETS[name].size_px
    found = outputs(on_meta(name).eval(), torch.empty(1, 3, size, size, device="meta"))
    assert tuple(x.shape[-1] for stage, x in found.items() if stage != "head") == sides


def test_weights_in_packages_are_at_hand_where_the_package_is(tmp_path, monkeypatch):
    """efficientnet_lite1 and 2 are not in the [train] extra; whoever installs their packages is offered the nets."""
    for name in ("efficientnet_lite1", "efficientnet_lite2"):
        (row,) = NETS[name].weights
        package = row.place.partition(":")[0]
        assert row.place == f"{package}:models/{name.replace('_', '-')}-{row.sha256[:8]}.pth"
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        monkeypatch.syspath_prepend(tmp_path)
        assert at_hand(row.place)


# NASNet-A


def windows(x: Tensor) -> list[list[Tensor]]:
    """The 3 x 3 windows of SAME at stride 2, clipped to the picture: every second centre, the last one or two from the
    far edge as TensorFlow has it."""
    height, width = x.shape[2:]
    rows, columns = ([range(n)[max(0, c - 1) : c + 2] for c in range(1 - n % 2, n, 2)] for n in (height, width))
    return [[x[:, :, r.start : r.stop, c.start : c.stop] for c in columns] for r in rows]


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 7), (8, 7), (5, 6)])
def test_strided_pools_are_tensorflows(height, width):
    x = torch.randn(2, 3, height, width, generator=torch.manual_seed(0))
    for pool, of in ((nasnet.MaxPool(), torch.amax), (nasnet.AvgPool(), torch.mean)):
        by_hand = torch.stack([torch.stack([of(w, dim=(2, 3)) for w in row], -1) for row in windows(x)], -2)
        torch.testing.assert_close(pool(x), by_hand)


def test_a_halved_input_sees_both_phases():
    """The second path is shifted by one pixel, so that no pixel of an even side goes unseen."""
    torch.manual_seed(0)
    halved = nasnet.halved(4, 6).eval()
    x = torch.rand(1, 4, 6, 6, requires_grad=True)
    y = halved(x)
    assert y.shape == (1, 6, 3, 3)
    y[0, 0, 0, 0].backward(retain_graph=True)
    assert x.grad is not None
    assert x.grad[0, 0].nonzero().tolist() == [[0, 0]]
    x.grad = None
    y[0, 5, 0, 0].backward()
    assert x.grad is not None
    assert x.grad[0, 0].nonzero().tolist() == [[1, 1]]
    assert halved(torch.rand(1, 4, 7, 7)).shape == (1, 6, 4, 4)


def test_a_stage_hands_on_its_last_two_cells():
    torch.manual_seed(0)
    net, kept = NETS["nasnetamobile"].build(3).eval(), []
    cells = net.get_submodule("stage1.cells")
    for cell in cells:
        cell.register_forward_hook(lambda *call: kept.append(call[-1][0]))
    with torch.no_grad():
        x = net.get_submodule("stage1")(net.get_submodule("stem")(torch.randn(1, 3, 64, 64)))
    assert len(kept) == 2 + 4
    assert torch.equal(x, torch.cat([kept[-1], kept[-2]], 1))


@pytest.mark.parametrize(("name", "half"), [("nasnetamobile", 0), ("nasnetalarge", 1)])
def test_what_the_cell_after_a_reduction_sees_as_its_earlier_one(name, half):
    """The mobile net's: the last cell before the reduction; the large one's: the cell before that. Every other cell
    sees the two that ran before it."""
    torch.manual_seed(0)
    spec = nasnet.NASNet(2, 96, 8, nasnet.FAMILY[name].after_reduction)  # the same stack, small
    net, calls = nasnet.build(spec, 3).eval(), []
    for cell in net.get_submodule("stage2.cells"):
        cell.register_forward_hook(lambda _, given, made: calls.append((*given, made[0])))
    entering = torch.randn(1, 48, 8, 8)
    with torch.no_grad():
        net.get_submodule("stage2")(entering)
    (x, earlier, reduced), (second_x, second_earlier, second), (third_x, third_earlier, _) = calls
    halves = entering.chunk(2, 1)
    assert torch.equal(x, halves[0])
    assert torch.equal(earlier, halves[1])
    assert torch.equal(second_x, reduced)
    assert torch.equal(second_earlier, halves[half])
    assert torch.equal(third_x, second)
    assert torch.equal(third_earlier, reduced)


@pytest.mark.parametrize("side", range(63, 96))
def test_nasnet_takes_every_side(side):
    net = on_meta("nasnetamobile", 3).eval()
    found = outputs(net, torch.empty(1, 3, side, side, device="meta"))
    n = (side - 3) // 2 + 1
    for stage, halvings in (("stem", 0), ("stage1", 2), ("stage2", 3), ("stage3", 4)):
        assert found[stage].shape[-1] == -(-n // 2**halvings)


def test_cells_join_what_figure_4_draws():
    """A normal cell: six times its channels, its earlier input first. A reduction: four times, at half the size."""
    torch.manual_seed(0)
    x, earlier = torch.randn(1, 24, 8, 8), torch.randn(1, 24, 8, 8)
    normal, before = nasnet.normal(4, 24, nasnet.fitted(24, 4)).eval(), []
    normal.before.register_forward_hook(lambda *call: before.append(call[-1]))
    reduction = nasnet.reduction(4, 24, nasnet.fitted(24, 4), 4).eval()
    with torch.no_grad():
        joined, onward = normal(x, earlier)
        assert joined.shape == (1, 24, 8, 8)
        assert torch.equal(joined[:, :4], before[0])
        assert onward is x
        assert reduction(x, earlier)[0].shape == (1, 16, 4, 4)
