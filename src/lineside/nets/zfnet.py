"""ZFNet: AlexNet with a finer first layer, found by looking at what the layers had learnt.

Zeiler and Fergus 2013, arXiv:1311.2901, fig. 3 (layers), section 4.1 (7 x 7 at stride 2 for 11 x 11 at 4), table 2.

zfnet               fig. 3: 96, 256, 384, 384, 256 maps
zfnet_512_1024_512  table 2's row (b): layers 3, 4, 5 with 512, 1024, 512 maps, the best single net of the paper

The sides of the maps are the figure's: 224, 110, 55, 26, 13, 13, 13, 13, 6. Its paddings are not printed; these give
them: 1 in conv1, pool1, pool2 and the 3 x 3 layers, 0 in conv2 and pool5. Normalisation across maps comes after pool1
and pool2 (fig. 3); that its constants are AlexNet's is a guess, as the paper gives none.
"""

from dataclasses import dataclass
from functools import partial

from torch import nn

from lineside.nets.alexnet import response_norm
from lineside.nets.net import Net, Published, Stage
from lineside.nets.parts import conv_act, fully_connected, he_init, seq


@dataclass(frozen=True)
class ZFNet:
    """One row: maps of layers 3, 4, 5."""

    maps: tuple[int, int, int]


FAMILY = {"zfnet": ZFNet((384, 384, 256)), "zfnet_512_1024_512": ZFNet((512, 1024, 512))}


def build(spec: ZFNet, classes: int = 1000) -> nn.Sequential:
    c3, c4, c5 = spec.maps
    return he_init(
        seq(
            stem=seq(conv=conv_act(3, 96, 7, 2, padding=1), pool=nn.MaxPool2d(3, 2, 1), norm=response_norm()),
            stage1=seq(conv=conv_act(96, 256, 5, 2, padding=0), pool=nn.MaxPool2d(3, 2, 1), norm=response_norm()),
            stage2=seq(
                c3=conv_act(256, c3, 3), c4=conv_act(c3, c4, 3), c5=conv_act(c4, c5, 3), pool=nn.MaxPool2d(3, 2)
            ),
            head=fully_connected(c5, 6, classes),
        )
    )


def stages(spec: ZFNet) -> tuple[Stage, ...]:
    return Stage("stem", 96, 4), Stage("stage1", 256, 16), Stage("stage2", spec.maps[2], 32)


CROPS = "validation; mean of ten crops, as for AlexNet"  # section 3 names the ten crops, table 2 no others

NETS = {
    "zfnet": Net(
        build=partial(build, FAMILY["zfnet"]),
        params=62_357_608,
        counted="pytorchcv, zfnet",
        macs=1_168_032_896,
        classes=1000,
        size_px=224,
        source="Zeiler and Fergus 2013, fig. 3",
        stages=stages(FAMILY["zfnet"]),
        published=Published(61.6, 83.5, f"Zeiler and Fergus 2013, table 2, 1 convnet as per fig. 3, {CROPS}"),
        least_px=53,
    ),
    "zfnet_512_1024_512": Net(
        build=partial(build, FAMILY["zfnet_512_1024_512"]),
        params=107_627_624,
        counted="pytorchcv, zfnetb",
        macs=2_476_704_896,
        classes=1000,
        size_px=224,
        source="Zeiler and Fergus 2013, table 2, (b): fig. 3 with 512, 1024, 512 maps in layers 3, 4, 5",
        stages=stages(FAMILY["zfnet_512_1024_512"]),
        published=Published(62.5, 84.0, f"Zeiler and Fergus 2013, table 2, 1 convnet (b), {CROPS}"),
        least_px=53,
    ),
}
