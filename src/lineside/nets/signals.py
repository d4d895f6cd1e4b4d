"""Nets for signals: residual and inception blocks along one axis, as for pictures along two. Input (N, channels, L).

ResNet         Wang, Yan, Oates 2016, arXiv:1611.06455, fig. 1c: three blocks of kernels 8, 5, 3
InceptionTime  Ismail Fawaz et al. 2019, arXiv:1909.04939, fig. 1 and 2: six modules of kernels 40, 20, 10 and a pool, a
               shortcut over every three. One net; the paper's InceptionTime is the mean of five of them

Any length works: nothing has a stride, and the head is one mean over time. As in the authors' Keras code: ResNet's
convolutions have a bias although a batch norm follows; its shortcut is a 1 x 1 convolution and a norm where the
channels change, a norm alone where they don't; an even kernel pads one sample more behind than before; InceptionTime
narrows to 32 channels first unless there is one, and has no norm inside a module, only after its branches are joined.

A signal is not a picture: these nets are in SIGNALS, not in NETS, with a record of their own, and of the commands only
`lineside cost` and the list (`lineside nets`) have them. Their figures are for one channel of 512 samples and two
classes.
"""

from collections.abc import Callable

from torch import nn

from lineside.nets.net import Signal, Stage
from lineside.nets.parts import Concat, Residual, seq

RESNET_WIDTHS, RESNET_KERNELS = (64, 128, 128), (8, 5, 3)
INCEPTION_WIDTH, INCEPTION_KERNELS = 32, (40, 20, 10)
SHORTCUT_OVER = 3  # modules


def same(cin: int, cout: int, k: int, bias: bool) -> nn.Sequential:
    """Convolution of k samples that keeps the length; an even k pads one sample more behind than before."""
    return seq(pad=nn.ConstantPad1d(((k - 1) // 2, k // 2), 0.0), conv=nn.Conv1d(cin, cout, k, bias=bias))


def residual_block(cin: int, cout: int) -> nn.Sequential:
    steps, c = {}, cin
    for i, k in enumerate(RESNET_KERNELS, 1):
        last = {} if i == len(RESNET_KERNELS) else {"act": nn.ReLU()}
        steps[f"c{i}"] = seq(same=same(c, cout, k, bias=True), bn=nn.BatchNorm1d(cout), **last)
        c = cout
    narrow = {"conv": nn.Conv1d(cin, cout, 1)} if cin != cout else {}
    return seq(add=Residual(seq(**steps), seq(**narrow, bn=nn.BatchNorm1d(cout))), act=nn.ReLU())


def build_resnet(channels: int, classes: int) -> nn.Sequential:
    stages, c = {}, channels
    for name, width in zip(("stem", "stage1", "stage2"), RESNET_WIDTHS, strict=True):
        stages[name], c = residual_block(c, width), width
    return he_init_1d(seq(**stages, head=mean_classifier(c, classes)))


def inception_module(cin: int) -> nn.Sequential:
    """Three lengths of the same narrowed signal, and the signal's local maximum; 4 x 32 channels."""
    width = INCEPTION_WIDTH
    narrow = {"narrow": nn.Conv1d(cin, width, 1, bias=False)} if cin > 1 else {}
    inner = width if cin > 1 else cin
    lengths = Concat(**{f"of{k}": same(inner, width, k, bias=False) for k in INCEPTION_KERNELS})
    pooled = seq(pool=nn.MaxPool1d(3, 1, 1), conv=nn.Conv1d(cin, width, 1, bias=False))
    cout = width * (len(INCEPTION_KERNELS) + 1)
    joined = Concat(lengths=seq(**narrow, lengths=lengths), pooled=pooled)
    return seq(join=joined, bn=nn.BatchNorm1d(cout), act=nn.ReLU())


def build_inception(channels: int, classes: int) -> nn.Sequential:
    cout, stages, c = INCEPTION_WIDTH * (len(INCEPTION_KERNELS) + 1), {}, channels
    for name in ("stem", "stage1"):
        modules = nn.Sequential(inception_module(c), *(inception_module(cout) for _ in range(SHORTCUT_OVER - 1)))
        shortcut = seq(conv=nn.Conv1d(c, cout, 1, bias=False), bn=nn.BatchNorm1d(cout))
        stages[name], c = seq(add=Residual(modules, shortcut), act=nn.ReLU()), cout
    return he_init_1d(seq(**stages, head=mean_classifier(c, classes)))


def mean_classifier(cin: int, classes: int) -> nn.Sequential:
    return seq(pool=nn.AdaptiveAvgPool1d(1), flat=nn.Flatten(), fc=nn.Linear(cin, classes))


def he_init_1d(net: nn.Sequential) -> nn.Sequential:
    """parts.he_init along one axis."""
    for module in net.modules():
        if isinstance(module, nn.Conv1d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return net


def row(
    build: Callable[[int, int], nn.Sequential], params: int, macs: int, counted: str, source: str, *widths: int
) -> Signal:
    names = ("stem", "stage1", "stage2")
    return Signal(
        build=build,
        params=params,
        macs=macs,
        channels=1,
        classes=2,
        samples=512,
        source=source,
        stages=tuple(Stage(name, width, 1) for name, width in zip(names, widths, strict=False)),
        counted=counted,
    )


SIGNALS = {
    "resnet_1d": row(
        build_resnet,
        504_258,
        256_147_712,
        "by hand: 34,112 + 206,336 + 263,552 + 258",
        "Wang et al. 2016, fig. 1c",
        *RESNET_WIDTHS,
    ),
    "inceptiontime": row(
        build_inception,
        420_450,
        214_089_984,
        "by hand: 163,168 + 257,024 + 258",
        "Ismail Fawaz et al. 2019, fig. 1 and 2, one net of the five",
        128,
        128,
    ),
}
