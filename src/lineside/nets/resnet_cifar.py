"""Residual networks for pictures of 32 px, and their plain twins.

He et al. 2015, arXiv:1512.03385, section 4.2: 6n + 2 layers of 16-32-64 maps; n = 3, 5, 7, 9, 18; shortcuts of option
A, which have no parameters. A plain net is the same without shortcuts: the same tensors, and worse the deeper it is, on
the training pictures too (fig. 6: 56 layers lie above 20). Errors are on CIFAR-10's 10,000 test pictures.
"""

from functools import partial

from torch import nn

from lineside.nets.net import PLAIN_MEAN, PLAIN_STD, Net, Stage
from lineside.nets.parts import conv_bn, seq
from lineside.nets.resnet import ResNet, basic, build
from lineside.nets.resnet_paper import option_a


def stem(cout: int) -> nn.Sequential:
    """One 3x3: H and W stay."""
    return seq(conv=conv_bn(3, cout, 3))


def no_shortcut(body: nn.Module, cin: int, cout: int, stride: int) -> nn.Sequential:
    """The body alone."""
    return seq(body=body, act=nn.ReLU())


def row(spec: ResNet, params: int, macs: int, source: str) -> Net:
    return Net(
        build=partial(build, spec),
        params=params,
        macs=macs,
        counted="the paper's table 6, rounded; by hand, 16-32-64 maps and shortcuts without parameters",
        classes=10,
        size_px=32,
        source=f"He et al. 2015, section 4.2, {source}",
        stages=(Stage("stem", 16, 1), Stage("stage1", 16, 1), Stage("stage2", 32, 2), Stage("stage3", 64, 4)),
        mean=PLAIN_MEAN,
        std=PLAIN_STD,
    )


def residual(n: int) -> ResNet:
    return ResNet((n, n, n), basic, option_a, stem, first=16, width=16)


def plain(n: int) -> ResNet:
    return ResNet((n, n, n), basic, no_shortcut, stem, first=16, width=16)


NETS = {
    "resnet20": row(residual(3), 269_722, 40_551_040, "n = 3, option A; table 6: 8.75 % error on CIFAR-10"),
    "resnet32": row(residual(5), 464_154, 68_862_592, "n = 5, option A; table 6: 7.51 % error on CIFAR-10"),
    "resnet44": row(residual(7), 658_586, 97_174_144, "n = 7, option A; table 6: 7.17 % error on CIFAR-10"),
    "resnet56": row(residual(9), 853_018, 125_485_696, "n = 9, option A; table 6: 6.97 % error on CIFAR-10"),
    "resnet110": row(residual(18), 1_727_962, 252_887_680, "n = 18, option A; table 6: 6.43 % error on CIFAR-10"),
    "plain20": row(plain(3), 269_722, 40_551_040, "n = 3, plain"),
    "plain32": row(plain(5), 464_154, 68_862_592, "n = 5, plain"),
    "plain44": row(plain(7), 658_586, 97_174_144, "n = 7, plain"),
    "plain56": row(plain(9), 853_018, 125_485_696, "n = 9, plain"),
    "plain110": row(plain(18), 1_727_962, 252_887_680, "n = 18, plain; the paper: error above 60 %, not displayed"),
}
