"""LeNet-5, as it was and as it is written today.

LeCun, Bottou, Bengio, Haffner 1998, Proc. IEEE 86(11), section II.B, figure 2, table I.

Both: 5x5 convolutions without padding on 32 x 32, 6-16-120 maps, C5 a convolution (so a larger picture only makes its
map larger), 84 hidden units. The paper's net sees one channel; here every net is given RGB. The stem turns it to luma
first (nothing learnt), so C1 keeps the 156 parameters of the paper and a grey picture passes unchanged.

lenet5_1998  60,000 trainable parameters and 340,908 connections, as the paper counts.
  C3     a map sees the maps of S2 that table I gives it: three, four or all six.
  S2 S4  the mean of 2x2, times one gain, plus one bias per map. (The paper takes the sum: its gain is a quarter.)
  C1-F6  1.7159 · tanh(2x / 3) after every layer ("units in layers up to F6").
  out    one radial basis unit a class: ‖x − w‖² to a fixed code w of ±1, drawn on 7 x 12 = 84 pixels. ‖x − w‖² =
         ‖x‖² + 84 − 2w·x, and ‖x‖² + 84 is the same for all classes: the last layer here is linear, fc(x) = 2w·x, and
         the order of the classes and every softmax are those of −‖x − w‖². It is fixed (buffers, not parameters); a
         task may put an nn.Linear of its own there, as in every net.
         The digits are our drawing: the paper's figure 3 is a picture. Other numbers of classes get random codes, the
         paper's alternative. The paper's losses, eq. 8 and 9, need ‖x − w‖² itself: distances().
  start  uniform in ±2.4 / inputs (appendix A); biases 0.
lenet5       every map of C3 sees every map of S2, ReLU, plain max pooling, a linear output: 61,706 parameters.
"""

from dataclasses import dataclass
from functools import partial
from random import Random

import torch
from torch import Tensor, nn

from lineside.nets.net import PLAIN_MEAN, PLAIN_STD, Net, Stage
from lineside.nets.parts import Concat, Grey, he_init, seq


@dataclass(frozen=True)
class LeNet:
    """One row: maps of C1, C3, C5 and units of F6. in_channels is 1 (luma of the picture) or 3 (RGB)."""

    maps: tuple[int, int, int] = (6, 16, 120)
    hidden: int = 84
    in_channels: int = 1


def build(spec: LeNet, classes: int = 10) -> nn.Sequential:
    c1, c3, c5 = spec.maps
    grey = {"grey": Grey()} if spec.in_channels == 1 else {}
    return he_init(
        seq(
            stem=seq(**grey, conv=nn.Conv2d(spec.in_channels, c1, 5), act=nn.ReLU(), pool=nn.MaxPool2d(2)),
            stage1=seq(conv=nn.Conv2d(c1, c3, 5), act=nn.ReLU(), pool=nn.MaxPool2d(2)),
            stage2=seq(conv=nn.Conv2d(c3, c5, 5), act=nn.ReLU()),
            head=seq(
                pool=nn.AdaptiveAvgPool2d(1),  # of 1 x 1 at 32 px: nothing to average
                flat=nn.Flatten(),
                fc6=nn.Linear(c5, spec.hidden),
                act=nn.ReLU(),
                fc=nn.Linear(spec.hidden, classes),
            ),
        )
    )


