"""Inception-v4, and Inception-ResNet-v2: the same idea without and with shortcuts.

Szegedy et al. 2016, arXiv:1602.07261. Inception-v4 has no shortcut anywhere, whatever its name is taken for.

inception_v4         figs. 3 (stem), 4 to 6 (modules A, B, C), 7 and 8 (halving), 9 (the whole)
inception_resnet_v2  fig. 15 with the modules of figs. 16, 17, 19. The figures' stem (v4's) and maps (1154, 2048) are
                     not what was published: TensorFlow's code and weights, and timm after it, have v3's stem, one more
                     inception module, 320, 1088, 2080 maps, 10-20-10 blocks, and 55.8 M weights. So has this.

Section 3.3: what a block adds is scaled down first, or wide nets die early in training; 0.17, 0.10 and 0.20 are
TensorFlow's. A block ends in a 1 x 1 convolution with a bias and without batch norm. The last block is not scaled, and
no ReLU follows it.

Averages do not count zeros beyond the border (TensorFlow's SAME). Stages are by resolution, as in inception.py.
"""

from functools import partial

from torch import Tensor, nn

from lineside.nets.inception import chain, fork, unit
from lineside.nets.inception import pooled as pooled_with_border
from lineside.nets.net import PLAIN_MEAN, PLAIN_STD, Net, Published, Stage
from lineside.nets.parts import Concat, Residual, classifier, he_init, seq

ROW, COLUMN = (1, 7), (7, 1)
pooled = partial(pooled_with_border, count_padding=False)


class Scale(nn.Module):
    """x · by: nothing learnt."""

    def __init__(self, by: float):
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return x * self.by

    def extra_repr(self) -> str:
        return f"by={self.by:g}"


def block_a() -> Concat:
    """Fig. 4: 384 maps at 35 px."""
    return Concat(
        one=unit(384, 96, 1),
        three=chain(384, (64, 1), (96, 3)),
        twice=chain(384, (64, 1), (96, 3), (96, 3)),
        pool=pooled(384, 96),
    )


def halve(cin: int, k: int, l: int, m: int, n: int) -> Concat:  # noqa: E741 (the paper's names, table 1)
    """Fig. 7, reduction A: 35 → 17 px."""
    return Concat(three=unit(cin, n, 3, 2), twice=chain(cin, (k, 1), (l, 3), (m, 3), stride=2), pool=nn.MaxPool2d(3, 2))


def block_b() -> Concat:
    """Fig. 5: 1024 maps at 17 px."""
    return Concat(
        one=unit(1024, 384, 1),
        seven=chain(1024, (192, 1), (224, ROW), (256, COLUMN)),
        twice=chain(1024, (192, 1), (192, COLUMN), (224, ROW), (224, COLUMN), (256, ROW)),
        pool=pooled(1024, 128),
    )


def halve_b() -> Concat:
    """Fig. 8, reduction B: 17 → 8 px."""
    return Concat(
        three=chain(1024, (192, 1), (192, 3), stride=2),
        seven=chain(1024, (256, 1), (256, ROW), (320, COLUMN), (320, 3), stride=2),
        pool=nn.MaxPool2d(3, 2),
    )


def block_c() -> Concat:
    """Fig. 6: 1536 maps at 8 px."""
    return Concat(
        one=unit(1536, 256, 1),
        three=seq(c1=unit(1536, 384, 1), fork=fork(384, 256)),
        twice=seq(c1=unit(1536, 384, 1), c2=unit(384, 448, (3, 1)), c3=unit(448, 512, (1, 3)), fork=fork(512, 256)),
        pool=pooled(1536, 256),
    )


def build_v4(classes: int = 1000) -> nn.Sequential:
    return he_init(
        seq(
            stem=seq(  # fig. 3: 299 → 35 px
                c1=unit(3, 32, 3, 2),
                c2=unit(32, 32, 3, same=False),
                c3=unit(32, 64, 3),
                mixed3=Concat(pool=nn.MaxPool2d(3, 2), conv=unit(64, 96, 3, 2)),
                mixed4=Concat(
                    three=chain(160, (64, 1), (96, 3), same=False),
                    seven=chain(160, (64, 1), (64, ROW), (64, COLUMN), (96, 3), same=False),
                ),
                mixed5=Concat(conv=unit(192, 192, 3, 2), pool=nn.MaxPool2d(3, 2)),
            ),
            stage1=nn.Sequential(*(block_a() for _ in range(4))),
            stage2=nn.Sequential(halve(384, 192, 224, 256, 384), *(block_b() for _ in range(7))),
            stage3=nn.Sequential(halve_b(), *(block_c() for _ in range(3))),
            head=classifier(1536, classes, dropout=0.2),
        )
    )


