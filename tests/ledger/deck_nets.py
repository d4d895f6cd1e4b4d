"""The deck's nets as literal layer lists, so that its tables are checked against nothing of ours but the ledger.

(maps, kernel, stride, pad[, groups]) is a convolution with ReLU, ("pool", kernel, stride, pad, ceil) a max pool, a
number a linear layer, a list of lists branches that are joined along channels.
"""

import torch
from torch import nn

from lineside.nets.parts import Concat


def net(cin: int, spec: list, side: int, pool: type[nn.Module] = nn.MaxPool2d) -> nn.Sequential:
    with torch.device("meta"):
        return nn.Sequential(*layers(torch.empty(1, cin, side, side), spec, pool))


def layers(x: torch.Tensor, spec: list, pool: type[nn.Module]) -> list[nn.Module]:
    """The modules of a list; x has the shape that they are given."""
    found: list[nn.Module] = []
    for one in spec:
        if isinstance(one, int):
            more = [nn.Flatten()] if x.dim() > 2 else []
            more.append(nn.Linear(x[0].numel(), one))
        elif isinstance(one, list):
            more = [Concat(**{f"b{i}": nn.Sequential(*layers(x, branch, pool)) for i, branch in enumerate(one)})]
        elif one == "average":
            more = [nn.AdaptiveAvgPool2d(1)]
        elif one[0] == "pool":
            more = [pool(one[1], one[2], one[3], ceil_mode=len(one) > 4)]
        else:
            maps, k, s, p, *groups = one
            more = [nn.Conv2d(x.shape[1], maps, k, s, p, groups=groups[0] if groups else 1), nn.ReLU()]
        x = nn.Sequential(*more)(x)
        found += more
    return found


POOL = ("pool", 3, 2, 0)
CEIL = ("pool", 3, 2, 0, "ceil")
HEAD = [4096, 4096, 1000]


def alexnet(first: tuple, maps: tuple[int, ...] = (256, 384, 384, 256), groups: int = 1) -> list:
    c2, c3, c4, c5 = maps
    return [
        first,
        POOL,
        (c2, 5, 1, 2, groups),
        POOL,
        (c3, 3, 1, 1),
        (c4, 3, 1, 1, groups),
        (c5, 3, 1, 1, groups),
        POOL,
        *HEAD,
    ]


def vgg(*depths: int) -> list:
    widths = (64, 128, 256, 512, 512)
    stages = [[(w, 3, 1, 1)] * n + [("pool", 2, 2, 0)] for w, n in zip(widths, depths, strict=True)]
    return [layer for stage in stages for layer in stage] + HEAD


def inception(a: int, b: tuple[int, int], c: tuple[int, int], d: int) -> list:
    """Szegedy et al. 2014, table 1: 1x1, 3x3 behind its reduction, 5x5 behind its own, and a projected pool."""
    return [
        [(a, 1, 1, 0)],
        [(b[0], 1, 1, 0), (b[1], 3, 1, 1)],
        [(c[0], 1, 1, 0), (c[1], 5, 1, 2)],
        [("pool", 3, 1, 1), (d, 1, 1, 0)],
    ]


STEM = [(64, 7, 2, 3), CEIL, (64, 1, 1, 0), (192, 3, 1, 1), CEIL]
GOOGLENET = [
    *STEM,
    inception(64, (96, 128), (16, 32), 32),
    inception(128, (128, 192), (32, 96), 64),
    CEIL,
    inception(192, (96, 208), (16, 48), 64),
    inception(160, (112, 224), (24, 64), 64),
    inception(128, (128, 256), (24, 64), 64),
    inception(112, (144, 288), (32, 64), 64),
    inception(256, (160, 320), (32, 128), 128),
    CEIL,
    inception(256, (160, 320), (32, 128), 128),
    inception(384, (192, 384), (48, 128), 128),
    "average",
    1000,
]
LENET = [(6, 5, 1, 0), ("pool", 2, 2, 0), (16, 5, 1, 0), ("pool", 2, 2, 0), (120, 5, 1, 0), 84, 10]
ZFNET = [
    (96, 7, 2, 1),
    ("pool", 3, 2, 1),
    (256, 5, 2, 0),
    ("pool", 3, 2, 1),
    (512, 3, 1, 1),
    (1024, 3, 1, 1),
    (512, 3, 1, 1),
    POOL,
    *HEAD,
]
TABLES = {  # name of the table in deck/: channels and side of the input, layers
    "alexnet_227_pad_0": (3, 227, alexnet((96, 11, 4, 0))),
    "alexnet_227_pad_2": (3, 227, alexnet((96, 11, 4, 2))),
    "alexnet_two_towers": (3, 227, alexnet((96, 11, 4, 0), groups=2)),
    "alexnet_torchvision": (3, 224, alexnet((64, 11, 4, 2), (192, 384, 256, 256))),
    "zfnet": (3, 224, ZFNET),
    "vgg16": (3, 224, vgg(2, 2, 3, 3, 3)),
    "googlenet_stem": (3, 224, STEM),
    "googlenet": (3, 224, GOOGLENET),
    "lenet5_modern": (1, 32, LENET),
}
TOTALS = {  # what has no table of its own: params, MACs, pool operations, KB
    "vgg11": (vgg(1, 1, 2, 2, 2), 132_863_336, 7_609_090_048, 6_121_472, 35_119.9),
    "vgg13": (vgg(2, 2, 2, 2, 2), 133_047_848, 11_308_466_176, 6_121_472, 53_935.9),
    "vgg19": (vgg(2, 2, 4, 4, 4), 143_667_240, 19_632_062_464, 6_121_472, 64_127.9),
    "vgg16 up to 28 x 28": (vgg(2, 2, 3, 3, 3)[:10], 1_735_488, 9_335_144_448, 5_619_712, 52_528.0),
}
