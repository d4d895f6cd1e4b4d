"""DenseNet: every layer of a block sees what all layers before it in the block have put out.

Huang et al. 2016, arXiv:1608.06993, table 1 (121, 169, 201, 264: growth 32), section 3 (bottleneck of 4·growth, the
transition halves the channels: "BC"). 161 is growth 48, of the authors' repository, not of table 1.
The 264 of table 1 has 2 · (6 + 12 + 64 + 48) + 5 = 265 layers; the others are what their names say.

A layer is pre-activation 1x1, 3x3; its `growth` channels are joined behind its input, so a block of L layers has
L (L + 1) / 2 connections where a plain one has L. The transition is the first part of the stage that follows.
"""

from dataclasses import dataclass
from functools import partial

from torch import nn

from lineside.nets.net import Net, Published, Weights
from lineside.nets.parts import Concat, bn_conv, bn_relu, classifier, he_init, seq
from lineside.nets.resnet import stages, stem, weights


@dataclass(frozen=True, slots=True)
class DenseNet:
    """One row: layers per block, channels that a layer adds. The stem has twice as many."""

    depths: tuple[int, ...]
    growth: int = 32


FAMILY = {
    "densenet121": DenseNet((6, 12, 24, 16)),
    "densenet161": DenseNet((6, 12, 36, 24), growth=48),
    "densenet169": DenseNet((6, 12, 32, 32)),
    "densenet201": DenseNet((6, 12, 48, 32)),
    "densenet264": DenseNet((6, 12, 64, 48)),
}


def layer(cin: int, growth: int) -> Concat:
    """(N, cin, H, W) → (N, cin + growth, H, W), the first cin unchanged."""
    return Concat(kept=nn.Identity(), new=seq(c1=bn_conv(cin, 4 * growth, 1), c2=bn_conv(4 * growth, growth, 3)))


def transition(cin: int) -> nn.Sequential:
    """Half the channels, half of H and W."""
    return seq(halve=bn_conv(cin, cin // 2, 1), pool=nn.AvgPool2d(2))


def build(spec: DenseNet, classes: int = 1000) -> nn.Sequential:
    cin = 2 * spec.growth
    stages = {"stem": stem(cin)}
    for i, depth in enumerate(spec.depths, 1):
        stage = nn.Sequential()
        if i > 1:
            stage.add_module("down", transition(cin))
            cin //= 2
        for j in range(depth):
            stage.add_module(f"layer{j + 1}", layer(cin, spec.growth))
            cin += spec.growth
        if i == len(spec.depths):
            stage.add_module("norm", bn_relu(cin))
        stages[f"stage{i}"] = stage
    return he_init(seq(**stages, head=classifier(cin, classes)))


def torchvision_names(spec: DenseNet) -> dict[str, str]:
    """Our path of every module with a state → its path in torchvision's published files.

    The files are older than torchvision.models.densenet: their denselayers have "norm.1" and "conv.1" where the module
    has norm1 and conv1, and torchvision renames them as it loads.
    """
    names = {"stem.conv.conv": "features.conv0", "stem.conv.bn": "features.norm0", "head.fc": "classifier"}
    for i, depth in enumerate(spec.depths, 1):
        if i > 1:
            ours, theirs = f"stage{i}.down.halve", f"features.transition{i - 1}"
            names |= {f"{ours}.bn": f"{theirs}.norm", f"{ours}.conv": f"{theirs}.conv"}
        for j in range(1, depth + 1):
            for k in (1, 2):
                ours = f"stage{i}.layer{j}.branches.new.c{k}"
                theirs = f"features.denseblock{i}.denselayer{j}"
                names |= {f"{ours}.bn": f"{theirs}.norm.{k}", f"{ours}.conv": f"{theirs}.conv.{k}"}
    last = len(spec.depths)
    return names | {f"stage{last}.norm.bn": f"features.norm{last + 1}"}


def row(
    spec: DenseNet,
    *,
    params: int,
    counted: str,
    macs: int,
    channels: tuple[int, ...],
    source: str,
    weights: tuple[Weights, ...] = (),
    published: Published | None = None,
) -> Net:
    return Net(
        build=partial(build, spec),
        params=params,
        macs=macs,
        counted=counted,
        classes=1000,
        size_px=224,
        source=source,
        stages=stages(*channels),
        weights=weights,
        published=published,
    )


NETS = {
    "densenet121": row(
        FAMILY["densenet121"],
        params=7_978_856,
        counted="torchvision 0.29",
        macs=2_834_161_664,
        channels=(64, 256, 512, 1024, 1024),
        source="Huang et al. 2016, table 1, DenseNet-121",
        weights=weights(
            "densenet121", partial(torchvision_names, FAMILY["densenet121"]), ("v1", "a639ec97", 74.434, 91.972)
        ),
    ),
    "densenet161": row(
        FAMILY["densenet161"],
        params=28_681_000,
        counted="torchvision 0.29",
        macs=7_727_907_072,
        channels=(96, 384, 768, 2112, 2208),
        source="github.com/liuzhuang13/DenseNet, DenseNet-161, growth 48",
        weights=weights(
            "densenet161", partial(torchvision_names, FAMILY["densenet161"]), ("v1", "8d451a50", 77.138, 93.560)
        ),
    ),
    "densenet169": row(
        FAMILY["densenet169"],
        params=14_149_480,
        counted="torchvision 0.29",
        macs=3_359_843_328,
        channels=(64, 256, 512, 1280, 1664),
        source="Huang et al. 2016, table 1, DenseNet-169",
        weights=weights(
            "densenet169", partial(torchvision_names, FAMILY["densenet169"]), ("v1", "b2777c0a", 75.600, 92.806)
        ),
    ),
    "densenet201": row(
        FAMILY["densenet201"],
        params=20_013_928,
        counted="torchvision 0.29",
        macs=4_291_365_888,
        channels=(64, 256, 512, 1792, 1920),
        source="Huang et al. 2016, table 1, DenseNet-201",
        weights=weights(
            "densenet201", partial(torchvision_names, FAMILY["densenet201"]), ("v1", "c1103571", 76.896, 93.370)
        ),
    ),
    "densenet264": row(
        FAMILY["densenet264"],
        params=33_337_704,
        counted="torchvision 0.29, models.densenet.DenseNet(32, (6, 12, 64, 48), 64)",
        macs=5_751_653_376,
        channels=(64, 256, 512, 2304, 2688),
        source="Huang et al. 2016, table 1, DenseNet-264",
        published=Published(77.85, 93.88, "Huang et al. 2016, table 3, one crop"),
    ),
}