def added(branches: Concat, joined: int, cout: int, by: float) -> nn.Sequential:
    """x + by · (1 x 1 of the branches), then ReLU."""
    up = nn.Conv2d(joined, cout, 1)
    return seq(add=Residual(seq(branches=branches, up=up, scale=Scale(by))), act=nn.ReLU())


def residual_35() -> nn.Sequential:
    """Fig. 16."""
    branches = Concat(
        one=unit(320, 32, 1),
        three=chain(320, (32, 1), (32, 3)),
        twice=chain(320, (32, 1), (48, 3), (64, 3)),
    )
    return added(branches, 128, 320, 0.17)


def residual_17() -> nn.Sequential:
    """Fig. 17."""
    branches = Concat(one=unit(1088, 192, 1), seven=chain(1088, (128, 1), (160, ROW), (192, COLUMN)))
    return added(branches, 384, 1088, 0.10)


def branches_8() -> Concat:
    """Fig. 19."""
    return Concat(one=unit(2080, 192, 1), three=chain(2080, (192, 1), (224, (1, 3)), (256, (3, 1))))


def build_resnet_v2(classes: int = 1000) -> nn.Sequential:
    first = Concat(
        one=unit(192, 96, 1),
        five=chain(192, (48, 1), (64, 5)),
        twice=chain(192, (64, 1), (96, 3), (96, 3)),
        pool=pooled(192, 64),
    )
    to_8 = Concat(  # fig. 18
        three=chain(1088, (256, 1), (384, 3), stride=2),
        other=chain(1088, (256, 1), (288, 3), stride=2),
        twice=chain(1088, (256, 1), (288, 3), (320, 3), stride=2),
        pool=nn.MaxPool2d(3, 2),
    )
    last_added = seq(add=Residual(seq(branches=branches_8(), up=nn.Conv2d(448, 2080, 1))))
    return he_init(
        seq(
            stem=seq(
                c1=unit(3, 32, 3, 2),
                c2=unit(32, 32, 3, same=False),
                c3=unit(32, 64, 3),
                pool1=nn.MaxPool2d(3, 2),
                c4=unit(64, 80, 1),
                c5=unit(80, 192, 3, same=False),
                pool2=nn.MaxPool2d(3, 2),
            ),
            stage1=nn.Sequential(first, *(residual_35() for _ in range(10))),
            stage2=nn.Sequential(halve(320, 256, 256, 384, 384), *(residual_17() for _ in range(20))),
            stage3=nn.Sequential(to_8, *(added(branches_8(), 448, 2080, 0.20) for _ in range(9)), last_added),
            last=seq(conv=unit(2080, 1536, 1)),
            head=classifier(1536, classes, dropout=0.2),
        )
    )


CROP = "table 2, single crop, validation without the blacklisted pictures"

NETS = {
    "inception_v4": Net(
        build=build_v4,
        params=42_679_816,
        counted="timm 1.0 and pytorchcv",
        macs=12_253_974_624,
        classes=1000,
        size_px=299,
        source="Szegedy et al. 2016, fig. 9",
        stages=(Stage("stem", 384, 8), Stage("stage1", 384, 8), Stage("stage2", 1024, 16), Stage("stage3", 1536, 32)),
        mean=PLAIN_MEAN,
        std=PLAIN_STD,
        published=Published(80.0, 95.0, f"Szegedy et al. 2016, {CROP}"),
        least_px=75,
    ),
    "inception_resnet_v2": Net(
        build=build_resnet_v2,
        params=55_843_464,
        counted="timm 1.0 and pytorchcv",
        macs=13_155_794_016,
        classes=1000,
        size_px=299,
        source="Szegedy et al. 2016, fig. 15, with the maps of TensorFlow's code",
        stages=(
            Stage("stem", 192, 8),
            Stage("stage1", 320, 8),
            Stage("stage2", 1088, 16),
            Stage("stage3", 2080, 32),
            Stage("last", 1536, 32),
        ),
        mean=PLAIN_MEAN,
        std=PLAIN_STD,
        published=Published(80.1, 95.1, f"Szegedy et al. 2016, {CROP}"),
        least_px=75,
    ),
}