TABLE_I = (  # the maps of S2 that each map of C3 sees
    ((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    (
        *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
        *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    ),
    ((0, 1, 2, 3, 4, 5),),
)
DIGITS = """
..###.. ...#... ..###.. .#####. ....##. ####### ..###.. ####### ..###.. ..###..
.#...#. ..##... .#...#. #.....# ...#.#. #...... .#...#. ......# .#...#. .#...#.
#.....# .#.#... #.....# ......# ...#.#. #...... #...... ......# #.....# #.....#
#.....# ...#... ......# ......# ..#..#. #...... #...... .....#. #.....# #.....#
#.....# ...#... ......# .....#. ..#..#. #.###.. #...... .....#. .#...#. #.....#
#.....# ...#... .....#. ..###.. .#...#. ##...#. #.###.. ....#.. ..###.. .#...##
#.....# ...#... ....#.. .....#. .#...#. ......# ##...#. ....#.. .#...#. ..###.#
#.....# ...#... ...#... ......# #....#. ......# #.....# ...#... #.....# ......#
#.....# ...#... ..#.... ......# ####### ......# #.....# ...#... #.....# ......#
#.....# ...#... .#..... ......# .....#. #.....# #.....# ..#.... #.....# ......#
.#...#. ...#... #...... #.....# .....#. .#...#. .#...#. ..#.... .#...#. .#...#.
..###.. .#####. ####### .#####. .....#. ..###.. ..###.. ..#.... ..###.. ..###..
"""


class Pick(nn.Module):
    """(N, C, H, W) → (N, len(channels), H, W): these channels, in this order; one may come twice."""

    channels: Tensor

    def __init__(self, channels: tuple[int, ...]):
        super().__init__()
        self.register_buffer("channels", torch.tensor(channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(1, self.channels)


class ScaledTanh(nn.Module):
    """1.7159 · tanh(2x / 3): f(1) = 1 and f(−1) = −1, where its curvature is largest (appendix A)."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(x * (2 / 3))


def table_i() -> Concat:
    """C3: maps that see equally many maps of S2 are one convolution in as many groups."""
    branches: dict[str, nn.Module] = {}
    for name, rows in zip(("three", "four", "six"), TABLE_I, strict=True):
        channels = tuple(channel for row in rows for channel in row)
        conv = nn.Conv2d(len(channels), len(rows), 5, groups=len(rows))
        branches[name] = seq(pick=Pick(channels), conv=conv)
    return Concat(**branches)


def subsampling(maps: int) -> nn.Sequential:
    """S2 and S4: half of H, W; a gain and a bias per map, as a 1x1 convolution in as many groups."""
    return seq(mean=nn.AvgPool2d(2), gain=nn.Conv2d(maps, maps, 1, groups=maps), act=ScaledTanh())


def codes(classes: int) -> list[list[int]]:
    """(classes, 84) of ±1: the drawn digits if there are ten classes, otherwise as a coin falls, always the same."""
    if classes == 10:
        lines = [line.split() for line in DIGITS.split("\n") if line]
        return [[1 if pixel == "#" else -1 for line in lines for pixel in line[digit]] for digit in range(10)]
    coin = Random(1998)
    return [[coin.choice((-1, 1)) for _ in range(84)] for _ in range(classes)]


def radial(classes: int) -> nn.Linear:
    """The output: a linear layer that learns nothing, fc(x) = 2w·x."""
    fc = nn.Linear(84, classes)
    del fc.weight, fc.bias
    fc.register_buffer("weight", 2 * torch.tensor(codes(classes), dtype=torch.float32))
    fc.register_buffer("bias", torch.zeros(classes))  # not −84: beside it a bfloat16 would lose what differs
    return fc


def distances(f6: Tensor, logits: Tensor) -> Tensor:
    """What the paper's output units give, (N, K): ‖x − w‖² of F6's (N, 84) to every class's code."""
    return f6.square().sum(1, keepdim=True) + 84 - logits


def build_1998(classes: int = 10) -> nn.Sequential:
    net = seq(
        stem=seq(grey=Grey(), conv=nn.Conv2d(1, 6, 5), act=ScaledTanh(), pool=subsampling(6)),
        stage1=seq(conv=table_i(), act=ScaledTanh(), pool=subsampling(16)),
        stage2=seq(conv=nn.Conv2d(16, 120, 5), act=ScaledTanh()),
        head=seq(
            mean=nn.AdaptiveAvgPool2d(1),  # not "pool": a generalised mean would cut off what tanh makes negative
            flat=nn.Flatten(),
            fc6=nn.Linear(120, 84),
            act=ScaledTanh(),
            fc=radial(classes),
        ),
    )
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.weight.requires_grad:
            assert module.bias is not None
            bound = 2.4 / module.weight[0].numel()
            nn.init.uniform_(module.weight, -bound, bound)
            nn.init.zeros_(module.bias)
    return net


STAGES = (Stage("stem", 6, 2), Stage("stage1", 16, 4), Stage("stage2", 120, 4))

NETS = {
    "lenet5": Net(
        build=partial(build, LeNet()),
        params=61_706,
        counted="by hand: 156 + 2,416 + 48,120 + 10,164 + 850",
        macs=416_520,
        classes=10,
        size_px=32,
        source="LeCun et al. 1998, fig. 2, with full C3, ReLU and a linear output",
        stages=STAGES,
        mean=PLAIN_MEAN,
        std=PLAIN_STD,
    ),
    "lenet5_1998": Net(
        build=build_1998,
        params=60_000,
        counted="the paper: 60,000 trainable; 156 + 12 + 1,516 + 32 + 48,120 + 10,164",
        macs=328_096,  # 117,600 + 1,176 + 150,000 + 400 + 48,000 + 10,080 + 840
        classes=10,
        size_px=32,
        source="LeCun et al. 1998, section II.B, fig. 2, table I",
        stages=STAGES,
        mean=PLAIN_MEAN,
        std=PLAIN_STD,
    ),
}
