"""MobileNetV2: inverted residuals with linear bottlenecks.

Sandler et al. 2018, arXiv:1801.04381, table 2 (one row is one stage here), fig. 3 and 4d (the block), table 4 (errors).

Widths are rounded to multiples of 8. The paper's table 4 says 6.9 M parameters for width 1.4; built from its table 2
the net has 6.1 M, as timm's has.
"""

from dataclasses import dataclass
from functools import partial

from torch import nn

from lineside.nets.net import Net, Published, Stage, torchvision_weights
from lineside.nets.parts import Residual, by_eight, classifier, conv_bn, he_init, seq


@dataclass(frozen=True)
class MobileNetV2:
    """One row: the width multiplier of every layer."""

    width: float


ROWS = (  # table 2: expansion t, channels c, repeats n, stride s of the first
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEM, LAST = 32, 1280  # channels of the first and of the last convolution
STRIDES = (2, 2, 4, 8, 16, 16, 32, 32, 32)  # input pixels per pixel: stem, stage1 to 7, last

FAMILY = {"mobilenet_v2": MobileNetV2(1.0), "mobilenetv2_140": MobileNetV2(1.4)}


def block(cin: int, cout: int, expansion: int, stride: int) -> nn.Module:
    """1x1 wide, 3x3 depthwise, 1x1 narrow and linear; with a shortcut where the shapes allow one."""
    hidden = cin * expansion
    wide = {"wide": conv_bn(cin, hidden, 1, act=nn.ReLU6)} if expansion > 1 else {}
    body = seq(
        **wide,
        deep=conv_bn(hidden, hidden, 3, stride, groups=hidden, act=nn.ReLU6),
        narrow=conv_bn(hidden, cout, 1, act=None),
    )
    return Residual(body) if stride == 1 and cin == cout else body


def build(spec: MobileNetV2, classes: int = 1000) -> nn.Sequential:
    stem, *widths, wide = channels(spec)
    stages, cin = {"stem": seq(conv=conv_bn(3, stem, 3, 2, act=nn.ReLU6))}, stem
    for i, ((expansion, _, repeats, stride), cout) in enumerate(zip(ROWS, widths, strict=True), 1):
        blocks = []
        for j in range(repeats):
            blocks.append(block(cin, cout, expansion, 1 if j else stride))
            cin = cout
        stages[f"stage{i}"] = nn.Sequential(*blocks)
    last = seq(conv=conv_bn(cin, wide, 1, act=nn.ReLU6))
    return he_init(seq(**stages, last=last, head=classifier(wide, classes, dropout=0.2)))


def channels(spec: MobileNetV2) -> tuple[int, ...]:
    """Of the stem, of every stage, of the last convolution."""
    return tuple(by_eight(c * spec.width) for c in (STEM, *(row[1] for row in ROWS), LAST))


def stages(spec: MobileNetV2) -> tuple[Stage, ...]:
    names = ("stem", *(f"stage{i}" for i in range(1, len(ROWS) + 1)), "last")
    return tuple(Stage(*place) for place in zip(names, channels(spec), STRIDES, strict=True))


def torchvision_names() -> dict[str, str]:
    """Our path of every module with a state → its path in torchvision.models.mobilenetv2, which numbers layers flat."""
    names = {"stem.conv.conv": "features.0.0", "stem.conv.bn": "features.0.1", "head.fc": "classifier.1"}
    number, cin = 1, STEM
    for i, (expansion, cout, repeats, stride) in enumerate(ROWS, 1):
        for j in range(repeats):
            shortcut = (1 if j else stride) == 1 and cin == cout
            ours, theirs = f"stage{i}.{j}" + (".body" if shortcut else ""), f"features.{number}.conv"
            for k, part in enumerate(("wide", "deep") if expansion > 1 else ("deep",)):
                names |= {f"{ours}.{part}.conv": f"{theirs}.{k}.0", f"{ours}.{part}.bn": f"{theirs}.{k}.1"}
            k = 2 if expansion > 1 else 1
            names |= {f"{ours}.narrow.conv": f"{theirs}.{k}", f"{ours}.narrow.bn": f"{theirs}.{k + 1}"}
            number, cin = number + 1, cout
    return names | {"last.conv.conv": f"features.{number}.0", "last.conv.bn": f"features.{number}.1"}


NETS = {
    "mobilenet_v2": Net(
        build=partial(build, FAMILY["mobilenet_v2"]),
        params=3_504_872,
        counted="torchvision 0.29",
        macs=300_774_272,
        classes=1000,
        size_px=224,
        source="Sandler et al. 2018, table 2, width 1.0",
        stages=stages(FAMILY["mobilenet_v2"]),
        # V1 first for the reason given at resnet50.
        weights=(
            torchvision_weights("mobilenet_v2", "v1", "mobilenet_v2-b0353104.pth", torchvision_names, 71.878, 90.286),
            torchvision_weights("mobilenet_v2", "v2", "mobilenet_v2-7ebf99e0.pth", torchvision_names, 72.154, 90.822),
        ),
    ),
    "mobilenetv2_140": Net(
        build=partial(build, FAMILY["mobilenetv2_140"]),
        params=6_108_776,
        counted="timm 1.0.31",
        macs=582_195_824,
        classes=1000,
        size_px=224,
        source="Sandler et al. 2018, table 2, width 1.4",
        stages=stages(FAMILY["mobilenetv2_140"]),
        published=Published(74.7, None, "Sandler et al. 2018, table 4"),
    ),
}
