"""GoogLeNet: nine inception modules, of four branches each, and no hidden linear layer at the end.

Szegedy et al. 2014, arXiv:1409.4842, table 1 (the maps), fig. 2b (the module), fig. 3 and section 5 (the whole net,
auxiliary classifiers).

googlenet_paper  the table: biases and no batch norm, 5 x 5 in the third branch, dropout 40 %, local response
                 normalisation after pool1 and conv3 (fig. 3). Its constants are not printed: a guess, Caffe's (torch's
                 own default). The paper rounds its weights to 6.8 M and its multiply-adds to 1.5 G.
googlenet        torchvision's: batch norm for biases and normalisation, 3 x 3 where the paper has 5 x 5 (known there as
                 issue 906), pool4 over 2 x 2, dropout 20 %. Its weights were made for pictures from −1 to 1: its
                 transform_input undoes ImageNet's mean and std, (x · 0.229 + 0.485 − 0.5) / 0.5, so that
                 (picture − 0.5) / 0.5 is all that is left.

Pools round up (Caffe): 112 → 56 → 28 → 14 → 7; rounding down would give 55, 27, 13, 6. Stages are by resolution: the
stem ends with pool2, stage1 is 3a and 3b, stage2 is pool3 and 4a to 4e, stage3 is pool4, 5a and 5b.

The auxiliary classifiers look at 4a and 4d in training and are thrown away: they are in no Net. with_auxiliary puts
them on. torchvision's pool to 4 x 4 over other windows than the paper's 5 x 5 at stride 3, which is here; its file has
their weights, and the loader leaves them out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from lineside.nets.net import PLAIN_MEAN, PLAIN_STD, Net, Published, Stage, torchvision_weights
from lineside.nets.parts import Concat, classifier, conv_act, conv_bn, he_init, seq


@dataclass(frozen=True)
class GoogLeNet:
    """One row: how a layer is made (cin, cout, kernel[, stride]), and where torchvision differs from the paper."""

    layer: Callable[..., nn.Sequential]
    third: int  # kernel of the third branch
    pool4: int  # its window
    normalised: bool  # local response normalisation in the stem
    dropout: float


FAMILY = {
    "googlenet": GoogLeNet(
        partial(conv_bn, norm=partial(nn.BatchNorm2d, eps=1e-3)), third=3, pool4=2, normalised=False, dropout=0.2
    ),
    "googlenet_paper": GoogLeNet(conv_act, third=5, pool4=3, normalised=True, dropout=0.4),
}
MODULES = {  # table 1: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection
    "stage1": {"inception3a": (64, 96, 128, 16, 32, 32), "inception3b": (128, 128, 192, 32, 96, 64)},
    "stage2": {
        "inception4a": (192, 96, 208, 16, 48, 64),
        "inception4b": (160, 112, 224, 24, 64, 64),
        "inception4c": (128, 128, 256, 24, 64, 64),
        "inception4d": (112, 144, 288, 32, 64, 64),
        "inception4e": (256, 160, 320, 32, 128, 128),
    },
    "stage3": {"inception5a": (256, 160, 320, 32, 128, 128), "inception5b": (384, 192, 384, 48, 128, 128)},
}
AUXILIARY = {"stage2.inception4a": 512, "stage2.inception4d": 528}  # where they look, and how many maps are there
AUXILIARY_WEIGHT = 0.3  # of each auxiliary loss beside the main one (section 5)


def inception(spec: GoogLeNet, cin: int, maps: tuple[int, int, int, int, int, int]) -> tuple[nn.Module, int]:
    """One module and the channels it puts out."""
    one, three_reduce, three, five_reduce, five, pooled = maps
    module = Concat(
        one=spec.layer(cin, one, 1),
        three=seq(reduce=spec.layer(cin, three_reduce, 1), conv=spec.layer(three_reduce, three, 3)),
        five=seq(reduce=spec.layer(cin, five_reduce, 1), conv=spec.layer(five_reduce, five, spec.third)),
        pool=seq(pool=nn.MaxPool2d(3, 1, 1), project=spec.layer(cin, pooled, 1)),
    )
    return module, one + three + five + pooled


def pool(k: int = 3) -> nn.MaxPool2d:
    return nn.MaxPool2d(k, 2, ceil_mode=True)


def build(spec: GoogLeNet, classes: int = 1000) -> nn.Sequential:
    stem = seq(
        conv1=spec.layer(3, 64, 7, 2),
        pool1=pool(),
        **({"norm1": nn.LocalResponseNorm(5)} if spec.normalised else {}),
        conv2=spec.layer(64, 64, 1),
        conv3=spec.layer(64, 192, 3),
        **({"norm2": nn.LocalResponseNorm(5)} if spec.normalised else {}),
        pool2=pool(),
    )
    first = {"stage1": {}, "stage2": {"pool3": pool()}, "stage3": {"pool4": pool(spec.pool4)}}
    stages, cin = {"stem": stem}, 192
    for stage, modules in MODULES.items():
        parts: dict[str, nn.Module] = {**first[stage]}
        for name, maps in modules.items():
            parts[name], cin = inception(spec, cin, maps)
        stages[stage] = seq(**parts)
    return he_init(seq(**stages, head=classifier(cin, classes, spec.dropout)))


class Auxiliary(nn.Module):
    """A net with classifiers that look at inner blocks while it trains.

    In training (N, 3, H, W) → its logits and those of every classifier, in the order of the blocks; in eval its logits
    alone. heads: "stage.block" → the classifier of what that block puts out.
    """

    def __init__(self, net: nn.Sequential, heads: Mapping[str, nn.Module]):
        super().__init__()
        self.net, self.after, self.heads = net, tuple(heads), nn.ModuleList(heads.values())

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        if not self.training:
            return self.net(x)
        seen = {}
        for stage, parts in self.net.named_children():
            for block, part in parts.named_children():
                x = part(x)
                if f"{stage}.{block}" in self.after:
                    seen[f"{stage}.{block}"] = x
        return x, *(head(seen[place]) for place, head in zip(self.after, self.heads, strict=True))


def with_auxiliary(net: nn.Sequential, spec: GoogLeNet, classes: int = 1000) -> Auxiliary:
    """net, built from this row for so many classes, with the two classifiers of section 5, for 80 px and more."""
    return Auxiliary(
        net,
        {
            place: he_init(
                seq(
                    pool=nn.AvgPool2d(5, 3),
                    fit=nn.AdaptiveAvgPool2d(4),  # at 224 px the maps are 4 x 4 already
                    conv=spec.layer(cin, 128, 1),
                    flat=nn.Flatten(),
                    fc1=nn.Linear(128 * 4 * 4, 1024),
                    act=nn.ReLU(),
                    drop=nn.Dropout(0.7),
                    fc=nn.Linear(1024, classes),
                )
            )
            for place, cin in AUXILIARY.items()
        },
    )


def torchvision_names() -> dict[str, str]:
    """Our path of every module with a state → its path in torchvision.models.googlenet."""
    layers = {f"stem.conv{i}": f"conv{i}" for i in (1, 2, 3)}
    branches = {
        "one": "branch1",
        "three.reduce": "branch2.0",
        "three.conv": "branch2.1",
        "five.reduce": "branch3.0",
        "five.conv": "branch3.1",
        "pool.project": "branch4.1",
    }
    for stage, modules in MODULES.items():
        for name in modules:
            layers |= {f"{stage}.{name}.branches.{ours}": f"{name}.{theirs}" for ours, theirs in branches.items()}
    names = {f"{ours}.{part}": f"{theirs}.{part}" for ours, theirs in layers.items() for part in ("conv", "bn")}
    return names | {"head.fc": "fc"}


STAGES = (Stage("stem", 192, 8), Stage("stage1", 480, 8), Stage("stage2", 832, 16), Stage("stage3", 1024, 32))

NETS = {
    "googlenet": Net(
        build=partial(build, FAMILY["googlenet"]),
        params=6_624_904,
        counted="torchvision 0.29, without auxiliary classifiers",
        macs=1_498_376_192,
        classes=1000,
        size_px=224,
        source="Szegedy et al. 2014, table 1, as torchvision has it: batch norm, 3x3 for 5x5",
        stages=STAGES,
        mean=PLAIN_MEAN,
        std=PLAIN_STD,
        weights=(
            torchvision_weights(
                "googlenet", "v1", "googlenet-1378be20.pth", torchvision_names, 69.778, 89.530, ("aux1.", "aux2.")
            ),
        ),
        least_px=15,
    ),
    "googlenet_paper": Net(
        build=partial(build, FAMILY["googlenet_paper"]),
        params=6_998_552,
        counted="by hand, table 1 layer by layer with biases, without auxiliary classifiers",
        macs=1_582_671_872,
        classes=1000,
        size_px=224,
        source="Szegedy et al. 2014, table 1",
        stages=STAGES,
        published=Published(None, 89.93, "Szegedy et al. 2014, table 3, 1 model, 1 crop, validation"),
        least_px=31,
    ),
}
