"""MobileNetV3: inverted residuals found by search, some with squeeze-and-excitation, and a cheaper head.

Howard et al. 2019, arXiv:1905.02244, table 1 (large) and table 2 (small); one row is one block here, a stage is the
blocks of one width. Hard swish is eq. 2; the gates are hard sigmoids (section 5.3).

As torchvision has it: a gate squeezes to a quarter of the expanded channels, rounded to a multiple of 8 (section 5.3);
batch norms have TensorFlow's eps 0.001 and momentum 0.01; the two 1x1 layers after the pooling are linear layers.
"""

from dataclasses import dataclass
from functools import partial

from torch import nn

from lineside.nets.net import Net, Stage, Weights, torchvision_weights
from lineside.nets.parts import Residual, by_eight, conv_bn, he_init, seq, squeeze


@dataclass(frozen=True)
class Block:
    """One line of the paper's table: k x k kernel, expanded and put out channels, SE, NL, s."""

    k: int
    hidden: int
    cout: int
    gated: bool
    act: type[nn.Module]
    stride: int = 1


@dataclass(frozen=True)
class MobileNetV3:
    """One net: the blocks of every stage, then the channels of the last convolution and of the first linear layer."""

    stages: tuple[tuple[Block, ...], ...]
    last: int
    wide: int


STEM = 16
norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)
RE, HS = nn.ReLU, nn.Hardswish

FAMILY = {
    "mobilenet_v3_large": MobileNetV3(
        (
            (Block(3, 16, 16, False, RE),),
            (Block(3, 64, 24, False, RE, 2), Block(3, 72, 24, False, RE)),
            (Block(5, 72, 40, True, RE, 2), Block(5, 120, 40, True, RE), Block(5, 120, 40, True, RE)),
            (
                Block(3, 240, 80, False, HS, 2),
                Block(3, 200, 80, False, HS),
                Block(3, 184, 80, False, HS),
                Block(3, 184, 80, False, HS),
            ),
            (Block(3, 480, 112, True, HS), Block(3, 672, 112, True, HS)),
            (Block(5, 672, 160, True, HS, 2), Block(5, 960, 160, True, HS), Block(5, 960, 160, True, HS)),
        ),
        last=960,
        wide=1280,
    ),
    "mobilenet_v3_small": MobileNetV3(
        (
            (Block(3, 16, 16, True, RE, 2),),
            (Block(3, 72, 24, False, RE, 2), Block(3, 88, 24, False, RE)),
            (Block(5, 96, 40, True, HS, 2), Block(5, 240, 40, True, HS), Block(5, 240, 40, True, HS)),
            (Block(5, 120, 48, True, HS), Block(5, 144, 48, True, HS)),
            (Block(5, 288, 96, True, HS, 2), Block(5, 576, 96, True, HS), Block(5, 576, 96, True, HS)),
        ),
        last=576,
        wide=1024,
    ),
}


def block(cin: int, spec: Block) -> nn.Module:
    """1x1 wide, k x k depthwise, gate, 1x1 narrow and linear; with a shortcut where the shapes allow one."""
    hidden = spec.hidden
    wide = {"wide": conv_bn(cin, hidden, 1, act=spec.act, norm=norm)} if hidden != cin else {}
    gate = {"gate": squeeze(hidden, by_eight(hidden // 4), gate=nn.Hardsigmoid)} if spec.gated else {}
    body = seq(
        **wide,
        deep=conv_bn(hidden, hidden, spec.k, spec.stride, groups=hidden, act=spec.act, norm=norm),
        **gate,
        narrow=conv_bn(hidden, spec.cout, 1, act=None, norm=norm),
    )
    return Residual(body) if spec.stride == 1 and cin == spec.cout else body


def build(spec: MobileNetV3, classes: int = 1000) -> nn.Sequential:
    stages, cin = {"stem": seq(conv=conv_bn(3, STEM, 3, 2, act=HS, norm=norm))}, STEM
    for i, lines in enumerate(spec.stages, 1):
        blocks = []
        for line in lines:
            blocks.append(block(cin, line))
            cin = line.cout
        stages[f"stage{i}"] = nn.Sequential(*blocks)
    head = seq(
        pool=nn.AdaptiveAvgPool2d(1),
        flat=nn.Flatten(),
        wide=nn.Linear(spec.last, spec.wide),
        act=HS(),
        drop=nn.Dropout(0.2),
        fc=nn.Linear(spec.wide, classes),
    )
    return he_init(seq(**stages, last=seq(conv=conv_bn(cin, spec.last, 1, act=HS, norm=norm)), head=head))


def torchvision_names(spec: MobileNetV3) -> dict[str, str]:
    """Our path of every module with a state → its path in torchvision.models.mobilenetv3, which numbers layers flat."""
    names = {"stem.conv.conv": "features.0.0", "stem.conv.bn": "features.0.1"}
    number, cin = 1, STEM
    for i, lines in enumerate(spec.stages, 1):
        for j, line in enumerate(lines):
            shortcut = line.stride == 1 and cin == line.cout
            ours, theirs = f"stage{i}.{j}" + (".body" if shortcut else ""), f"features.{number}.block"
            parts = ["deep", *(["gate"] if line.gated else []), "narrow"]
            for k, part in enumerate(["wide", *parts] if line.hidden != cin else parts):
                if part == "gate":
                    names |= {f"{ours}.gate.gate.reduce": f"{theirs}.{k}.fc1"}
                    names |= {f"{ours}.gate.gate.expand": f"{theirs}.{k}.fc2"}
                else:
                    names |= {f"{ours}.{part}.conv": f"{theirs}.{k}.0", f"{ours}.{part}.bn": f"{theirs}.{k}.1"}
            number, cin = number + 1, line.cout
    names |= {"last.conv.conv": f"features.{number}.0", "last.conv.bn": f"features.{number}.1"}
    return names | {"head.wide": "classifier.0", "head.fc": "classifier.3"}


def weights(net: str, version: str, file: str, top1: float, top5: float) -> Weights:
    return torchvision_weights(net, version, file, partial(torchvision_names, FAMILY[net]), top1, top5)


def stages(spec: MobileNetV3) -> tuple[Stage, ...]:
    found, stride = [Stage("stem", STEM, 2)], 2
    for i, lines in enumerate(spec.stages, 1):
        stride *= lines[0].stride
        found.append(Stage(f"stage{i}", lines[-1].cout, stride))
    return (*found, Stage("last", spec.last, stride))


NETS = {
    "mobilenet_v3_large": Net(
        build=partial(build, FAMILY["mobilenet_v3_large"]),
        params=5_483_032,
        counted="torchvision 0.29",
        macs=216_589_760,
        classes=1000,
        size_px=224,
        source="Howard et al. 2019, table 1",
        stages=stages(FAMILY["mobilenet_v3_large"]),
        # V1 first for the reason given at resnet50.
        weights=(
            weights("mobilenet_v3_large", "v1", "mobilenet_v3_large-8738ca79.pth", 74.042, 91.340),
            weights("mobilenet_v3_large", "v2", "mobilenet_v3_large-5c1a4163.pth", 75.274, 92.566),
        ),
    ),
    "mobilenet_v3_small": Net(
        build=partial(build, FAMILY["mobilenet_v3_small"]),
        params=2_542_856,
        counted="torchvision 0.29",
        macs=56_510_400,
        classes=1000,
        size_px=224,
        source="Howard et al. 2019, table 2",
        stages=stages(FAMILY["mobilenet_v3_small"]),
        weights=(weights("mobilenet_v3_small", "v1", "mobilenet_v3_small-047dcff4.pth", 67.668, 87.402),),
    ),
}
