"""The classic nets are the ones of their papers: layer by layer, with what the lectures say about them.

Tables are written here a second time, from the papers, and not read from the rows.
"""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from lineside.nets import alexnet, googlenet, lenet
from lineside.nets.catalog import NETS
from lineside.nets.inception import chain
from lineside.nets.inception_v4 import Scale
from lineside.nets.parts import Residual
from lineside.nets.stages import outputs, split_at

CLASSIC = (
    *("lenet5", "lenet5_1998", "alexnet", "alexnet_deck", "alexnet_towers", "zfnet", "zfnet_512_1024_512"),
    *("vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"),
    *("googlenet", "googlenet_paper", "inception_v3", "inception_v4", "inception_resnet_v2"),
)


def layers(net: nn.Sequential, size: int) -> Iterator[tuple[str, nn.Module, tuple[int, ...]]]:
    """Path, module and shape of output of every layer without children, in the order in which they run."""
    found: list[tuple[str, nn.Module, tuple[int, ...]]] = []
    for path, module in net.named_modules():
        if not module._modules:
            module.register_forward_hook(lambda m, _, out, path=path: found.append((path, m, tuple(out.shape[1:]))))
    with torch.no_grad():
        net.eval()(torch.empty(1, 3, size, size))
    return iter(found)


def table(net: nn.Sequential, size: int) -> list[tuple[tuple[int, ...], int]]:
    """Shape of output and parameters of every convolution, pool and linear layer."""
    kinds = (nn.Conv2d, nn.MaxPool2d, nn.Linear)
    return [
        (shape, sum(p.numel() for p in module.parameters()))
        for _, module, shape in layers(net, size)
        if isinstance(module, kinds)
    ]


def field(net: nn.Sequential, channels: int, side: int) -> int:
    """The side of what the middle of the output sees, measured: where the input's gradient is not zero."""
    x = torch.rand(1, channels, side, side, requires_grad=True)
    out = net(x)
    middle = out.shape[-1] // 2
    out[0, :, middle, middle].sum().backward()
    assert x.grad is not None
    rows = x.grad.abs().sum((0, 1, 3)).nonzero()
    return int(rows.max() - rows.min()) + 1


@pytest.mark.parametrize("name", CLASSIC)
def test_no_smaller_picture_works(name):
    row = NETS[name]
    with torch.device("meta"), torch.no_grad():
        net = row.build(3).eval()
        assert net(torch.empty(1, 3, row.least_px, row.least_px)).shape == (1, 3)
        with pytest.raises(RuntimeError, match=r"too small|can't be greater|non-empty|must be"):
            net(torch.empty(1, 3, row.least_px - 1, row.least_px - 1))


# LeNet-5


def test_the_first_lenet_counts_its_parameters_and_connections_as_the_paper():
    """Trainable parameters per layer, and connections: every unit's inputs and its bias; no bias in the output."""
    with torch.device("meta"):
        net = NETS["lenet5_1998"].build(10)
        shape = outputs(net, torch.empty(1, 3, 32, 32))
        c1 = net.get_submodule("stem.conv")(torch.empty(1, 1, 32, 32))
        c3 = net.get_submodule("stage1.conv")(shape["stem"])
    params = {
        path: sum(p.numel() for p in net.get_submodule(path).parameters())
        for path in ("stem.conv", "stem.pool", "stage1.conv", "stage1.pool", "stage2.conv", "head.fc6", "head.fc")
    }
    assert list(params.values()) == [156, 12, 1516, 32, 48_120, 10_164, 0]
    assert sum(params.values()) == sum(p.numel() for p in net.parameters()) == 60_000
    assert (c1.shape[1:], shape["stem"].shape[1:]) == ((6, 28, 28), (6, 14, 14))
    assert (c3.shape[1:], shape["stage1"].shape[1:], shape["stage2"].shape[1:]) == (
        (16, 10, 10),
        (16, 5, 5),
        (120, 1, 1),
    )
    connections = [
        156 * 28 * 28,
        shape["stem"].numel() * (4 + 1),
        1516 * 10 * 10,
        shape["stage1"].numel() * (4 + 1),
        48_120,
        10_164,
        net.get_submodule("head.fc").get_buffer("weight").numel(),
    ]
    assert connections == [122_304, 5_880, 151_600, 2_000, 48_120, 10_164, 840]
    assert sum(connections) == 340_908


