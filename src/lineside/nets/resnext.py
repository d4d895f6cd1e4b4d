"""ResNeXt: the bottleneck's 3x3 in G groups of w channels each (w in stage 1; it doubles from stage to stage).

Xie et al. 2016, arXiv:1611.05431, table 1 (the net), table 2 (G and w of the same cost), table 3 (errors).

A block of a ResNet-50 in stage 1 has 256·64 + 9·64² + 64·256 = 69,632 weights; G groups of w have G·(512·w + 9·w²).
The same number would take w = 39.9, 23.9, 13.7, 3.97 at G = 2, 4, 8, 32. The paper's 40, 24, 14, 4 give 69,760, 69,888,
71,456, 70,144: 0.2, 0.4, 2.6 and 0.7 % more. 64x4d and 32x8d cost about twice that.
The stride is on the 3x3, as in the authors' code and torchvision. Names are torchvision's: layers_GxWd.
"""

from functools import partial

from lineside.nets.net import Published
from lineside.nets.resnet import ResNet, bottleneck, row, torchvision_names, weights


def resnext(depths: tuple[int, ...], groups: int, per_group: int) -> ResNet:
    return ResNet(depths, partial(bottleneck, groups=groups, per_group=per_group))


FIFTY, HUNDRED_AND_ONE = (3, 4, 6, 3), (3, 4, 23, 3)
FAMILY = {
    "resnext50_2x40d": resnext(FIFTY, 2, 40),
    "resnext50_4x24d": resnext(FIFTY, 4, 24),
    "resnext50_8x14d": resnext(FIFTY, 8, 14),
    "resnext50_32x4d": resnext(FIFTY, 32, 4),
    "resnext101_2x40d": resnext(HUNDRED_AND_ONE, 2, 40),
    "resnext101_4x24d": resnext(HUNDRED_AND_ONE, 4, 24),
    "resnext101_8x14d": resnext(HUNDRED_AND_ONE, 8, 14),
    "resnext101_32x4d": resnext(HUNDRED_AND_ONE, 32, 4),
    "resnext101_32x8d": resnext(HUNDRED_AND_ONE, 32, 8),
    "resnext101_64x4d": resnext(HUNDRED_AND_ONE, 64, 4),
}
TABLE_3 = "Xie et al. 2016, table 3, one crop"
TORCHVISION = "torchvision 0.29, models.resnet.ResNet with these groups and width_per_group"

NETS = {
    "resnext50_2x40d": row(
        FAMILY["resnext50_2x40d"],
        params=25_425_000,
        counted=TORCHVISION,
        macs=4_124_508_160,
        source="Xie et al. 2016, table 3, 2 x 40d",
        published=Published(77.0, None, TABLE_3),
    ),
    "resnext50_4x24d": row(
        FAMILY["resnext50_4x24d"],
        params=25_292_968,
        counted=TORCHVISION,
        macs=4_159_832_064,
        source="Xie et al. 2016, table 3, 4 x 24d",
        published=Published(77.4, None, TABLE_3),
    ),
    "resnext50_8x14d": row(
        FAMILY["resnext50_8x14d"],
        params=25_603_016,
        counted=TORCHVISION,
        macs=4_267_409_408,
        source="Xie et al. 2016, table 3, 8 x 14d",
        published=Published(77.7, None, TABLE_3),
    ),
    "resnext50_32x4d": row(
        FAMILY["resnext50_32x4d"],
        params=25_028_904,
        counted="torchvision 0.29",
        macs=4_230_479_872,
        source="Xie et al. 2016, table 1, 32 x 4d",
        weights=weights(
            "resnext50_32x4d",
            partial(torchvision_names, FAMILY["resnext50_32x4d"]),
            ("v1", "7cdf4587", 77.618, 93.698),
            ("v2", "1a0047aa", 81.198, 95.340),
        ),
    ),
    "resnext101_2x40d": row(
        FAMILY["resnext101_2x40d"],
        params=44_456_296,
        counted=TORCHVISION,
        macs=7_843_553_280,
        source="Xie et al. 2016, table 3, 2 x 40d",
        published=Published(78.3, None, TABLE_3),
    ),
    "resnext101_4x24d": row(
        FAMILY["resnext101_4x24d"],
        params=44_363_432,
        counted=TORCHVISION,
        macs=7_885_701_120,
        source="Xie et al. 2016, table 3, 4 x 24d",
        published=Published(78.6, None, TABLE_3),
    ),
    "resnext101_8x14d": row(
        FAMILY["resnext101_8x14d"],
        params=45_104_328,
        counted=TORCHVISION,
        macs=8_076_871_680,
        source="Xie et al. 2016, table 3, 8 x 14d",
        published=Published(78.7, None, TABLE_3),
    ),
    "resnext101_32x4d": row(
        FAMILY["resnext101_32x4d"],
        params=44_177_704,
        counted="timm 1.0",
        macs=7_969_996_800,
        source="Xie et al. 2016, table 3, 32 x 4d",
        published=Published(78.8, 94.4, "Xie et al. 2016, tables 3 and 4, one crop"),
    ),
    "resnext101_32x8d": row(
        FAMILY["resnext101_32x8d"],
        params=88_791_336,
        counted="torchvision 0.29",
        macs=16_414_015_488,
        source="torchvision; Mahajan et al. 2018, arXiv:1805.00932, section 2.2, 32 x 8d",
        weights=weights(
            "resnext101_32x8d",
            partial(torchvision_names, FAMILY["resnext101_32x8d"]),
            ("v1", "8ba56ff5", 79.312, 94.526),
            ("v2", "110c445d", 82.834, 96.228),
        ),
    ),
    "resnext101_64x4d": row(
        FAMILY["resnext101_64x4d"],
        params=83_455_272,
        counted="torchvision 0.29",
        macs=15_460_270_080,
        source="Xie et al. 2016, table 4, 64 x 4d",
        weights=weights(
            "resnext101_64x4d",
            partial(torchvision_names, FAMILY["resnext101_64x4d"]),
            ("v1", "173b62eb", 83.246, 96.454),  # of V2's recipe
        ),
    ),
}
