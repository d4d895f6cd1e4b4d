"""Residual networks as the paper has them, where that is not what everybody builds.

He et al. 2015, arXiv:1512.03385, table 1, fig. 5, section 3.3 (options A and B), tables 2 and 3 (errors)

_paper     the stride on the first 1x1 of a bottleneck, as in the authors' models. The tensors are those of resnet50 …
           152; it costs 231,211,008 MACs less, and is table 1's 3.8, 7.6 and 11.3 x 10^9.
_option_a  the shortcut that has nothing to learn. Of it table 1's "3.6 x 10^9" for 34 layers is right, 3.644; with
           option B, which torchvision has, it is 3.664.
"""

from functools import partial

from torch import nn

from lineside.nets.net import Published
from lineside.nets.parts import Residual, seq
from lineside.nets.resnet import BASIC, ResNet, basic, bottleneck, row


def option_a(body: nn.Module, cin: int, cout: int, stride: int) -> nn.Sequential:
    """The input is added: every stride-th pixel, zeros for the channels it has not. Nothing to learn."""
    skip = seq(skip=nn.AvgPool2d(1, stride), zeros=nn.ConstantPad3d((0, 0, 0, 0, 0, cout - cin), 0.0))
    return seq(add=Residual(body, None if stride == 1 and cin == cout else skip), act=nn.ReLU())


printed = partial(bottleneck, strided=1)

NETS = {
    "resnet18_option_a": row(
        ResNet((2, 2, 2, 2), basic, option_a),
        params=11_515_688,
        counted="by hand: torchvision's 11,689,512 less its three shortcuts, 173,824",
        macs=1_794_805_760,
        source="He et al. 2015, section 4.1, option A, 18-layer",
        stages=BASIC,
        published=Published(72.12, None, "He et al. 2015, table 2, ten crops"),
    ),
    "resnet34_option_a": row(
        ResNet((3, 4, 6, 3), basic, option_a),
        params=21_623_848,
        counted="by hand: torchvision's 21,797,672 less its three shortcuts, 173,824",
        macs=3_644_493_824,
        source="He et al. 2015, section 4.1, option A, 34-layer",
        stages=BASIC,
        published=Published(74.97, 92.24, "He et al. 2015, table 3, ResNet-34 A, ten crops"),
    ),
    "resnet50_paper": row(
        ResNet((3, 4, 6, 3), printed),
        params=25_557_032,
        counted="pytorchcv 0.0.74, resnet50",
        macs=3_857_973_248,
        source="He et al. 2015, table 1, 50-layer",
        published=Published(75.3, 92.2, "github.com/KaimingHe/deep-residual-networks, one crop"),
    ),
    "resnet101_paper": row(
        ResNet((3, 4, 23, 3), printed),
        params=44_549_160,
        counted="pytorchcv 0.0.74, resnet101",
        macs=7_570_194_432,
        source="He et al. 2015, table 1, 101-layer",
        published=Published(76.4, 92.9, "github.com/KaimingHe/deep-residual-networks, one crop"),
    ),
    "resnet152_paper": row(
        ResNet((3, 8, 36, 3), printed),
        params=60_192_808,
        counted="pytorchcv 0.0.74, resnet152",
        macs=11_282_415_616,
        source="He et al. 2015, table 1, 152-layer",
        published=Published(77.0, 93.3, "github.com/KaimingHe/deep-residual-networks, one crop"),
    ),
}
