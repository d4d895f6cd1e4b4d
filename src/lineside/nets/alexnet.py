"""AlexNet, in three forms that are often taken for one another.

alexnet_towers  Krizhevsky, Sutskever, Hinton 2012 (NIPS 25), section 3 and fig. 2: two towers of half the maps, one a
                graphics card, that meet in conv3 and in the linear layers. Two towers that do not see each other are
                one convolution in two groups: conv2, conv4, conv5. Local response normalisation after conv1 and conv2.
alexnet_deck    the same maps without groups and without normalisation: the table that lectures draw
alexnet         Krizhevsky 2014, arXiv:1404.5997 ("one weird trick"), as torchvision has it: other maps, no groups

The paper says 224 x 224, but its 55 x 55 maps come from 227 without padding ((227 − 11) / 4 + 1), or from 224 with
padding 2 on a floor, as torchvision does. 227 with padding 2, which is also drawn, gives 56.

The paper's normalisation divides by (2 + 1e-4 · Σ a²)^0.75, Σ over five neighbouring maps (section 3.3). torch's takes
the mean of the five for their sum, so that its alpha is 5e-4 here.

Dropout is on what fc6 and fc7 put out, as in the paper; torchvision has it on what they take in. The paper's start
(Gaussian 0.01, some biases 1) is replaced by he_init.
"""

from dataclasses import dataclass
from functools import partial

from torch import nn

from lineside.nets.net import Net, Published, Stage, torchvision_weights
from lineside.nets.parts import conv_act, fully_connected, he_init, seq


@dataclass(frozen=True)
class AlexNet:
    """One row: maps of conv1 to conv5, conv1's padding, groups of conv2, conv4 and conv5."""

    maps: tuple[int, int, int, int, int]
    padding: int
    towers: int = 1
    normalised: bool = False


FAMILY = {
    "alexnet": AlexNet((64, 192, 384, 256, 256), padding=2),
    "alexnet_deck": AlexNet((96, 256, 384, 384, 256), padding=0),
    "alexnet_towers": AlexNet((96, 256, 384, 384, 256), padding=0, towers=2, normalised=True),
}


def response_norm() -> nn.LocalResponseNorm:
    """Section 3.3 of the paper: k = 2, n = 5, α = 1e-4 on the sum, β = 0.75."""
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)


def build(spec: AlexNet, classes: int = 1000) -> nn.Sequential:
    c1, c2, c3, c4, c5 = spec.maps
    first, second = ({"norm": response_norm()} if spec.normalised else {} for _ in range(2))
    return he_init(
        seq(
            stem=seq(conv=conv_act(3, c1, 11, 4, padding=spec.padding), **first, pool=nn.MaxPool2d(3, 2)),
            stage1=seq(conv=conv_act(c1, c2, 5, groups=spec.towers), **second, pool=nn.MaxPool2d(3, 2)),
            stage2=seq(
                c3=conv_act(c2, c3, 3),
                c4=conv_act(c3, c4, 3, groups=spec.towers),
                c5=conv_act(c4, c5, 3, groups=spec.towers),
                pool=nn.MaxPool2d(3, 2),
            ),
            head=fully_connected(c5, 6, classes),
        )
    )


def torchvision_names() -> dict[str, str]:
    """Our path of every module with a state → its path in torchvision.models.alexnet."""
    return {
        "stem.conv.conv": "features.0",
        "stage1.conv.conv": "features.3",
        "stage2.c3.conv": "features.6",
        "stage2.c4.conv": "features.8",
        "stage2.c5.conv": "features.10",
        "head.fc6": "classifier.1",
        "head.fc7": "classifier.4",
        "head.fc": "classifier.6",
    }


def stages(spec: AlexNet) -> tuple[Stage, ...]:
    return Stage("stem", spec.maps[0], 8), Stage("stage1", spec.maps[1], 16), Stage("stage2", spec.maps[4], 32)


NETS = {
    "alexnet": Net(
        build=partial(build, FAMILY["alexnet"]),
        params=61_100_840,
        counted="torchvision 0.29",
        macs=714_188_480,
        classes=1000,
        size_px=224,
        source="Krizhevsky 2014, arXiv:1404.5997, one column, as torchvision has it",
        stages=stages(FAMILY["alexnet"]),
        weights=(torchvision_weights("alexnet", "v1", "alexnet-owt-7be5be79.pth", torchvision_names, 56.522, 79.066),),
        least_px=63,
    ),
    "alexnet_deck": Net(
        build=partial(build, FAMILY["alexnet_deck"]),
        params=62_378_344,
        counted="pytorchcv, alexnet; by hand layer by layer",
        macs=1_135_256_096,
        classes=1000,
        size_px=227,
        source="Krizhevsky et al. 2012, fig. 2, its maps without the two groups",
        stages=stages(FAMILY["alexnet_deck"]),
        least_px=67,
    ),
    "alexnet_towers": Net(
        build=partial(build, FAMILY["alexnet_towers"]),
        params=60_965_224,
        counted="the paper: 60 million; by hand, layer by layer",
        macs=724_406_816,
        classes=1000,
        size_px=227,
        source="Krizhevsky et al. 2012, section 3.5 and fig. 2",
        stages=stages(FAMILY["alexnet_towers"]),
        published=Published(59.3, 81.8, "Krizhevsky et al. 2012, table 2, 1 CNN, validation; mean of ten crops"),
        least_px=67,
    ),
}