def test_c3_sees_what_table_i_marks():
    """The table as it is printed, six rows of sixteen; what a map of C3 really sees is asked of its gradient."""
    printed = (
        "X...XXX..XXXX.XX",
        "XX...XXX..XXXX.X",
        "XXX...XXX..X.XXX",
        ".XXX..XXXX..X.XX",
        "..XXX..XXXX.XX.X",
        "...XXX..XXXX.XXX",
    )
    c3 = NETS["lenet5_1998"].build(10).get_submodule("stage1.conv")
    x = torch.randn(1, 6, 14, 14, requires_grad=True)
    for j, map_ in enumerate(c3(x)[0]):
        (gradient,) = torch.autograd.grad(map_.sum(), x, retain_graph=True)
        seen = gradient[0].abs().sum((1, 2)) > 0
        assert seen.tolist() == [row[j] == "X" for row in printed]
    assert sum(row.count("X") for row in printed) * 25 + 16 == 1516


def test_c3_without_the_table_would_have_2416():
    with torch.device("meta"):
        assert sum(p.numel() for p in NETS["lenet5"].build(10).get_submodule("stage1.conv").parameters()) == 2416


def test_the_output_is_the_distance_to_fixed_codes():
    net = NETS["lenet5_1998"].build(10).eval()
    below = split_at(net, "head.fc")[0]
    x = torch.randn(3, 3, 32, 32)
    codes = torch.tensor(lenet.codes(10), dtype=torch.float32)
    with torch.no_grad():
        f6, logits = below(x), net(x)
    expected = torch.stack([((row - codes) ** 2).sum(1) for row in f6])
    torch.testing.assert_close(lenet.distances(f6, logits), expected, atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(logits.softmax(1), (-expected).softmax(1), atol=1e-5, rtol=1e-4)
    assert torch.equal(logits.argmax(1), expected.argmin(1))
    assert "head.fc.weight" in net.state_dict()
    assert "head.fc.weight" not in dict(net.named_parameters())


@pytest.mark.parametrize("classes", [2, 10, 84, 300])
def test_codes_are_of_plus_and_minus_one_and_no_two_are_alike(classes):
    codes = lenet.codes(classes)
    assert {len(code) for code in codes} == {84}
    assert {bit for code in codes for bit in code} == {-1, 1}
    assert len({tuple(code) for code in codes}) == classes
    assert codes == lenet.codes(classes)
    fc = NETS["lenet5_1998"].build(classes).get_submodule("head.fc")
    assert torch.equal(fc.get_buffer("weight") / 2, torch.tensor(codes, dtype=torch.float32))


def test_the_scaled_tanh_and_subsampling_are_the_papers():
    squash = lenet.ScaledTanh()
    torch.testing.assert_close(
        squash(torch.tensor([-1.0, 0.0, 1.0])), torch.tensor([-1.0, 0.0, 1.0]), atol=1e-4, rtol=0
    )
    assert squash(torch.tensor(100.0)).item() == pytest.approx(1.7159)
    sub, x = lenet.subsampling(2), torch.randn(1, 2, 4, 4)
    gain = sub.get_submodule("gain")
    assert isinstance(gain, nn.Conv2d)
    assert gain.bias is not None
    with torch.no_grad():
        gain.bias.copy_(torch.tensor([0.3, -0.2]))
        total = x.unfold(2, 2, 2).unfold(3, 2, 2).sum((4, 5))
        expected = squash(total * gain.weight.view(1, 2, 1, 1) / 4 + gain.bias.view(1, 2, 1, 1))
        torch.testing.assert_close(sub(x), expected)


def test_28_px_digits_are_seen_whole_with_two_pixels_around_them():
    """C1 gives 28 x 28 on the paper's 32; of 28 px, a padding of 2 does (E7: 1 gives 26, 4 gives 32)."""
    side = {p: nn.Conv2d(1, 6, 5, padding=p)(torch.zeros(1, 1, 28, 28)).shape[-1] for p in (0, 1, 2, 4)}
    assert side == {0: 24, 1: 26, 2: 28, 4: 32}
    c1 = NETS["lenet5"].build(10).get_submodule("stem.conv")
    assert isinstance(c1, nn.Conv2d)
    digit = torch.rand(1, 1, 28, 28)
    padded = F.conv2d(digit, c1.weight, c1.bias, padding=2)
    torch.testing.assert_close(c1(F.pad(digit, (2, 2, 2, 2))), padded)


# AlexNet and ZFNet

FULLY = [((4096,), 37_752_832), ((4096,), 16_781_312), ((1000,), 4_097_000)]
ALEXNET = {
    "alexnet_deck": [
        ((96, 55, 55), 34_944),
        ((96, 27, 27), 0),
        ((256, 27, 27), 614_656),
        ((256, 13, 13), 0),
        ((384, 13, 13), 885_120),
        ((384, 13, 13), 1_327_488),
        ((256, 13, 13), 884_992),
        ((256, 6, 6), 0),
        *FULLY,
    ],
    "alexnet_towers": [
        ((96, 55, 55), 34_944),
        ((96, 27, 27), 0),
        ((256, 27, 27), 307_456),
        ((256, 13, 13), 0),
        ((384, 13, 13), 885_120),
        ((384, 13, 13), 663_936),
        ((256, 13, 13), 442_624),
        ((256, 6, 6), 0),
        *FULLY,
    ],
    "alexnet": [
        ((64, 55, 55), 23_296),
        ((64, 27, 27), 0),
        ((192, 27, 27), 307_392),
        ((192, 13, 13), 0),
        ((384, 13, 13), 663_936),
        ((256, 13, 13), 884_992),
        ((256, 13, 13), 590_080),
        ((256, 6, 6), 0),
        *FULLY,
    ],
    "zfnet_512_1024_512": [
        ((96, 110, 110), 14_208),
        ((96, 55, 55), 0),
        ((256, 26, 26), 614_656),
        ((256, 13, 13), 0),
        ((512, 13, 13), 1_180_160),
        ((1024, 13, 13), 4_719_616),
        ((512, 13, 13), 4_719_104),
        ((512, 6, 6), 0),
        ((4096,), 75_501_568),
        ((4096,), 16_781_312),
        ((1000,), 4_097_000),
    ],
}


@pytest.mark.parametrize("name", ALEXNET)
def test_every_layer_has_its_shape_and_parameters(name):
    row = NETS[name]
    with torch.device("meta"):
        assert table(row.build(1000), row.size_px) == ALEXNET[name]
    assert sum(params for _, params in ALEXNET[name]) == row.params


def test_55_needs_227_without_padding_or_224_with_two():
    """E14: 227 with a padding of 2, as it is drawn, gives 56."""
    maps = alexnet.FAMILY["alexnet_deck"].maps
    for size, padding, side in ((227, 0, 55), (224, 2, 55), (227, 2, 56), (224, 0, 54)):
        with torch.device("meta"):
            net = alexnet.build(alexnet.AlexNet(maps, padding))
            assert table(net, size)[0][0] == (96, side, side)


def test_fc8_has_its_biases():
    """E17: 4,096k without them, 4,097k with them."""
    with torch.device("meta"):
        fc = NETS["alexnet_deck"].build(1000).get_submodule("head.fc")
    assert sum(p.numel() for p in fc.parameters()) == 4_096_000 + 1000


def test_most_parameters_are_in_linear_layers():
    """Of AlexNet's table: 93.99 % of the parameters are in fc6, fc7, fc8."""
    rows = ALEXNET["alexnet_deck"]
    assert sum(p for _, p in rows[-3:]) / sum(p for _, p in rows) == pytest.approx(0.9399, abs=5e-5)


def test_towers_do_not_see_each_other_before_conv3():
    """Groups: the first half of conv2 depends on the first half of conv1 alone; conv3 joins the two."""
    net = NETS["alexnet_towers"].build(3)
    conv2, c3 = net.get_submodule("stage1.conv.conv"), net.get_submodule("stage2.c3.conv")
    x = torch.randn(1, 96, 7, 7, requires_grad=True)
    (gradient,) = torch.autograd.grad(conv2(x)[0, :128].sum(), x)
    assert (gradient[0].abs().sum((1, 2)) > 0).tolist() == [True] * 48 + [False] * 48
    y = torch.randn(1, 256, 5, 5, requires_grad=True)
    (gradient,) = torch.autograd.grad(c3(y)[0, 0].sum(), y)
    assert (gradient[0].abs().sum((1, 2)) > 0).all()


def test_response_normalisation_is_the_papers_equation():
    """b_i = a_i / (2 + 1e-4 Σ a_j²)^0.75, j from i − 2 to i + 2 within the maps (section 3.3)."""
    a = torch.randn(1, 7, 2, 2) * 50
    expected = torch.empty_like(a)
    for i in range(7):
        near = a[:, max(0, i - 2) : i + 3]
        expected[:, i] = a[:, i] / (2 + 1e-4 * (near**2).sum(1)) ** 0.75
    torch.testing.assert_close(alexnet.response_norm()(a), expected)


# VGG


@pytest.mark.parametrize(
    ("name", "plan"),
    [("vgg11", (1, 1, 2, 2, 2)), ("vgg13", (2, 2, 2, 2, 2)), ("vgg16", (2, 2, 3, 3, 3)), ("vgg19", (2, 2, 4, 4, 4))],
)
@pytest.mark.parametrize("norm", ["", "_bn"])
def test_vgg_is_stages_of_3x3_that_end_in_a_pool(name, plan, norm):
    """E20: they differ in how many convolutions a stage has. E19: channels double after each pool but the fourth."""
    with torch.device("meta"):
        net = NETS[name + norm].build(1000)
    found, doubled = [], []
    for stage in list(net)[:-1]:
        convs = [m for m in stage.modules() if isinstance(m, nn.Conv2d)]
        pools = [m for m in stage.modules() if isinstance(m, nn.MaxPool2d)]
        assert {(m.kernel_size, m.stride, m.padding) for m in convs} == {((3, 3), (1, 1), (1, 1))}
        assert [(m.kernel_size, m.stride) for m in pools] == [(2, 2)]
        assert list(stage.modules())[-1] is pools[0]
        found.append(len(convs))
        doubled.append(convs[-1].out_channels)
    assert tuple(found) == plan
    assert doubled == [64, 128, 256, 512, 512]
    assert sum(plan) + 3 == int(name.removeprefix("vgg"))
    assert any(isinstance(m, nn.BatchNorm2d) for m in net.modules()) == bool(norm)


def test_where_vgg_16_keeps_its_parameters():
    with torch.device("meta"):
        net = NETS["vgg16"].build(1000)
    params = [sum(p.numel() for p in stage.parameters()) for stage in net]
    assert params == [38_720, 221_440, 1_475_328, 5_899_776, 7_079_424, 123_642_856]


def test_two_3x3_see_what_one_5x5_sees_for_18_in_place_of_25():
    net = NETS["vgg13"].build(3)
    two = nn.Sequential(*list(net.get_submodule("stem"))[:2])
    assert field(two, 3, 15) == field(nn.Sequential(nn.Conv2d(3, 64, 5, padding=2)), 3, 15) == 5
    three = nn.Sequential(*(nn.Conv2d(2, 2, 3, padding=1) for _ in range(3)))
    assert field(three, 2, 15) == 7
    c = 32
    weights = [nn.Conv2d(c, c, k, bias=False).weight.numel() for k in (3, 5)]
    assert (2 * weights[0], weights[1]) == (18 * c * c, 25 * c * c)


# GoogLeNet


@pytest.mark.parametrize("name", ["googlenet", "googlenet_paper"])
def test_nine_modules_and_what_they_put_out(name):
    with torch.device("meta"):
        found = {p.split(".")[1]: m for p, m in NETS[name].build(10).named_modules() if p.count(".") == 1}
        modules = [m for key, m in found.items() if key.startswith("inception")]
        side, cin, channels = 28, 192, []
        for i, module in enumerate(modules):
            side = {2: 14, 7: 7}.get(i, side)
            out = module(torch.empty(2, cin, side, side))
            assert out.shape[2:] == (side, side)
            cin = out.shape[1]
            channels.append(cin)
    assert channels == [256, 480, 512, 512, 512, 528, 832, 832, 1024]


@pytest.mark.parametrize("name", ["googlenet", "googlenet_paper"])
def test_its_pools_round_up(name):
    """E26: 112 → 56 → 28 → 14 → 7; rounding down gives 55 and 27 first."""
    with torch.device("meta"):
        halved = [
            shape[-1]
            for _, m, shape in layers(NETS[name].build(10), 224)
            if isinstance(m, nn.MaxPool2d) and m.stride == 2
        ]
        down = nn.MaxPool2d(3, 2)(torch.empty(1, 1, 112, 112))
        assert (down.shape[-1], nn.MaxPool2d(3, 2)(down).shape[-1]) == (55, 27)
    assert halved == [56, 28, 14, 7]


def test_the_stem_of_the_paper():
    """E21: 124,416 parameters and 477,675,520 multiply-adds (480,836,608 with the pools'), not 418 million."""
    with torch.device("meta"):
        stem = NETS["googlenet_paper"].build(10).get_submodule("stem")
    params = {name: sum(p.numel() for p in m.parameters()) for name, m in stem.named_children()}
    assert {k: v for k, v in params.items() if v} == {"conv1": 9_472, "conv2": 4_160, "conv3": 110_784}
    assert sum(params.values()) == 124_416
    assert 112**2 * 64 * 147 + 56**2 * (64 * 64 + 192 * 64 * 9) == 477_675_520
    assert list(params) == ["conv1", "pool1", "norm1", "conv2", "conv3", "norm2", "pool2"]


def test_a_1x1_before_the_5x5_saves_nine_tenths():
    with torch.device("meta"):
        five = NETS["googlenet_paper"].build(10).get_submodule("stage1.inception3a.branches.five")
    weights = [m.weight.numel() for m in five.modules() if isinstance(m, nn.Conv2d)]
    assert weights == [3_072, 12_800]
    assert 192 * 32 * 25 == 153_600


@pytest.mark.parametrize(("name", "whole"), [("googlenet_paper", 13_378_280), ("googlenet", 13_004_888)])
def test_auxiliary_classifiers_cost_what_is_published(name, whole):
    """torchvision's total with aux_logits=True; the paper's by its section 5, a bias for every layer."""
    with torch.device("meta"):
        net = googlenet.with_auxiliary(NETS[name].build(1000), googlenet.FAMILY[name])
        assert sum(p.numel() for p in net.parameters()) == whole
        more = sum(p.numel() for p in net.heads.parameters())
        assert more == whole - NETS[name].params
        out = net.train()(torch.empty(2, 3, 224, 224))
        assert [tuple(o.shape) for o in out] == [(2, 1000)] * 3
        assert net.eval()(torch.empty(2, 3, 224, 224)).shape == (2, 1000)
        sides = [tuple(m.get_submodule("pool")(torch.empty(1, 8, 14, 14)).shape[2:]) for m in net.heads]
    assert sides == [(4, 4), (4, 4)]
    if name == "googlenet_paper":
        assert more == 6_379_728


def test_auxiliary_classifiers_see_4a_and_4d_and_reach_the_stem():
    torch.manual_seed(0)
    net = NETS["googlenet_paper"].build(3)
    both = googlenet.with_auxiliary(net, googlenet.FAMILY["googlenet_paper"], 3)
    x, y = torch.randn(2, 3, 96, 96), torch.tensor([0, 2])
    assert torch.equal(both.eval()(x), net.eval()(x))
    both.train()
    for i, after in enumerate(("inception4a", "inception4d"), 1):
        both.zero_grad()
        F.cross_entropy(both(x)[i], y).backward()
        reached = [name for name, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
        modules = [name.split(".")[1] for name in reached if "inception" in name]
        assert sorted(set(modules))[-1] == after
        assert any(name.startswith("stem.conv1") for name in reached)
    both.zero_grad()
    main, *others = both(x)
    loss = F.cross_entropy(main, y) + sum(googlenet.AUXILIARY_WEIGHT * F.cross_entropy(out, y) for out in others)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in both.parameters())


def test_auxiliary_logits_are_those_of_the_blocks_by_hand():
    torch.manual_seed(0)
    net = NETS["googlenet"].build(4)
    both = googlenet.with_auxiliary(net, googlenet.FAMILY["googlenet"], 4).train()
    for module in both.modules():
        if isinstance(module, nn.Dropout | nn.BatchNorm2d):
            module.eval()
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        main, first, second = both(x)
        at_4a, at_4d = split_at(net, "stage2.inception4b")[0](x), split_at(net, "stage2.inception4e")[0](x)
        torch.testing.assert_close(first, both.heads[0](at_4a))
        torch.testing.assert_close(second, both.heads[1](at_4d))
        torch.testing.assert_close(main, net(x))


# Inception-v3, -v4, Inception-ResNet-v2


class Additions(TorchDispatchMode):
    """Counts sums of two maps."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten.add.Tensor, torch.ops.aten.add_.Tensor) and isinstance(args[1], Tensor):
            self.count += args[0].ndim == 4
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("name", "sums"), [("inception_v3", 0), ("inception_v4", 0), ("inception_resnet_v2", 40)])
def test_inception_v4_has_no_shortcuts_and_inception_resnet_v2_has(name, sums):
    """E37. 40 = 10 + 20 + 10 blocks."""
    with torch.device("meta"), torch.no_grad(), Additions() as counted:
        net = NETS[name].build(10).eval()
        net(torch.empty(1, 3, 299, 299))
    assert counted.count == sums
    assert sum(isinstance(m, Residual) for m in net.modules()) == sums


def test_what_a_block_adds_is_scaled_but_the_last():
    with torch.device("meta"):
        net = NETS["inception_resnet_v2"].build(10)
    scales = [[m.by for m in net.get_submodule(f"stage{i}").modules() if isinstance(m, Scale)] for i in (1, 2, 3)]
    assert scales == [[0.17] * 10, [0.10] * 20, [0.20] * 9]
    assert list(list(net.get_submodule("stage3"))[-1]._modules) == ["add"]  # nor is there a ReLU after the last


@pytest.mark.parametrize("name", ["inception_v3", "inception_v4", "inception_resnet_v2"])
def test_maps_shrink_as_in_the_paper(name):
    """299 → 149 → 147 → 147 → 73 → 71 → 35 → 17 → 8: no padding in the stem but for its third layer."""
    with torch.device("meta"), torch.no_grad():
        net, x = NETS[name].build(10).eval(), torch.empty(1, 3, 299, 299)
        stem = [out.shape[-1] for out in outputs(net.get_submodule("stem"), x).values()]
        found = [out.shape[-1] for out in list(outputs(net, x).values())[1:4]]
    assert stem == [149, 147, 147, 73, *([] if name == "inception_v4" else [73]), 71, 35]
    assert found == [35, 17, 8]


def test_a_row_and_a_column_see_what_a_square_sees():
    """7 x 7 as 1 x 7 and 7 x 1: 14 C² weights in place of 49 C² (section 3.2)."""
    pair = chain(4, (4, (1, 7)), (4, (7, 1))).eval()
    assert field(pair, 4, 21) == 7
    assert sum(m.weight.numel() for m in pair.modules() if isinstance(m, nn.Conv2d)) == 14 * 4 * 4
    x = torch.rand(1, 4, 21, 21, requires_grad=True)
    pair(x)[0, :, 10, 10].sum().backward()
    assert x.grad is not None
    columns = x.grad.abs().sum((0, 1, 2)).nonzero()
    assert int(columns.max() - columns.min()) + 1 == 7
