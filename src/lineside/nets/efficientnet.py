"""EfficientNet: one small net found by search, scaled in depth, width and resolution together.

B0 to B7  Tan and Le 2019, arXiv:1905.11946, table 1 (B0: one row is one stage here), eq. 3 (compound scaling), table 2
L2        Xie et al. 2019, arXiv:1911.04252: the net of Noisy Student and of Meta Pseudo Labels (arXiv:2003.10580)

Compound scaling: with φ, depth grows by α^φ, width by β^φ and the picture's side by γ^φ; α = 1.2, β = 1.1, γ = 1.15, so
that α·β²·γ² ≈ 2 and the MACs grow by about 2^φ. What was built and published are rounded multipliers, the rows below:
channels go to the nearest multiple of 8, repeats are rounded up.

As torchvision has it, whose weights load: padding is symmetric (TensorFlow's is SAME); batch norms are torch's own up
to B4 and have TensorFlow's eps 0.001 and momentum 0.01 from B5 on; in training the residual branches are dropped with a
probability that grows with depth to 0.2. torchvision measured its B2 at 288 px; the net's own side is 260.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import ceil

from torch import nn

from lineside.nets.drop_path import DropPath
from lineside.nets.net import Net, Published, Stage, Weights, torchvision_weights
from lineside.nets.parts import Residual, by_eight, classifier, conv_bn, he_init, seq, squeeze


@dataclass(frozen=True)
class EfficientNet:
    """One row: multipliers of width and depth, the side of its pictures, dropout of the head, batch norm."""

    width: float
    depth: float
    size_px: int
    dropout: float
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d


ROWS = (  # table 1: expansion, kernel, channels, repeats, stride of the first
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)
STEM, LAST = 32, 1280  # channels of the first and of the last convolution
STRIDES = (2, 2, 4, 8, 16, 16, 32, 32, 32)  # input pixels per pixel: stem, stage1 to 7, last
DROPPED = 0.2  # stochastic depth, of the last block
tensorflow_norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)  # TensorFlow's 0.99 counts the other way round

FAMILY = {
    "efficientnet_b0": EfficientNet(1.0, 1.0, 224, 0.2),
    "efficientnet_b1": EfficientNet(1.0, 1.1, 240, 0.2),
    "efficientnet_b2": EfficientNet(1.1, 1.2, 260, 0.3),
    "efficientnet_b3": EfficientNet(1.2, 1.4, 300, 0.3),
    "efficientnet_b4": EfficientNet(1.4, 1.8, 380, 0.4),
    "efficientnet_b5": EfficientNet(1.6, 2.2, 456, 0.4, tensorflow_norm),
    "efficientnet_b6": EfficientNet(1.8, 2.6, 528, 0.5, tensorflow_norm),
    "efficientnet_b7": EfficientNet(2.0, 3.1, 600, 0.5, tensorflow_norm),
    "efficientnet_l2": EfficientNet(4.3, 5.3, 800, 0.5, tensorflow_norm),
}


def channels(width: float) -> tuple[int, ...]:
    """Of the stem, of every stage, of the last convolution."""
    return tuple(by_eight(c * width) for c in (STEM, *(row[2] for row in ROWS), LAST))


def repeats(depth: float) -> tuple[int, ...]:
    """Blocks of every stage."""
    return tuple(ceil(row[3] * depth) for row in ROWS)


def block(
    cin: int, cout: int, expansion: int, k: int, stride: int, dropped: float, norm: Callable[[int], nn.Module]
) -> nn.Module:
    """1x1 wide, k x k depthwise, gate, 1x1 narrow and linear; with a shortcut where the shapes allow one."""
    hidden = cin * expansion
    wide = {"wide": conv_bn(cin, hidden, 1, act=nn.SiLU, norm=norm)} if expansion > 1 else {}
    shortcut = stride == 1 and cin == cout
    body = seq(
        **wide,
        deep=conv_bn(hidden, hidden, k, stride, groups=hidden, act=nn.SiLU, norm=norm),
        gate=squeeze(hidden, cin // 4, act=nn.SiLU),
        narrow=conv_bn(hidden, cout, 1, act=None, norm=norm),
        **({"drop": DropPath(dropped)} if shortcut else {}),
    )
    return Residual(body) if shortcut else body


def build(spec: EfficientNet, classes: int = 1000) -> nn.Sequential:
    stem, *widths, wide = channels(spec.width)
    stages, cin = {"stem": seq(conv=conv_bn(3, stem, 3, 2, act=nn.SiLU, norm=spec.norm))}, stem
    number, total = 0, sum(repeats(spec.depth))
    for i, (row, cout, depth) in enumerate(zip(ROWS, widths, repeats(spec.depth), strict=True), 1):
        expansion, k, _, _, stride = row
        blocks = []
        for j in range(depth):
            blocks.append(block(cin, cout, expansion, k, 1 if j else stride, DROPPED * number / total, spec.norm))
            number, cin = number + 1, cout
        stages[f"stage{i}"] = nn.Sequential(*blocks)
    last = seq(conv=conv_bn(cin, wide, 1, act=nn.SiLU, norm=spec.norm))
    return he_init(seq(**stages, last=last, head=classifier(wide, classes, spec.dropout)))


def torchvision_names(spec: EfficientNet) -> dict[str, str]:
    """Our path of every module with a state → its path in torchvision.models.efficientnet."""
    names = {"stem.conv.conv": "features.0.0", "stem.conv.bn": "features.0.1", "head.fc": "classifier.1"}
    for i, (row, depth) in enumerate(zip(ROWS, repeats(spec.depth), strict=True), 1):
        for j in range(depth):
            ours, theirs = f"stage{i}.{j}" + (".body" if j else ""), f"features.{i}.{j}.block"
            parts = ("wide", "deep", "gate", "narrow") if row[0] > 1 else ("deep", "gate", "narrow")
            for k, part in enumerate(parts):
                if part == "gate":
                    names |= {f"{ours}.gate.gate.reduce": f"{theirs}.{k}.fc1"}
                    names |= {f"{ours}.gate.gate.expand": f"{theirs}.{k}.fc2"}
                else:
                    names |= {f"{ours}.{part}.conv": f"{theirs}.{k}.0", f"{ours}.{part}.bn": f"{theirs}.{k}.1"}
    last = f"features.{len(ROWS) + 1}"
    return names | {"last.conv.conv": f"{last}.0", "last.conv.bn": f"{last}.1"}


def weights(net: str, version: str, file: str, top1: float, top5: float) -> Weights:
    return torchvision_weights(net, version, file, partial(torchvision_names, FAMILY[net]), top1, top5)


def stages(width: float) -> tuple[Stage, ...]:
    names = ("stem", *(f"stage{i}" for i in range(1, len(ROWS) + 1)), "last")
    return tuple(Stage(*place) for place in zip(names, channels(width), STRIDES, strict=True))


def row(name: str, params: int, macs: int, *published: Weights) -> Net:
    spec = FAMILY[name]
    return Net(
        build=partial(build, spec),
        params=params,
        counted="torchvision 0.29",
        macs=macs,
        classes=1000,
        size_px=spec.size_px,
        source=f"Tan and Le 2019, table 1, width {spec.width:g}, depth {spec.depth:g}",
        stages=stages(spec.width),
        weights=published,
    )


NETS = {
    "efficientnet_b0": row(
        "efficientnet_b0",
        5_288_548,
        385_814_752,
        weights("efficientnet_b0", "v1", "efficientnet_b0_rwightman-7f5810bc.pth", 77.692, 93.532),
    ),
    "efficientnet_b1": row(
        "efficientnet_b1",
        7_794_184,
        686_802_832,
        # V1 first for the reason given at resnet50.
        weights("efficientnet_b1", "v1", "efficientnet_b1_rwightman-bac287d4.pth", 78.642, 94.186),
        weights("efficientnet_b1", "v2", "efficientnet_b1-c27df63c.pth", 79.838, 94.934),
    ),
    "efficientnet_b2": row(
        "efficientnet_b2",
        9_109_994,
        993_561_872,
        replace(
            weights("efficientnet_b2", "v1", "efficientnet_b2_rwightman-c35c1473.pth", 80.608, 95.310),
            source="torchvision, efficientnet_b2 IMAGENET1K_V1, at 288 px",
        ),
    ),
    "efficientnet_b3": row(
        "efficientnet_b3",
        12_233_232,
        1_827_141_392,
        weights("efficientnet_b3", "v1", "efficientnet_b3_rwightman-b3899882.pth", 82.008, 96.054),
    ),
    "efficientnet_b4": row(
        "efficientnet_b4",
        19_341_616,
        4_393_771_024,
        weights("efficientnet_b4", "v1", "efficientnet_b4_rwightman-23ab8bcd.pth", 83.384, 96.594),
    ),
    "efficientnet_b5": row(
        "efficientnet_b5",
        30_389_784,
        10_266_384_752,
        weights("efficientnet_b5", "v1", "efficientnet_b5_lukemelas-1a07897c.pth", 83.444, 96.628),
    ),
    "efficientnet_b6": row(
        "efficientnet_b6",
        43_040_704,
        19_067_593_536,
        weights("efficientnet_b6", "v1", "efficientnet_b6_lukemelas-24a108a5.pth", 84.008, 96.916),
    ),
    "efficientnet_b7": row(
        "efficientnet_b7",
        66_347_960,
        37_745_884_192,
        weights("efficientnet_b7", "v1", "efficientnet_b7_lukemelas-c5b4e57e.pth", 84.122, 96.908),
    ),
    "efficientnet_l2": Net(
        build=partial(build, FAMILY["efficientnet_l2"]),
        params=480_309_308,
        counted="timm 1.0.31",
        macs=475_703_653_280,
        classes=1000,
        size_px=800,
        source="Xie et al. 2019, EfficientNet-L2: width 4.3, depth 5.3",
        stages=stages(4.3),
        published=Published(88.4, 98.7, "Xie et al. 2019, table 2; trained with 300 M more pictures without labels"),
    ),
}
