"""LeNet-5, as it is written today.

LeCun, Bottou, Bengio, Haffner 1998, Proc. IEEE 86(11), section II.B and figure 2.

As in the paper: 5x5 convolutions without padding on 32 x 32, 6-16-120 maps, C5 a convolution (so a larger picture
only makes its map larger), 84 hidden units. As it is written today: every map of C3 sees every map of S2 (the paper's
table I leaves some out), ReLU for the scaled tanh, plain max pooling for trainable subsampling, and a linear output for
the Gaussian one. That is 61,706 parameters where the paper counts 60,000.

The paper's net sees one channel; here every net is given RGB. The stem turns it to luma first (nothing learnt), so C1
keeps the 156 parameters of the paper and a grey picture passes unchanged.
"""

from dataclasses import dataclass
from functools import partial

from torch import nn

from lineside.nets.net import PLAIN_MEAN, PLAIN_STD, Net, Stage
from lineside.nets.parts import Grey, he_init, seq


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


NETS = {
    "lenet5": Net(
        build=partial(build, LeNet()),
        params=61_706,
        counted="by hand: 156 + 2,416 + 48,120 + 10,164 + 850",
        macs=416_520,
        classes=10,
        size_px=32,
        source="LeCun et al. 1998, fig. 2, with full C3, ReLU and a linear output",
        stages=(Stage("stem", 6, 2), Stage("stage1", 16, 4), Stage("stage2", 120, 4)),
        mean=PLAIN_MEAN,
        std=PLAIN_STD,
    ),
}
