"""ShuffleNetV2: half of the channels pass by, the other half is worked on, then both are shuffled.

Ma et al. 2018, arXiv:1807.11164, table 5 (channels and depths), fig. 3c and 3d (the units).

The paper's MACs (41, 146, 299, 591 M) are 1 to 2 % above what its table gives.
"""

from dataclasses import dataclass
from functools import partial

from torch import nn

from lineside.nets.net import Net, Stage, Weights, torchvision_weights
from lineside.nets.parts import Concat, Shuffle, Split, classifier, conv_bn, he_init, seq


@dataclass(frozen=True)
class ShuffleNetV2:
    """One row: channels of the three stages and of the last convolution."""

    widths: tuple[int, int, int]
    last: int = 1024


STEM = 24
DEPTHS = (4, 8, 4)  # units of each stage; the first has stride 2

FAMILY = {
    "shufflenet_v2_x0_5": ShuffleNetV2((48, 96, 192)),
    "shufflenet_v2_x1_0": ShuffleNetV2((116, 232, 464)),
    "shufflenet_v2_x1_5": ShuffleNetV2((176, 352, 704)),
    "shufflenet_v2_x2_0": ShuffleNetV2((244, 488, 976), last=2048),
}


def worked(cin: int, cout: int, stride: int) -> nn.Sequential:
    """The right branch: 1x1, 3x3 depthwise, 1x1."""
    return seq(
        c1=conv_bn(cin, cout, 1),
        deep=conv_bn(cout, cout, 3, stride, groups=cout, act=None),
        c2=conv_bn(cout, cout, 1),
    )


def halving(cin: int, cout: int) -> nn.Sequential:
    """Fig. 3d: both branches see all of x at stride 2."""
    left = seq(deep=conv_bn(cin, cin, 3, 2, groups=cin, act=None), c1=conv_bn(cin, cout // 2, 1))
    return seq(join=Concat(left=left, right=worked(cin, cout // 2, 2)), shuffle=Shuffle(2))


def unit(channels: int) -> nn.Sequential:
    """Fig. 3c: one half passes by."""
    return seq(join=Split(worked(channels // 2, channels // 2, 1)), shuffle=Shuffle(2))


def build(spec: ShuffleNetV2, classes: int = 1000) -> nn.Sequential:
    stages, cin = {"stem": seq(conv=conv_bn(3, STEM, 3, 2), pool=nn.MaxPool2d(3, 2, 1))}, STEM
    for i, (cout, depth) in enumerate(zip(spec.widths, DEPTHS, strict=True), 1):
        stages[f"stage{i}"] = nn.Sequential(halving(cin, cout), *(unit(cout) for _ in range(depth - 1)))
        cin = cout
    return he_init(seq(**stages, last=seq(conv=conv_bn(cin, spec.last, 1)), head=classifier(spec.last, classes)))


def torchvision_names() -> dict[str, str]:
    """Our path of every module with a state → its path in torchvision.models.shufflenetv2."""
    names = {"stem.conv.conv": "conv1.0", "stem.conv.bn": "conv1.1"}
    names |= {"last.conv.conv": "conv5.0", "last.conv.bn": "conv5.1", "head.fc": "fc"}
    for i, depth in enumerate(DEPTHS, 1):
        for j in range(depth):
            ours, theirs = f"stage{i}.{j}.join", f"stage{i + 1}.{j}"
            right = f"{ours}.body" if j else f"{ours}.branches.right"
            places = [(f"{right}.c1", f"{theirs}.branch2", 0)]
            places += [(f"{right}.deep", f"{theirs}.branch2", 3), (f"{right}.c2", f"{theirs}.branch2", 5)]
            if j == 0:
                left = f"{ours}.branches.left"
                places += [(f"{left}.deep", f"{theirs}.branch1", 0), (f"{left}.c1", f"{theirs}.branch1", 2)]
            for here, there, k in places:
                names |= {f"{here}.conv": f"{there}.{k}", f"{here}.bn": f"{there}.{k + 1}"}
    return names


def row(name: str, params: int, macs: int, published: Weights) -> Net:
    spec = FAMILY[name]
    return Net(
        build=partial(build, spec),
        params=params,
        counted="torchvision 0.29",
        macs=macs,
        classes=1000,
        size_px=224,
        source=f"Ma et al. 2018, table 5, {spec.widths[0]}-{spec.widths[1]}-{spec.widths[2]}-{spec.last} channels",
        stages=(
            Stage("stem", STEM, 4),
            *(Stage(f"stage{i}", c, 4 << i) for i, c in enumerate(spec.widths, 1)),
            Stage("last", spec.last, 32),
        ),
        weights=(published,),
    )


NETS = {
    "shufflenet_v2_x0_5": row(
        "shufflenet_v2_x0_5",
        1_366_792,
        40_476_448,
        torchvision_weights(
            "shufflenet_v2_x0_5", "v1", "shufflenetv2_x0.5-f707e7126e.pth", torchvision_names, 60.552, 81.746
        ),
    ),
    "shufflenet_v2_x1_0": row(
        "shufflenet_v2_x1_0",
        2_278_604,
        144_907_992,
        torchvision_weights(
            "shufflenet_v2_x1_0", "v1", "shufflenetv2_x1-5666bf0f80.pth", torchvision_names, 69.362, 88.316
        ),
    ),
    "shufflenet_v2_x1_5": row(
        "shufflenet_v2_x1_5",
        3_503_624,
        295_759_392,
        torchvision_weights(
            "shufflenet_v2_x1_5", "v1", "shufflenetv2_x1_5-3c479a10.pth", torchvision_names, 72.996, 91.086
        ),
    ),
    "shufflenet_v2_x2_0": row(
        "shufflenet_v2_x2_0",
        7_393_996,
        583_253_464,
        torchvision_weights(
            "shufflenet_v2_x2_0", "v1", "shufflenetv2_x2_0-8be3c8ee.pth", torchvision_names, 76.230, 93.006
        ),
    ),
}
