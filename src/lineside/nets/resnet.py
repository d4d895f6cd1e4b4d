"""Residual networks, and the expression that every net of residual blocks with an activation behind is a row of.

ResNet  He et al. 2015, arXiv:1512.03385, table 1 (widths, depths), fig. 5 (basic and bottleneck blocks)
200     He et al. 2016, arXiv:1603.05027, table 5 ("original"), (3, 24, 36, 3)

The stride sits on the 3x3 of the bottleneck (as torchvision and timm have it), not on the first 1x1 as printed. Where
the shapes differ the shortcut is a 1x1 convolution (option B). resnet_paper.py has the other ways.

More rows of this expression: resnet_cifar.py (with plain twins), resnext.py, wide.py, senet.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from lineside.nets.net import Net, Published, Stage, Weights, torchvision_weights
from lineside.nets.parts import Residual, classifier, conv_bn, he_init, seq

Body = Callable[[int, int, int], tuple[nn.Sequential, int]]  # (cin, width, stride) → what is learnt, its channels
Join = Callable[[nn.Module, int, int, int], nn.Sequential]  # (body, cin, cout, stride) → the block


def basic(cin: int, width: int, stride: int) -> tuple[nn.Sequential, int]:
    """Two 3x3."""
    return seq(c1=conv_bn(cin, width, 3, stride), c2=conv_bn(width, width, 3, act=None)), width


def bottleneck(
    cin: int, width: int, stride: int, groups: int = 1, per_group: int = 64, strided: int = 2
) -> tuple[nn.Sequential, int]:
    """1x1, 3x3, 1x1 to 4·width. per_group: width of a group of the 3x3 in stage 1. strided: the convolution, 1 or 2."""
    inner = groups * (width * per_group // 64)
    body = seq(
        c1=conv_bn(cin, inner, 1, stride if strided == 1 else 1),
        c2=conv_bn(inner, inner, 3, stride if strided == 2 else 1, groups=groups),
        c3=conv_bn(inner, 4 * width, 1, act=None),
    )
    return body, 4 * width


def option_b(body: nn.Module, cin: int, cout: int, stride: int) -> nn.Sequential:
    """The input is added, through a 1x1 convolution where the shapes differ."""
    shortcut = None if stride == 1 and cin == cout else conv_bn(cin, cout, 1, stride, act=None)
    return seq(add=Residual(body, shortcut), act=nn.ReLU())


def stem(cout: int) -> nn.Sequential:
    """7x7 and a max pool: a quarter of H and W."""
    return seq(conv=conv_bn(3, cout, 7, 2), pool=nn.MaxPool2d(3, 2, 1))


@dataclass(frozen=True, slots=True)
class ResNet:
    """One row. width: of stage 1; it doubles from stage to stage."""

    depths: tuple[int, ...]
    body: Body
    join: Join = option_b
    stem: Callable[[int], nn.Sequential] = stem  # its channels → the stem
    first: int = 64  # channels of the stem
    width: int = 64
    dropout: float = 0.0


FAMILY = {
    "resnet18": ResNet((2, 2, 2, 2), basic),
    "resnet34": ResNet((3, 4, 6, 3), basic),
    "resnet50": ResNet((3, 4, 6, 3), bottleneck),
    "resnet101": ResNet((3, 4, 23, 3), bottleneck),
    "resnet152": ResNet((3, 8, 36, 3), bottleneck),
    "resnet200": ResNet((3, 24, 36, 3), bottleneck),
}


def build(spec: ResNet, classes: int = 1000) -> nn.Sequential:
    stages, cin = {"stem": spec.stem(spec.first)}, spec.first
    for i, depth in enumerate(spec.depths):
        blocks = []
        for j in range(depth):
            stride = 2 if i and not j else 1
            body, cout = spec.body(cin, spec.width << i, stride)
            blocks.append(spec.join(body, cin, cout, stride))
            cin = cout
        stages[f"stage{i + 1}"] = nn.Sequential(*blocks)
    return he_init(seq(**stages, head=classifier(cin, classes, spec.dropout)))


def torchvision_names(spec: ResNet) -> dict[str, str]:
    """Our path of every module with a state → its path in torchvision.models.resnet."""
    names = {"stem.conv.conv": "conv1", "stem.conv.bn": "bn1", "head.fc": "fc"}
    convs = (1, 2) if spec.body is basic else (1, 2, 3)
    for i, depth in enumerate(spec.depths, 1):
        for j in range(depth):
            ours, theirs = f"stage{i}.{j}.add", f"layer{i}.{j}"
            for k in convs:
                names |= {f"{ours}.body.c{k}.conv": f"{theirs}.conv{k}", f"{ours}.body.c{k}.bn": f"{theirs}.bn{k}"}
            if j == 0 and (i > 1 or len(convs) == 3):
                names |= {
                    f"{ours}.shortcut.conv": f"{theirs}.downsample.0",
                    f"{ours}.shortcut.bn": f"{theirs}.downsample.1",
                }
    return names


def weights(
    net: str, names: Callable[[], dict[str, str]], *published: tuple[str, str, float, float]
) -> tuple[Weights, ...]:
    """torchvision's rows for this net: version, hash in the file's name, top-1, top-5."""
    return tuple(
        torchvision_weights(net, version, f"{net}-{sha256}.pth", names, top1, top5)
        for version, sha256, top1, top5 in published
    )


def stages(*channels: int) -> tuple[Stage, ...]:
    return tuple(Stage(f"stage{i}" if i else "stem", c, (4, 4, 8, 16, 32)[i]) for i, c in enumerate(channels))


BASIC, BOTTLENECK = stages(64, 64, 128, 256, 512), stages(64, 256, 512, 1024, 2048)


def row(
    spec: ResNet,
    *,
    params: int,
    macs: int,
    source: str,
    counted: str,
    stages: tuple[Stage, ...] = BOTTLENECK,
    weights: tuple[Weights, ...] = (),
    published: Published | None = None,
) -> Net:
    """A net for ImageNet."""
    return Net(
        build=partial(build, spec),
        params=params,
        macs=macs,
        classes=1000,
        size_px=224,
        source=source,
        stages=stages,
        weights=weights,
        counted=counted,
        published=published,
    )


NETS = {
    "resnet18": row(
        FAMILY["resnet18"],
        params=11_689_512,
        counted="torchvision 0.29",
        macs=1_814_073_344,
        source="He et al. 2015, table 1, 18-layer",
        stages=BASIC,
        weights=weights("resnet18", partial(torchvision_names, FAMILY["resnet18"]), ("v1", "f37072fd", 69.758, 89.078)),
    ),
    "resnet34": row(
        FAMILY["resnet34"],
        params=21_797_672,
        counted="torchvision 0.29",
        macs=3_663_761_408,
        source="He et al. 2015, table 1, 34-layer",
        stages=BASIC,
        weights=weights("resnet34", partial(torchvision_names, FAMILY["resnet34"]), ("v1", "b627a593", 73.314, 91.420)),
    ),
    # V1 is the default although V2 is the better classifier: label smoothing and mixup, which V2 was trained with,
    # make the features of the last stage transfer worse (Kornblith et al. 2021, arXiv:2010.16402), and this
    # program begins with a head on frozen features.
    "resnet50": row(
        FAMILY["resnet50"],
        params=25_557_032,
        counted="torchvision 0.29",
        macs=4_089_184_256,
        source="He et al. 2015, table 1, 50-layer, stride on the 3x3",
        weights=weights(
            "resnet50",
            partial(torchvision_names, FAMILY["resnet50"]),
            ("v1", "0676ba61", 76.130, 92.862),
            ("v2", "11ad3fa6", 80.858, 95.434),
        ),
    ),
    "resnet101": row(
        FAMILY["resnet101"],
        params=44_549_160,
        counted="torchvision 0.29",
        macs=7_801_405_440,
        source="He et al. 2015, table 1, 101-layer, stride on the 3x3",
        weights=weights(
            "resnet101",
            partial(torchvision_names, FAMILY["resnet101"]),
            ("v1", "63fe2227", 77.374, 93.546),
            ("v2", "cd907fc2", 81.886, 95.780),
        ),
    ),
    "resnet152": row(
        FAMILY["resnet152"],
        params=60_192_808,
        counted="torchvision 0.29",
        macs=11_513_626_624,
        source="He et al. 2015, table 1, 152-layer, stride on the 3x3",
        weights=weights(
            "resnet152",
            partial(torchvision_names, FAMILY["resnet152"]),
            ("v1", "394f9c45", 78.312, 94.046),
            ("v2", "f82ba261", 82.284, 96.002),
        ),
    ),
    "resnet200": row(
        FAMILY["resnet200"],
        params=64_673_832,
        counted="timm 1.0",
        macs=15_007_481_856,
        source="He et al. 2016, arXiv:1603.05027, table 5, original residual units, stride on the 3x3",
        published=Published(78.2, 94.0, "He et al. 2016, table 5, one crop of 320 px; stride on the first 1x1"),
    ),
}
