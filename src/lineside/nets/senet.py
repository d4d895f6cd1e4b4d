"""Squeeze-and-excitation: every block weighs its channels by what their averages say, before it is added.

Hu et al. 2017, arXiv:1709.01507, fig. 2 and 3 (the gate; r = 16), table 1 (the nets), table 2 (errors)

SE-ResNet, SE-ResNeXt  rows of resnet.py and resnext.py with the gate behind the last batch norm of a body. The stride
                       is on the 3x3 as in timm, whose names these are; in the authors' SE-ResNets it is on the first
                       1x1 (231,211,008 MACs less), and the published errors are theirs. In 18 and 34 layers the first
                       gate is 64 / 16 = 4 wide; timm's seresnet18 makes it 8, its legacy_seresnet18 does not.
SENet-154              the paper's appendix: ResNeXt-152 of 64 groups of 4, half as many channels in each first 1x1,
                       three 3x3 in the stem, shortcuts of 3x3 where the stride is 2, dropout of 0.2. It is what has
                       been called "ResNeXt-152-SE"; the 2.251 % of ILSVRC 2017 are an ensemble's.
"""

from functools import partial

from torch import nn

from lineside.nets.net import Published
from lineside.nets.parts import Residual, conv_bn, seq, squeeze
from lineside.nets.resnet import BASIC, Body, ResNet, basic, bottleneck, row, stages

REDUCTION = 16


def gated(body: Body, cin: int, width: int, stride: int) -> tuple[nn.Sequential, int]:
    """The body, then its gate."""
    layers, cout = body(cin, width, stride)
    layers.add_module("gate", squeeze(cout, cout // REDUCTION))
    return layers, cout


def half_bottleneck(cin: int, width: int, stride: int) -> tuple[nn.Sequential, int]:
    """SENet-154's: 64 groups of 4 in stage 1, and half as many channels before them."""
    inner = 4 * width
    body = seq(
        c1=conv_bn(cin, inner // 2, 1),
        c2=conv_bn(inner // 2, inner, 3, stride, groups=64),
        c3=conv_bn(inner, inner, 1, act=None),
    )
    return body, inner


def shortcut_of_3x3(body: nn.Module, cin: int, cout: int, stride: int) -> nn.Sequential:
    """SENet-154's: 1x1 in stage 1, 3x3 where the stride is 2."""
    same = stride == 1 and cin == cout
    shortcut = None if same else conv_bn(cin, cout, 1 if stride == 1 else 3, stride, act=None)
    return seq(add=Residual(body, shortcut), act=nn.ReLU())


def deep_stem(cout: int) -> nn.Sequential:
    """Three 3x3 and a max pool: a quarter of H and W."""
    half = cout // 2
    return seq(
        c1=conv_bn(3, half, 3, 2), c2=conv_bn(half, half, 3), c3=conv_bn(half, cout, 3), pool=nn.MaxPool2d(3, 2, 1)
    )


def net(depths: tuple[int, ...], body: Body) -> ResNet:
    return ResNet(depths, partial(gated, body))


resnext = partial(bottleneck, groups=32, per_group=4)
TABLE_2 = "Hu et al. 2017, table 2, one crop"
STRIDE = f"{TABLE_2}; stride on the first 1x1"

NETS = {
    "seresnet18": row(
        net((2, 2, 2, 2), basic),
        params=11_778_592,
        counted="timm 1.0, legacy_seresnet18; pytorchcv 0.0.74",
        macs=1_814_160_384,
        source="Hu et al. 2017, fig. 3, in the 18 layers of He et al. 2015",
        stages=BASIC,
    ),
    "seresnet34": row(
        net((3, 4, 6, 3), basic),
        params=21_958_868,
        counted="timm 1.0, legacy_seresnet34; pytorchcv 0.0.74",
        macs=3_663_918_592,
        source="Hu et al. 2017, fig. 3, in the 34 layers of He et al. 2015",
        stages=BASIC,
    ),
    "seresnet50": row(
        net((3, 4, 6, 3), bottleneck),
        params=28_088_024,
        counted="timm 1.0",
        macs=4_091_699_200,
        source="Hu et al. 2017, table 1, SE-ResNet-50, stride on the 3x3",
        published=Published(76.71, 93.38, STRIDE),
    ),
    "seresnet101": row(
        net((3, 4, 23, 3), bottleneck),
        params=49_326_872,
        counted="timm 1.0",
        macs=7_806_148_608,
        source="Hu et al. 2017, table 2, SE-ResNet-101, stride on the 3x3",
        published=Published(77.62, 93.93, STRIDE),
    ),
    "seresnet152": row(
        net((3, 8, 36, 3), bottleneck),
        params=66_821_848,
        counted="timm 1.0",
        macs=11_520_204_800,
        source="Hu et al. 2017, table 2, SE-ResNet-152, stride on the 3x3",
        published=Published(78.43, 94.27, STRIDE),
    ),
    "seresnext50_32x4d": row(
        net((3, 4, 6, 3), resnext),
        params=27_559_896,
        counted="timm 1.0",
        macs=4_232_994_816,
        source="Hu et al. 2017, table 1, SE-ResNeXt-50 (32 x 4d)",
        published=Published(78.90, 94.51, TABLE_2),
    ),
    "seresnext101_32x4d": row(
        net((3, 4, 23, 3), resnext),
        params=48_955_416,
        counted="timm 1.0",
        macs=7_974_739_968,
        source="Hu et al. 2017, table 2, SE-ResNeXt-101 (32 x 4d)",
        published=Published(79.30, 94.99, TABLE_2),
    ),
    "senet154": row(
        ResNet((3, 8, 36, 3), partial(gated, half_bottleneck), shortcut_of_3x3, deep_stem, first=128, dropout=0.2),
        params=115_088_984,
        counted="timm 1.0",
        macs=20_688_363_520,
        source="Hu et al. 2017, appendix, SENet-154",
        stages=stages(128, 256, 512, 1024, 2048),
        published=Published(81.32, 95.53, "github.com/hujie-frank/SENet, one crop"),
    ),
}
