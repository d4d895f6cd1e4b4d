"""MobileNet: every convolution but the first taken apart into a depthwise and a 1x1 one.

Howard et al. 2017, arXiv:1704.04861, table 1 (layers; two layers are one block here), fig. 3 (the block),
tables 6 and 7 (widths).

The table's last depthwise layer is printed with stride 2 on a 7 x 7 map that stays 7 x 7: a misprint for 1.
The classifier's bias is counted, as timm has it.
"""

from dataclasses import dataclass
from functools import partial

from torch import nn

from lineside.nets.net import Net, Published, Stage
from lineside.nets.parts import classifier, conv_bn, he_init, seq


@dataclass(frozen=True)
class MobileNet:
    """One row: the width multiplier α of every layer."""

    width: float


STEM = 32
ROWS = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))  # channels, blocks, stride of the first

FAMILY = {
    "mobilenetv1_100": MobileNet(1.0),
    "mobilenetv1_075": MobileNet(0.75),
    "mobilenetv1_050": MobileNet(0.5),
    "mobilenetv1_025": MobileNet(0.25),
}


def block(cin: int, cout: int, stride: int) -> nn.Sequential:
    """3x3 depthwise, then 1x1, each with batch norm and ReLU."""
    return seq(deep=conv_bn(cin, cin, 3, stride, groups=cin), point=conv_bn(cin, cout, 1))


def build(spec: MobileNet, classes: int = 1000) -> nn.Sequential:
    cin = int(STEM * spec.width)
    stages = {"stem": seq(conv=conv_bn(3, cin, 3, 2))}
    for i, (channels, depth, stride) in enumerate(ROWS, 1):
        blocks = []
        for j in range(depth):
            cout = int(channels * spec.width)
            blocks.append(block(cin, cout, 1 if j else stride))
            cin = cout
        stages[f"stage{i}"] = nn.Sequential(*blocks)
    return he_init(seq(**stages, head=classifier(cin, classes)))


def row(name: str, params: int, macs: int, counted: str, published: Published) -> Net:
    width = FAMILY[name].width
    channels = (STEM, *(c for c, *_ in ROWS))
    return Net(
        build=partial(build, FAMILY[name]),
        params=params,
        counted=counted,
        macs=macs,
        classes=1000,
        size_px=224,
        source=f"Howard et al. 2017, table 1, width {width:g}",
        stages=tuple(
            Stage(f"stage{i}" if i else "stem", int(c * width), (2, 2, 4, 8, 16, 32)[i]) for i, c in enumerate(channels)
        ),
        published=published,
    )


NETS = {
    "mobilenetv1_100": row(
        "mobilenetv1_100",
        4_231_976,
        568_740_352,
        "timm 1.0.31 mobilenetv1_100",
        Published(70.6, 89.5, "Howard et al. 2017, table 6; top-5 of the authors' released model"),
    ),
    "mobilenetv1_075": row(
        "mobilenetv1_075",
        2_585_560,
        325_400_448,
        "pytorchcv 0.0.74 mobilenet_w3d4",
        Published(68.4, None, "Howard et al. 2017, table 6"),
    ),
    "mobilenetv1_050": row(
        "mobilenetv1_050",
        1_331_592,
        149_497_088,
        "pytorchcv 0.0.74 mobilenet_wd2",
        Published(63.7, None, "Howard et al. 2017, table 6"),
    ),
    "mobilenetv1_025": row(
        "mobilenetv1_025",
        470_072,
        41_030_272,
        "pytorchcv 0.0.74 mobilenet_wd4",
        Published(50.6, None, "Howard et al. 2017, table 6"),
    ),
}
