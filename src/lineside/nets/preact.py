"""Residual networks with full pre-activation: batch norm and ReLU before the convolutions, nothing behind the sum.

He et al. 2016, arXiv:1603.05027, fig. 4e (the unit), eq. 4 (x of a later unit is x of an earlier one plus a sum)

Appendix: the first activation stands right behind the stem's convolution, before the paths part; one more behind the
last unit. Where the shapes change, the shortcut is a bare 1x1 convolution of what is activated already. The stride is
on the first 1x1, as in the authors' code (resnet-1k-layers) and their earlier nets.

Two libraries come near. timm's resnetv2_N has the same number of parameters: its stem has no batch norm, its first unit
has one; from 50 layers on it puts the stride on the 3x3, 231,211,008 MACs more. pytorchcv's preresnetN has both batch
norms, 128 parameters more. Of 164 and of 1001 layers (9n + 2, pictures of 32 px) pytorchcv has the same number; it puts
the stride on the 3x3, 3,145,728 MACs more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from lineside.nets.net import PLAIN_MEAN, PLAIN_STD, Net, Published, Stage
from lineside.nets.parts import Residual, bn_conv, bn_relu, classifier, conv, he_init, seq
from lineside.nets.resnet import BASIC, BOTTLENECK, Body, stem
from lineside.nets.resnet_cifar import stem as small_stem


def basic(cin: int, width: int, stride: int) -> tuple[nn.Sequential, int]:
    """Two 3x3 of what is activated."""
    return seq(c1=conv(cin, width, 3, stride, 1), c2=bn_conv(width, width, 3)), width


def bottleneck(cin: int, width: int, stride: int) -> tuple[nn.Sequential, int]:
    """1x1, 3x3, 1x1 to 4·width, of what is activated."""
    body = seq(c1=conv(cin, width, 1, stride, 0), c2=bn_conv(width, width, 3), c3=bn_conv(width, 4 * width, 1))
    return body, 4 * width


def unit(body: nn.Module, cin: int, cout: int, stride: int, activated: bool) -> nn.Module:
    """One residual unit; activated: the one before has done it."""
    if stride == 1 and cin == cout:
        return Residual(body) if activated else Residual(seq(pre=bn_relu(cin), convs=body))
    added = Residual(body, conv(cin, cout, 1, stride, 0))
    return added if activated else seq(pre=bn_relu(cin), add=added)


@dataclass(frozen=True, slots=True)
class PreAct:
    """One row. width: of stage 1; it doubles from stage to stage."""

    depths: tuple[int, ...]
    body: Body
    stem: Callable[[int], nn.Sequential] = stem
    first: int = 64  # channels of the stem
    width: int = 64


FAMILY = {
    "preact_resnet18": PreAct((2, 2, 2, 2), basic),
    "preact_resnet34": PreAct((3, 4, 6, 3), basic),
    "preact_resnet50": PreAct((3, 4, 6, 3), bottleneck),
    "preact_resnet101": PreAct((3, 4, 23, 3), bottleneck),
    "preact_resnet152": PreAct((3, 8, 36, 3), bottleneck),
    "preact_resnet200": PreAct((3, 24, 36, 3), bottleneck),
    "preact_resnet164": PreAct((18, 18, 18), bottleneck, small_stem, first=16, width=16),
    "preact_resnet1001": PreAct((111, 111, 111), bottleneck, small_stem, first=16, width=16),
}


def build(spec: PreAct, classes: int = 1000) -> nn.Sequential:
    stages, cin = {"stem": spec.stem(spec.first)}, spec.first
    for i, depth in enumerate(spec.depths):
        units = []
        for j in range(depth):
            stride = 2 if i and not j else 1
            body, cout = spec.body(cin, spec.width << i, stride)
            units.append(unit(body, cin, cout, stride, activated=i == j == 0))
            cin = cout
        if i == len(spec.depths) - 1:
            units.append(bn_relu(cin))
        stages[f"stage{i + 1}"] = nn.Sequential(*units)
    return he_init(seq(**stages, head=classifier(cin, classes)))


def row(
    spec: PreAct,
    *,
    params: int,
    counted: str,
    macs: int,
    stages: tuple[Stage, ...] = BOTTLENECK,
    published: Published | None = None,
) -> Net:
    """A net for ImageNet."""
    return Net(
        build=partial(build, spec),
        params=params,
        macs=macs,
        counted=counted,
        classes=1000,
        size_px=224,
        source="He et al. 2016, fig. 4e and appendix; depths of He et al. 2015, table 1 (200: table 5)",
        stages=stages,
        published=published,
    )


def small(spec: PreAct, *, channels: tuple[int, ...], params: int, counted: str, macs: int, source: str) -> Net:
    """A net for pictures of 32 px."""
    return Net(
        build=partial(build, spec),
        params=params,
        macs=macs,
        counted=counted,
        classes=10,
        size_px=32,
        source=source,
        stages=tuple(Stage(f"stage{i}" if i else "stem", c, (1, 1, 2, 4)[i]) for i, c in enumerate(channels)),
        mean=PLAIN_MEAN,
        std=PLAIN_STD,
    )


NETS = {
    "preact_resnet18": row(
        FAMILY["preact_resnet18"],
        params=11_687_720,
        counted="timm 1.0, resnetv2_18",
        macs=1_814_073_344,
        stages=BASIC,
    ),
    "preact_resnet34": row(
        FAMILY["preact_resnet34"],
        params=21_795_880,
        counted="timm 1.0, resnetv2_34",
        macs=3_663_761_408,
        stages=BASIC,
    ),
    "preact_resnet50": row(
        FAMILY["preact_resnet50"],
        params=25_549_352,
        counted="timm 1.0, resnetv2_50",
        macs=3_857_973_248,
    ),
    "preact_resnet101": row(
        FAMILY["preact_resnet101"],
        params=44_541_480,
        counted="timm 1.0, resnetv2_101",
        macs=7_570_194_432,
    ),
    "preact_resnet152": row(
        FAMILY["preact_resnet152"],
        params=60_185_128,
        counted="timm 1.0, resnetv2_152",
        macs=11_282_415_616,
        published=Published(78.9, 94.5, "He et al. 2016, table 5, one crop of 320 px"),
    ),
    "preact_resnet200": row(
        FAMILY["preact_resnet200"],
        params=64_666_152,
        counted="by hand: pytorchcv 0.0.74's preresnet200, 64,666,280, less the second batch norm of the stem, 128",
        macs=14_776_270_848,
        published=Published(79.3, 94.7, "He et al. 2016, table 5, one crop of 320 px, scale augmentation"),
    ),
    "preact_resnet164": small(
        FAMILY["preact_resnet164"],
        channels=(16, 64, 128, 256),
        params=1_703_258,
        counted="pytorchcv 0.0.74, preresnet164bn_cifar10",
        macs=244_500_992,
        source="He et al. 2016, tables 2 and 4, 9n + 2 with n = 18; 5.46 % error on CIFAR-10",
    ),
    "preact_resnet1001": small(
        FAMILY["preact_resnet1001"],
        channels=(16, 64, 128, 256),
        params=10_327_706,
        counted="pytorchcv 0.0.74, preresnet1001_cifar10; the paper's 10.2 M",
        macs=1_487_849_984,
        source="He et al. 2016, table 4, 9n + 2 with n = 111; 4.92 % error on CIFAR-10, batch of 64: 4.62 %",
    ),
}
