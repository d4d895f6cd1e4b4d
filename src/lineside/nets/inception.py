"""Inception-v3: large kernels factorised into small ones, also into rows and columns.

Szegedy et al. 2015, arXiv:1512.00567, table 1 (the whole net), figs. 5 to 7 (modules at 35, 17 and 8 px), fig. 10 (how
maps are halved). What the paper leaves open, such as the maps of each module, is as torchvision has it, which follows
TensorFlow's own code: the first module has a 5 x 5 branch, and batch norm is everywhere.

Stem and halving layers are without padding (299 → 149 → 147 → 73 → 71 → 35 → 17 → 8). Stages are by resolution; stage2
and stage3 begin with the module that halves. The auxiliary classifier after stage2 is used in training only: it is not
in the net, and the loader leaves its weights out. torchvision's weights were made for pictures from −1 to 1, as
googlenet.py has it.
"""

from torch import nn

from lineside.nets.net import PLAIN_MEAN, PLAIN_STD, Net, Stage, torchvision_weights
from lineside.nets.parts import Concat, classifier, he_init, seq

Kernel = int | tuple[int, int]  # rows, columns


def unit(cin: int, cout: int, k: Kernel, stride: int = 1, *, same: bool = True) -> nn.Sequential:
    """Convolution, batch norm, ReLU. H, W stay at stride 1 unless same is False; at stride 2 there is no padding."""
    rows, columns = (k, k) if isinstance(k, int) else k
    padding = (rows // 2, columns // 2) if same and stride == 1 else 0
    return seq(
        conv=nn.Conv2d(cin, cout, (rows, columns), stride, padding, bias=False),
        bn=nn.BatchNorm2d(cout, eps=1e-3),
        act=nn.ReLU(),
    )


def chain(cin: int, *layers: tuple[int, Kernel], stride: int = 1, same: bool = True) -> nn.Sequential:
    """Units one after another, each (channels, kernel); stride and same are the last one's."""
    units = {}
    for i, (cout, k) in enumerate(layers, 1):
        last = i == len(layers)
        units[f"c{i}"] = unit(cin, cout, k, stride if last else 1, same=same or not last)
        cin = cout
    return seq(**units)


def fork(cin: int, cout: int) -> Concat:
    """1 x 3 and 3 x 1 side by side: at 8 px, where there is room for more maps (fig. 7)."""
    return Concat(wide=unit(cin, cout, (1, 3)), tall=unit(cin, cout, (3, 1)))


def pooled(cin: int, cout: int, *, count_padding: bool = True) -> nn.Sequential:
    """The branch that looks at averages. count_padding: zeros beyond the border count, as in torchvision's v3."""
    return seq(pool=nn.AvgPool2d(3, 1, 1, count_include_pad=count_padding), project=unit(cin, cout, 1))


def at_35(cin: int, maps: int) -> Concat:
    """Fig. 5: two 3 x 3 for a 5 x 5; beside it the 5 x 5 that stayed."""
    return Concat(
        one=unit(cin, 64, 1),
        five=chain(cin, (48, 1), (64, 5)),
        three=chain(cin, (64, 1), (96, 3), (96, 3)),
        pool=pooled(cin, maps),
    )


def to_17(cin: int) -> Concat:
    return Concat(
        three=unit(cin, 384, 3, 2), twice=chain(cin, (64, 1), (96, 3), (96, 3), stride=2), pool=nn.MaxPool2d(3, 2)
    )


def at_17(cin: int, inner: int) -> Concat:
    """Fig. 6: 7 x 7 as a row and a column, once and twice."""
    row, column = (1, 7), (7, 1)
    return Concat(
        one=unit(cin, 192, 1),
        seven=chain(cin, (inner, 1), (inner, row), (192, column)),
        twice=chain(cin, (inner, 1), (inner, column), (inner, row), (inner, column), (192, row)),
        pool=pooled(cin, 192),
    )


def to_8(cin: int) -> Concat:
    return Concat(
        three=chain(cin, (192, 1), (320, 3), stride=2),
        seven=chain(cin, (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3), stride=2),
        pool=nn.MaxPool2d(3, 2),
    )


def at_8(cin: int) -> Concat:
    """Fig. 7: branches that end in a fork."""
    return Concat(
        one=unit(cin, 320, 1),
        three=seq(c1=unit(cin, 384, 1), fork=fork(384, 384)),
        twice=seq(c1=unit(cin, 448, 1), c2=unit(448, 384, 3), fork=fork(384, 384)),
        pool=pooled(cin, 192),
    )


def build(classes: int = 1000) -> nn.Sequential:
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
            stage1=seq(mixed5b=at_35(192, 32), mixed5c=at_35(256, 64), mixed5d=at_35(288, 64)),
            stage2=seq(
                mixed6a=to_17(288),
                mixed6b=at_17(768, 128),
                mixed6c=at_17(768, 160),
                mixed6d=at_17(768, 160),
                mixed6e=at_17(768, 192),
            ),
            stage3=seq(mixed7a=to_8(768), mixed7b=at_8(1280), mixed7c=at_8(2048)),
            head=classifier(2048, classes, dropout=0.5),
        )
    )


