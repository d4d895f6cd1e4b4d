"""Wide residual networks: fewer layers of more channels.

Zagoruyko and Komodakis 2016, arXiv:1605.07146, table 1 (WRN-d-k for 32 px), section 3.4 and table 8 (ImageNet)

wide_resnet50_2, 101_2   ResNets whose inner 3x3 is twice as wide (the outer channels are not), stride on the 3x3
wrn_d_k                  pre-activation, basic units, 16·k, 32·k, 64·k maps, d = 6n + 4 layers; without dropout
wrn_68_3                 a guess. The winners of ILSVRC 2016 (Trimps-Soushen) name "Wrn-68-3" in their workshop slides
                         and define nothing; nobody else does. Here: bottlenecks three times as wide inside, and
                         (3, 4, 12, 3) of them, as 3 · 22 + 2 = 68. Another split of 22 would have the same name.
"""

from functools import partial

from lineside.nets.net import Net, Published
from lineside.nets.preact import PreAct, basic, small
from lineside.nets.resnet import ResNet, bottleneck, row, torchvision_names, weights
from lineside.nets.resnet_cifar import stem

FAMILY = {
    "wide_resnet50_2": ResNet((3, 4, 6, 3), partial(bottleneck, per_group=128)),
    "wide_resnet101_2": ResNet((3, 4, 23, 3), partial(bottleneck, per_group=128)),
    "wrn_68_3": ResNet((3, 4, 12, 3), partial(bottleneck, per_group=192)),
}


def wrn(depth: int, k: int, *, params: int, counted: str, macs: int, errors: str) -> Net:
    """WRN-depth-k."""
    n = (depth - 4) // 6
    return small(
        PreAct((n, n, n), basic, stem, first=16, width=16 * k),
        channels=(16, 16 * k, 32 * k, 64 * k),
        params=params,
        counted=counted,
        macs=macs,
        source=f"Zagoruyko and Komodakis 2016, table 1, d = {depth}, k = {k}; {errors}",
    )


ROUNDED = "the paper's table 4, rounded; by hand"

NETS = {
    "wide_resnet50_2": row(
        FAMILY["wide_resnet50_2"],
        params=68_883_240,
        counted="torchvision 0.29",
        macs=11_398_021_120,
        source="Zagoruyko and Komodakis 2016, table 8, WRN-50-2-bottleneck",
        weights=weights(
            "wide_resnet50_2",
            partial(torchvision_names, FAMILY["wide_resnet50_2"]),
            ("v1", "95faca4d", 78.468, 94.086),
            ("v2", "9ba9bcbe", 81.602, 95.758),
        ),
    ),
    "wide_resnet101_2": row(
        FAMILY["wide_resnet101_2"],
        params=126_886_696,
        counted="torchvision 0.29",
        macs=22_753_050_624,
        source="torchvision: Zagoruyko and Komodakis 2016, table 8, with 101 layers",
        weights=weights(
            "wide_resnet101_2",
            partial(torchvision_names, FAMILY["wide_resnet101_2"]),
            ("v1", "32ee1156", 78.848, 94.284),
            ("v2", "d733dc28", 82.510, 96.020),
        ),
    ),
    "wrn_68_3": row(
        FAMILY["wrn_68_3"],
        params=176_162_344,
        counted="by hand: nobody says what the net is; torchvision's ResNet with (3, 4, 12, 3), width_per_group=192",
        macs=30_498_619_392,
        source="a guess at Wrn-68-3 of Trimps-Soushen, ILSVRC 2016 (see the head of nets/wide.py)",
        published=Published(None, 95.35, "Trimps-Soushen, ILSVRC 2016 workshop slides; net not defined, many scales"),
    ),
    "wrn_16_8": wrn(
        16, 8, params=10_961_370, counted=ROUNDED, macs=1_548_145_664, errors="table 5: 4.27 % error on CIFAR-10"
    ),
    "wrn_28_10": wrn(
        28,
        10,
        params=36_479_194,
        counted="pytorchcv 0.0.74, wrn28_10_cifar10",
        macs=5_243_328_768,
        errors="table 5: 4.00 % error on CIFAR-10",
    ),
    "wrn_40_2": wrn(
        40, 2, params=2_243_546, counted=ROUNDED, macs=327_599_360, errors="table 4: 5.33 % error on CIFAR-10"
    ),
    "wrn_40_4": wrn(
        40, 4, params=8_949_210, counted=ROUNDED, macs=1_298_582_016, errors="table 5: 4.53 % error on CIFAR-10"
    ),
    "wrn_40_8": wrn(
        40,
        8,
        params=35_748_314,
        counted="pytorchcv 0.0.74, wrn40_8_cifar10",
        macs=5_172_024_320,
        errors="table 4: 4.66 % error on CIFAR-10",
    ),
}
