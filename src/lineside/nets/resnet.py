"""Residual networks.

ResNet        He et al. 2015, arXiv:1512.03385, table 1 (widths, depths), fig. 5 (basic and bottleneck blocks)
CIFAR ResNet  the same, section 4.2: 6n + 2 layers of 16-32-64 maps, shortcuts of option A (no parameters)

The stride sits on the 3x3 of the bottleneck (as torchvision has it), not on the first 1x1 as printed.
"""

from dataclasses import dataclass
from functools import partial

from torch import nn

from lineside.nets.net import PLAIN_MEAN, PLAIN_STD, Net, Stage, Weights
from lineside.nets.parts import Residual, classifier, conv_bn, he_init, seq


@dataclass(frozen=True)
class ResNet:
    """One row: blocks per stage. small: CIFAR's stem, widths and shortcuts, for pictures of about 32 px."""

    depths: tuple[int, ...]
    bottleneck: bool = False
    small: bool = False


FAMILY = {
    "resnet18": ResNet((2, 2, 2, 2)),
    "resnet34": ResNet((3, 4, 6, 3)),
    "resnet50": ResNet((3, 4, 6, 3), bottleneck=True),
    "resnet20": ResNet((3, 3, 3), small=True),
}


def block(spec: ResNet, cin: int, width: int, stride: int) -> tuple[nn.Sequential, int]:
    """One residual block and the channels it puts out."""
    if spec.bottleneck:
        cout = 4 * width
        body = seq(c1=conv_bn(cin, width, 1), c2=conv_bn(width, width, 3, stride), c3=conv_bn(width, cout, 1, act=None))
    else:
        cout = width
        body = seq(c1=conv_bn(cin, width, 3, stride), c2=conv_bn(width, cout, 3, act=None))
    if stride == 1 and cin == cout:
        shortcut = None
    elif spec.small:
        shortcut = option_a(cout - cin, stride)
    else:
        shortcut = conv_bn(cin, cout, 1, stride, act=None)
    return seq(add=Residual(body, shortcut), act=nn.ReLU()), cout


def option_a(more: int, stride: int) -> nn.Sequential:
    """Every stride-th pixel, and `more` channels of zeros behind: the shortcut that has nothing to learn."""
    return seq(skip=nn.AvgPool2d(1, stride), zeros=nn.ConstantPad3d((0, 0, 0, 0, 0, more), 0.0))


def build(spec: ResNet, classes: int = 1000) -> nn.Sequential:
    if spec.small:
        first, stem = 16, seq(conv=conv_bn(3, 16, 3))
    else:
        first, stem = 64, seq(conv=conv_bn(3, 64, 7, 2), pool=nn.MaxPool2d(3, 2, 1))
    stages, cin = {"stem": stem}, first
    for i, depth in enumerate(spec.depths):
        blocks = []
        for j in range(depth):
            layer, cin = block(spec, cin, first << i, stride=2 if i and not j else 1)
            blocks.append(layer)
        stages[f"stage{i + 1}"] = nn.Sequential(*blocks)
    return he_init(seq(**stages, head=classifier(cin, classes)))


def torchvision_names(spec: ResNet) -> dict[str, str]:
    """Our path of every module with a state → its path in torchvision.models.resnet."""
    names = {"stem.conv.conv": "conv1", "stem.conv.bn": "bn1", "head.fc": "fc"}
    for i, depth in enumerate(spec.depths, 1):
        for j in range(depth):
            ours, theirs = f"stage{i}.{j}.add", f"layer{i}.{j}"
            for k in (1, 2, 3) if spec.bottleneck else (1, 2):
                names |= {f"{ours}.body.c{k}.conv": f"{theirs}.conv{k}", f"{ours}.body.c{k}.bn": f"{theirs}.bn{k}"}
            if j == 0 and (i > 1 or spec.bottleneck):
                names |= {
                    f"{ours}.shortcut.conv": f"{theirs}.downsample.0",
                    f"{ours}.shortcut.bn": f"{theirs}.downsample.1",
                }
    return names


def weights(net: str, version: str, file: str, top1: float, top5: float) -> Weights:
    return Weights(
        name=f"imagenet1k_{version}",
        place=f"https://download.pytorch.org/models/{file}",
        sha256=file.removesuffix(".pth").rsplit("-", 1)[1],
        names=partial(torchvision_names, FAMILY[net]),
        top1=top1,
        top5=top5,
        source=f"torchvision, {net} IMAGENET1K_{version.upper()}",
        licence="BSD-3-Clause (torchvision); trained on ImageNet, whose pictures are for research",
    )


def stages(*channels: int) -> tuple[Stage, ...]:
    return tuple(Stage(f"stage{i}" if i else "stem", c, (4, 4, 8, 16, 32)[i]) for i, c in enumerate(channels))


NETS = {
    "resnet18": Net(
        build=partial(build, FAMILY["resnet18"]),
        params=11_689_512,
        counted="torchvision 0.29",
        macs=1_814_073_344,
        classes=1000,
        size_px=224,
        source="He et al. 2015, table 1, 18-layer",
        stages=stages(64, 64, 128, 256, 512),
        weights=(weights("resnet18", "v1", "resnet18-f37072fd.pth", 69.758, 89.078),),
    ),
    "resnet34": Net(
        build=partial(build, FAMILY["resnet34"]),
        params=21_797_672,
        counted="torchvision 0.29",
        macs=3_663_761_408,
        classes=1000,
        size_px=224,
        source="He et al. 2015, table 1, 34-layer",
        stages=stages(64, 64, 128, 256, 512),
        weights=(weights("resnet34", "v1", "resnet34-b627a593.pth", 73.314, 91.420),),
    ),
    "resnet50": Net(
        build=partial(build, FAMILY["resnet50"]),
        params=25_557_032,
        counted="torchvision 0.29",
        macs=4_089_184_256,
        classes=1000,
        size_px=224,
        source="He et al. 2015, table 1, 50-layer, stride on the 3x3",
        stages=stages(64, 256, 512, 1024, 2048),
        # V1 is the default although V2 is the better classifier: label smoothing and mixup, which V2 was trained with,
        # make the features of the last stage transfer worse (Kornblith et al. 2021, arXiv:2010.16402), and this
        # program begins with a head on frozen features.
        weights=(
            weights("resnet50", "v1", "resnet50-0676ba61.pth", 76.130, 92.862),
            weights("resnet50", "v2", "resnet50-11ad3fa6.pth", 80.858, 95.434),
        ),
    ),
    "resnet20": Net(
        build=partial(build, FAMILY["resnet20"]),
        params=269_722,
        counted="the paper: 0.27 M; by hand, 16-32-64 maps and shortcuts without parameters",
        macs=40_551_040,
        classes=10,
        size_px=32,
        source="He et al. 2015, section 4.2 and table 6, n = 3, option A",
        stages=(Stage("stem", 16, 1), Stage("stage1", 16, 1), Stage("stage2", 32, 2), Stage("stage3", 64, 4)),
        mean=PLAIN_MEAN,
        std=PLAIN_STD,
    ),
}
