"""ShuffleNet: 1x1 convolutions in groups, and a shuffle of the channels between them.

Zhang et al. 2017, arXiv:1707.01083, table 1 (channels for g = 1, 2, 3, 4, 8), fig. 2b and 2c (the units), table 2
(errors by g and scale), table 5 (scales 1.5 and 2).

The first 1x1 convolution of all has no groups, as it sees only 24 channels (section 3.2). Other scales multiply all
channels of table 1 but those of the first convolution, which are 12, 24, 24 and 48 at 0.5, 1, 1.5 and 2 in the authors'
release (github.com/megvii-model/ShuffleNet-Series; 16 at 0.5 with g = 8): with 36 at 1.5 the net would cost 300 M, the
paper says 292 M. The release has no 0.25: there 12 give the 13 M of table 2, where 6 (pytorchcv) would give 11 M; with
g = 8, where 12 do not divide, 8 are a guess. Table 1's MACs leave the classifier out. Ours has a bias, the release's
has none.

Table 2's 0.5x and 0.25x with g = 2 and g = 4 are not here: a quarter of a half of 200 or 272 channels does not divide
into so many groups. Of 0.5x with g = 4 section 4.2 says that it ended in 576 channels and not in 544, and no more.
"""

from dataclasses import dataclass
from functools import partial

from torch import nn

from lineside.nets.net import Net, Published, Stage
from lineside.nets.parts import Concat, Residual, Shuffle, classifier, conv_bn, he_init, seq


@dataclass(frozen=True)
class ShuffleNet:
    """One row: groups of the 1x1 convolutions, scale of the stages' channels, channels of the first convolution."""

    groups: int
    scale: float = 1.0
    stem: int = 24


DEPTHS = (4, 8, 4)  # units of each stage; the first has stride 2
WIDTHS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # table 1: channels of the first stage by g; then twice as many

FAMILY = {
    "shufflenet_v1_x1_0_g1": ShuffleNet(1),
    "shufflenet_v1_x1_0_g2": ShuffleNet(2),
    "shufflenet_v1_x1_0_g3": ShuffleNet(3),
    "shufflenet_v1_x1_0_g4": ShuffleNet(4),
    "shufflenet_v1_x1_0_g8": ShuffleNet(8),
    "shufflenet_v1_x0_5_g1": ShuffleNet(1, 0.5, 12),
    "shufflenet_v1_x0_5_g3": ShuffleNet(3, 0.5, 12),
    "shufflenet_v1_x0_5_g8": ShuffleNet(8, 0.5, 16),
    "shufflenet_v1_x0_25_g1": ShuffleNet(1, 0.25, 12),
    "shufflenet_v1_x0_25_g3": ShuffleNet(3, 0.25, 12),
    "shufflenet_v1_x0_25_g8": ShuffleNet(8, 0.25, 8),
    "shufflenet_v1_x1_5_g3": ShuffleNet(3, 1.5, 24),
    "shufflenet_v1_x2_0_g3": ShuffleNet(3, 2.0, 48),
}


def widths(spec: ShuffleNet) -> tuple[int, ...]:
    """Channels of the three stages."""
    return tuple(int(WIDTHS[spec.groups] * spec.scale) << i for i in range(len(DEPTHS)))


def unit(cin: int, cout: int, groups: int, *, first_groups: int, stride: int) -> nn.Sequential:
    """1x1 narrow, shuffle, 3x3 depthwise, 1x1 wide, added to x; at stride 2 joined to x's average pool instead."""
    middle = cout // 4
    body = seq(
        narrow=conv_bn(cin, middle, 1, groups=first_groups),
        shuffle=Shuffle(groups),
        deep=conv_bn(middle, middle, 3, stride, groups=middle, act=None),
        wide=conv_bn(middle, cout if stride == 1 else cout - cin, 1, groups=groups, act=None),
    )
    if stride == 1:
        return seq(add=Residual(body), act=nn.ReLU())
    return seq(join=Concat(body=body, pool=nn.AvgPool2d(3, 2, 1)), act=nn.ReLU())


