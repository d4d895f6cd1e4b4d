"""The linear classifier on pixels: one template a class, as large as the picture.

Softmax regression (the deck's first classifier): logit = template · pixels + bias, so a row of the weights is a picture
of what its class looks like to the net. `lineside explain` draws them. 30,720 weights and 10 biases for ten classes.

A picture of another side than 32 px is averaged to 32 x 32 in the head. The problem is convex, any start ends at the
same place; but along directions in which the pictures do not vary no gradient ever moves the weights, and a start of
torch's usual size would stay in the templates as noise. So it is small.
"""

from torch import nn

from lineside.nets.net import PLAIN_MEAN, PLAIN_STD, Net, Stage
from lineside.nets.parts import seq

SIDE = 32  # px
START = 1e-3  # standard deviation of the weights; torch's own start has 0.01


def build(classes: int = 10) -> nn.Sequential:
    fc = nn.Linear(3 * SIDE * SIDE, classes)
    nn.init.normal_(fc.weight, std=START)
    nn.init.zeros_(fc.bias)
    return seq(
        stem=seq(pixels=nn.Identity()),
        head=seq(pool=nn.AdaptiveAvgPool2d(SIDE), flat=nn.Flatten(), fc=fc),
    )


NETS = {
    "linear": Net(
        build=build,
        params=30_730,
        counted="by hand: 32 · 32 · 3 · 10 + 10",
        macs=30_720,
        classes=10,
        size_px=SIDE,
        source="softmax regression on pixels",
        stages=(Stage("stem", 3, 1),),
        mean=PLAIN_MEAN,
        std=PLAIN_STD,
        least_px=1,
    )
}