TORCHVISION = {  # our unit within a module → torchvision's
    at_35: {
        "one": "branch1x1",
        "five.c1": "branch5x5_1",
        "five.c2": "branch5x5_2",
        "three.c1": "branch3x3dbl_1",
        "three.c2": "branch3x3dbl_2",
        "three.c3": "branch3x3dbl_3",
        "pool.project": "branch_pool",
    },
    to_17: {
        "three": "branch3x3",
        "twice.c1": "branch3x3dbl_1",
        "twice.c2": "branch3x3dbl_2",
        "twice.c3": "branch3x3dbl_3",
    },
    at_17: {
        "one": "branch1x1",
        **{f"seven.c{i}": f"branch7x7_{i}" for i in (1, 2, 3)},
        **{f"twice.c{i}": f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5)},
        "pool.project": "branch_pool",
    },
    to_8: {
        "three.c1": "branch3x3_1",
        "three.c2": "branch3x3_2",
        **{f"seven.c{i}": f"branch7x7x3_{i}" for i in (1, 2, 3, 4)},
    },
    at_8: {
        "one": "branch1x1",
        "three.c1": "branch3x3_1",
        "three.fork.branches.wide": "branch3x3_2a",
        "three.fork.branches.tall": "branch3x3_2b",
        "twice.c1": "branch3x3dbl_1",
        "twice.c2": "branch3x3dbl_2",
        "twice.fork.branches.wide": "branch3x3dbl_3a",
        "twice.fork.branches.tall": "branch3x3dbl_3b",
        "pool.project": "branch_pool",
    },
}


def torchvision_names() -> dict[str, str]:
    """Our path of every module with a state → its path in torchvision.models.inception."""
    units = {
        "stem.c1": "Conv2d_1a_3x3",
        "stem.c2": "Conv2d_2a_3x3",
        "stem.c3": "Conv2d_2b_3x3",
        "stem.c4": "Conv2d_3b_1x1",
        "stem.c5": "Conv2d_4a_3x3",
    }
    for stage, modules in (
        ("stage1", {"5b": at_35, "5c": at_35, "5d": at_35}),
        ("stage2", {"6a": to_17, "6b": at_17, "6c": at_17, "6d": at_17, "6e": at_17}),
        ("stage3", {"7a": to_8, "7b": at_8, "7c": at_8}),
    ):
        for name, kind in modules.items():
            for ours, theirs in TORCHVISION[kind].items():
                units[f"{stage}.mixed{name}.branches.{ours}"] = f"Mixed_{name}.{theirs}"
    names = {f"{ours}.{part}": f"{theirs}.{part}" for ours, theirs in units.items() for part in ("conv", "bn")}
    return names | {"head.fc": "fc"}


NETS = {
    "inception_v3": Net(
        build=build,
        params=23_834_568,
        counted="torchvision 0.29 and timm 1.0, without the auxiliary classifier",
        macs=5_713_216_096,
        classes=1000,
        size_px=299,
        source="Szegedy et al. 2015, table 1, as torchvision has it",
        stages=(Stage("stem", 192, 8), Stage("stage1", 288, 8), Stage("stage2", 768, 16), Stage("stage3", 2048, 32)),
        mean=PLAIN_MEAN,
        std=PLAIN_STD,
        weights=(
            torchvision_weights(
                "inception_v3",
                "v1",
                "inception_v3_google-0cc3c7bd.pth",
                torchvision_names,
                77.294,
                93.450,
                ("AuxLogits.",),
            ),
        ),
        least_px=75,
    ),
}