def build(spec: ShuffleNet, classes: int = 1000) -> nn.Sequential:
    stages = {"stem": seq(conv=conv_bn(3, spec.stem, 3, 2), pool=nn.MaxPool2d(3, 2, 1))}
    cin = spec.stem
    for i, (cout, depth) in enumerate(zip(widths(spec), DEPTHS, strict=True), 1):
        units = []
        for j in range(depth):
            first_groups = 1 if i == 1 and j == 0 else spec.groups
            units.append(unit(cin, cout, spec.groups, first_groups=first_groups, stride=1 if j else 2))
            cin = cout
        stages[f"stage{i}"] = nn.Sequential(*units)
    return he_init(seq(**stages, head=classifier(cin, classes)))


def row(name: str, params: int, macs: int, counted: str, table: int, top1_error: float) -> Net:
    spec = FAMILY[name]
    return Net(
        build=partial(build, spec),
        params=params,
        counted=counted,
        macs=macs,
        classes=1000,
        size_px=224,
        source=f"Zhang et al. 2017, table 1, g = {spec.groups}, scale {spec.scale:g}",
        stages=(
            Stage("stem", spec.stem, 4),
            *(Stage(f"stage{i}", c, 4 << i) for i, c in enumerate(widths(spec), 1)),
        ),
        published=Published(round(100 - top1_error, 1), None, f"Zhang et al. 2017, table {table}"),
    )


BY_HAND = "by hand: table 1 times 1.5; the release says 3.4 M"
HALF = "by hand: table 1 times 0.5, the release's 16 channels before it"
QUARTER = "by hand: table 1 times 0.25, 12 channels before it"
GUESSED = "by hand: table 1 times 0.25, 8 channels before it, which is a guess"
NETS = {
    "shufflenet_v1_x1_0_g1": row("shufflenet_v1_x1_0_g1", 1_531_936, 143_078_976, "pytorchcv 0.0.74", 2, 33.6),
    "shufflenet_v1_x1_0_g2": row("shufflenet_v1_x1_0_g2", 1_733_848, 140_836_512, "pytorchcv 0.0.74", 2, 32.7),
    "shufflenet_v1_x1_0_g3": row("shufflenet_v1_x1_0_g3", 1_865_728, 137_460_672, "pytorchcv 0.0.74", 2, 32.6),
    "shufflenet_v1_x1_0_g4": row("shufflenet_v1_x1_0_g4", 1_968_344, 134_339_776, "pytorchcv 0.0.74", 2, 32.8),
    "shufflenet_v1_x1_0_g8": row("shufflenet_v1_x1_0_g8", 2_434_768, 138_365_952, "pytorchcv 0.0.74", 2, 32.4),
    "shufflenet_v1_x0_25_g1": row("shufflenet_v1_x0_25_g1", 209_908, 13_162_320, QUARTER, 2, 57.1),
    "shufflenet_v1_x0_25_g3": row("shufflenet_v1_x0_25_g3", 306_124, 13_300_656, QUARTER, 2, 55.0),
    "shufflenet_v1_x0_25_g8": row("shufflenet_v1_x0_25_g8", 454_504, 12_426_240, GUESSED, 2, 52.7),
    "shufflenet_v1_x0_5_g1": row("shufflenet_v1_x0_5_g1", 534_484, 38_517_408, "pytorchcv 0.0.74", 2, 45.1),
    "shufflenet_v1_x0_5_g3": row("shufflenet_v1_x0_5_g3", 718_324, 37_589_856, "pytorchcv 0.0.74", 2, 43.2),
    "shufflenet_v1_x0_5_g8": row("shufflenet_v1_x0_5_g8", 1_011_448, 40_469_760, HALF, 2, 42.3),
    "shufflenet_v1_x1_5_g3": row("shufflenet_v1_x1_5_g3", 3_442_168, 292_443_552, BY_HAND, 5, 28.5),
    "shufflenet_v1_x2_0_g3": row("shufflenet_v1_x2_0_g3", 5_450_776, 524_045_184, "pytorchcv 0.0.74", 5, 26.3),
}
