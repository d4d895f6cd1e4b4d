"""VGG: nothing but 3 x 3 convolutions, in stages that end in a 2 x 2 pool.

Simonyan and Zisserman 2014, arXiv:1409.1556, table 1: columns A, B, D, E are 11, 13, 16, 19 layers with weights.
Batch norm (_bn) is torchvision's addition; its convolutions keep their bias.

Stages are by resolution, and named so that a stage has the stride it has in a ResNet: the paper's conv1 is the stem
(stride 2), its conv2 to conv5 are stage1 to stage4 (stride 4 to 32).
"""

from dataclasses import dataclass
from functools import partial

from torch import nn

from lineside.nets.net import Net, Stage, torchvision_weights
from lineside.nets.parts import fully_connected, he_init, seq


@dataclass(frozen=True)
class VGG:
    """One row: convolutions per stage."""

    depths: tuple[int, int, int, int, int]
    batch_norm: bool = False


MAPS = (64, 128, 256, 512, 512)  # after a pool twice as many, but not after the last but one
FAMILY = {
    "vgg11": VGG((1, 1, 2, 2, 2)),
    "vgg11_bn": VGG((1, 1, 2, 2, 2), batch_norm=True),
    "vgg13": VGG((2, 2, 2, 2, 2)),
    "vgg13_bn": VGG((2, 2, 2, 2, 2), batch_norm=True),
    "vgg16": VGG((2, 2, 3, 3, 3)),
    "vgg16_bn": VGG((2, 2, 3, 3, 3), batch_norm=True),
    "vgg19": VGG((2, 2, 4, 4, 4)),
    "vgg19_bn": VGG((2, 2, 4, 4, 4), batch_norm=True),
}


def layer(spec: VGG, cin: int, cout: int) -> nn.Sequential:
    norm = {"bn": nn.BatchNorm2d(cout)} if spec.batch_norm else {}
    return seq(conv=nn.Conv2d(cin, cout, 3, padding=1), **norm, act=nn.ReLU())


def build(spec: VGG, classes: int = 1000) -> nn.Sequential:
    stages, cin = {}, 3
    for i, (depth, cout) in enumerate(zip(spec.depths, MAPS, strict=True)):
        layers = {f"c{j + 1}": layer(spec, cout if j else cin, cout) for j in range(depth)}
        stages[f"stage{i}" if i else "stem"] = seq(**layers, pool=nn.MaxPool2d(2))
        cin = cout
    return he_init(seq(**stages, head=fully_connected(cin, 7, classes)))


def torchvision_names(spec: VGG) -> dict[str, str]:
    """Our path of every module with a state → its path in torchvision.models.vgg, which numbers layers flat."""
    names = {"head.fc6": "classifier.0", "head.fc7": "classifier.3", "head.fc": "classifier.6"}
    number = 0
    for i, depth in enumerate(spec.depths):
        for j in range(depth):
            ours = f"stage{i}.c{j + 1}" if i else f"stem.c{j + 1}"
            names[f"{ours}.conv"] = f"features.{number}"
            if spec.batch_norm:
                names[f"{ours}.bn"] = f"features.{number + 1}"
            number += 3 if spec.batch_norm else 2
        number += 1  # the pool
    return names


def row(name: str, params: int, macs: int, column: str, file: str, top1: float, top5: float) -> Net:
    spec = FAMILY[name]
    return Net(
        build=partial(build, spec),
        params=params,
        counted="torchvision 0.29",
        macs=macs,
        classes=1000,
        size_px=224,
        source=f"Simonyan and Zisserman 2014, table 1, {column}" + (", with batch norm" if spec.batch_norm else ""),
        stages=tuple(Stage(f"stage{i}" if i else "stem", maps, 2 << i) for i, maps in enumerate(MAPS)),
        weights=(torchvision_weights(name, "v1", file, partial(torchvision_names, spec), top1, top5),),
    )


NETS = {
    "vgg11": row("vgg11", 132_863_336, 7_609_090_048, "A", "vgg11-8a719046.pth", 69.020, 88.628),
    "vgg11_bn": row("vgg11_bn", 132_868_840, 7_609_090_048, "A", "vgg11_bn-6002323d.pth", 70.370, 89.810),
    "vgg13": row("vgg13", 133_047_848, 11_308_466_176, "B", "vgg13-19584684.pth", 69.928, 89.246),
    "vgg13_bn": row("vgg13_bn", 133_053_736, 11_308_466_176, "B", "vgg13_bn-abd245e5.pth", 71.586, 90.374),
    "vgg16": row("vgg16", 138_357_544, 15_470_264_320, "D", "vgg16-397923af.pth", 71.592, 90.382),
    "vgg16_bn": row("vgg16_bn", 138_365_992, 15_470_264_320, "D", "vgg16_bn-6c64b313.pth", 73.360, 91.516),
    "vgg19": row("vgg19", 143_667_240, 19_632_062_464, "E", "vgg19-dcbb9e9d.pth", 72.376, 90.876),
    "vgg19_bn": row("vgg19_bn", 143_678_248, 19_632_062_464, "E", "vgg19_bn-c79401a0.pth", 74.218, 91.842),
}
