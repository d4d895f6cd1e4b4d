"""NASNet-A: two cells found by reinforcement learning on CIFAR-10, stacked for ImageNet.

Zoph et al. 2017, arXiv:1707.07012, fig. 2 (the stack), fig. 4 (the cells), appendix A.4 (separable convolutions twice,
ReLU before each); N @ F is N normal cells a stage and F channels in the last.

What the paper leaves out is as in the authors' release (TensorFlow slim, nasnet): two reductions before the first
stage; an earlier input of another size is halved by two shifted 1x1 paths; in the large net the cell after a reduction
sees what came before the reduction's input, in the mobile one that input. Padding is TensorFlow's SAME.

Every cell sees the two before it. Between stages these two are joined along the channels, so that a stage is a function
of one tensor: stage1 and stage2 put out twice the channels of a cell. The auxiliary head and the scheduled drop path of
training are left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lineside.nets.net import PLAIN_MEAN, PLAIN_STD, Net, Published, Stage
from lineside.nets.parts import Concat, SamePad, classifier, conv, he_init, seq


@dataclass(frozen=True)
class NASNet:
    """One row: normal cells a stage, channels of the last, of the first convolution; what the cell after a reduction
    sees besides it: the reduction's input (0) or what came before that (1)."""

    cells: int
    features: int
    stem: int
    after_reduction: int


norm = partial(nn.BatchNorm2d, eps=1e-3)

FAMILY = {
    "nasnetamobile": NASNet(4, 1056, 32, 0),
    "nasnetalarge": NASNet(6, 4032, 96, 1),
}


class Cell(nn.Module):
    """(x, earlier) → (states joined, what the next cell gets as its earlier one).

    States 0 and 1 are now(x) and before(earlier); every block adds one: left of the state with its first number + right
    of that with its second (fig. 4).
    """

    def __init__(self, now: nn.Module, before: nn.Module, blocks: "Blocks", joined: Sequence[int], onward: int):
        super().__init__()
        self.now, self.before = now, before
        self.left = nn.ModuleList(left for left, *_ in blocks)
        self.right = nn.ModuleList(right for _, _, right, _ in blocks)
        self.sources = [(i, j) for _, i, _, j in blocks]
        self.joined, self.onward = joined, onward

    def forward(self, x: Tensor, earlier: Tensor) -> tuple[Tensor, Tensor]:
        states = [self.now(x), self.before(earlier)]
        for (i, j), left, right in zip(self.sources, self.left, self.right, strict=True):
            states.append(left(states[i]) + right(states[j]))
        return torch.cat([states[i] for i in self.joined], 1), (x, earlier)[self.onward]


class Cells(nn.Sequential):
    """(N, C, H, W) → enter → cell after cell → leave → (N, C', H', W')."""

    def __init__(self, enter: "Enter", leave: "Leave", cells: Sequence[Cell]):
        super().__init__(*cells)
        self.enter, self.leave = enter, leave

    def forward(self, input: Tensor) -> Tensor:
        x, earlier = self.enter(input)
        for cell in self:
            x, earlier = cell(x, earlier)
        return self.leave(x, earlier)


Blocks = Sequence[tuple[nn.Module, int, nn.Module, int]]
Enter = Callable[[Tensor], tuple[Tensor, Tensor]]
Leave = Callable[[Tensor, Tensor], Tensor]


def twice(x: Tensor) -> tuple[Tensor, Tensor]:
    return x, x


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    first, second = x.chunk(2, 1)
    return first, second


def join(x: Tensor, earlier: Tensor) -> Tensor:
    return torch.cat([x, earlier], 1)


def newest(x: Tensor, _: Tensor) -> Tensor:
    return x


class MaxPool(nn.MaxPool2d):
    """3 x 3, stride 2, SAME: a side n gives ceil(n / 2); the pad is as SamePad's, but no number."""

    def __init__(self):
        super().__init__(3, 2)

    def forward(self, input: Tensor) -> Tensor:
        return F.max_pool2d(input, 3, 2, [n % 2 for n in input.shape[2:]], ceil_mode=True)


class AvgPool(nn.AvgPool2d):
    """3 x 3, stride 2, SAME: the mean of those places that are in the picture."""

    def __init__(self):
        super().__init__(3, 2)

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool2d(input, 3, 2, [n % 2 for n in input.shape[2:]], ceil_mode=True, count_include_pad=False)


def separable(cin: int, cout: int, k: int, stride: int = 1) -> nn.Sequential:
    """ReLU, k x k depthwise, 1x1, batch norm; and the same again at stride 1."""

    def half(cin: int, stride: int) -> nn.Sequential:
        pad = {"pad": SamePad(k, stride)} if stride > 1 else {}
        deep = conv(cin, cin, k, stride, 0 if pad else k // 2, cin)
        return seq(act=nn.ReLU(), **pad, deep=deep, point=conv(cin, cout, 1, 1, 0), bn=norm(cout))

    return seq(first=half(cin, stride), second=half(cout, 1))


def mean() -> nn.Module:
    return nn.AvgPool2d(3, 1, 1, count_include_pad=False)


def fitted(cin: int, cout: int) -> nn.Sequential:
    """ReLU, 1x1 convolution, batch norm: to the channels that a cell works with."""
    return seq(act=nn.ReLU(), conv=conv(cin, cout, 1, 1, 0), bn=norm(cout))


def halved(cin: int, cout: int) -> nn.Sequential:
    """The same at half the size: every second pixel, and every second one shifted by one, each to half the channels.

    A batch norm a path is the one of both joined, channel by channel, and folds into its convolution.
    """

    def path() -> dict[str, nn.Module]:
        return {"skip": nn.AvgPool2d(1, 2), "conv": conv(cin, cout // 2, 1, 1, 0), "bn": norm(cout // 2)}

    return seq(act=nn.ReLU(), join=Concat(even=seq(**path()), odd=seq(shift=nn.ZeroPad2d((-1, 1, -1, 1)), **path())))


def normal(c: int, now: int, before: nn.Module) -> Cell:
    """Fig. 4, left: (N, now, H, W) → (N, 6c, H, W)."""
    blocks = (
        (separable(c, c, 5), 0, separable(c, c, 3), 1),
        (separable(c, c, 5), 1, separable(c, c, 3), 1),
        (mean(), 0, nn.Identity(), 1),
        (mean(), 1, mean(), 1),
        (separable(c, c, 3), 0, nn.Identity(), 0),
    )
    return Cell(fitted(now, c), before, blocks, joined=(1, 2, 3, 4, 5, 6), onward=0)


def reduction(c: int, now: int, before: nn.Module, from_before: int, onward: int = 0) -> Cell:
    """Fig. 4, right: (N, now, H, W) → (N, 4c, H/2, W/2); from_before: channels that `before` gives, mostly c."""
    blocks = (
        (separable(c, c, 5, 2), 0, separable(from_before, c, 7, 2), 1),
        (MaxPool(), 0, separable(from_before, c, 7, 2), 1),
        (AvgPool(), 0, separable(from_before, c, 5, 2), 1),
        (mean(), 2, nn.Identity(), 3),
        (separable(c, c, 3), 2, MaxPool(), 0),
    )
    return Cell(fitted(now, c), before, blocks, joined=(3, 4, 5, 6), onward=onward)


def build(spec: NASNet, classes: int = 1000) -> nn.Sequential:
    c, stem = spec.features // 24, spec.stem  # fig. 2: three stages, twice the channels each; a cell puts out 6 times c
    first = [
        reduction(c // 4, stem, nn.Identity(), stem),
        reduction(c // 2, c, halved(stem, c // 2), c // 2),
        normal(c, 2 * c, halved(c, c)),
        normal(c, 6 * c, fitted(2 * c, c)),
    ]
    stages: dict[str, nn.Module] = {
        "stem": seq(conv=conv(3, stem, 3, 2, 0), bn=norm(stem)),
        "stage1": seq(cells=Cells(twice, join, [*first, *alike(c, spec.cells - 2)])),
    }
    for i, (leave, after) in enumerate(((join, {}), (newest, {"act": nn.ReLU()})), 2):
        seen, c = 6 * c, 2 * c  # channels of the last two cells, and what the next work with
        first = [
            reduction(c, seen, fitted(seen, c), c, spec.after_reduction),
            normal(c, 4 * c, halved(seen, c)),
            normal(c, 6 * c, fitted(4 * c, c)),
        ]
        stages[f"stage{i}"] = seq(cells=Cells(halves, leave, [*first, *alike(c, spec.cells - 2)]), **after)
    return he_init(seq(**stages, head=classifier(spec.features, classes, dropout=0.5)))


def alike(c: int, n: int) -> list[Cell]:
    """n normal cells that see two normal cells."""
    return [normal(c, 6 * c, fitted(6 * c, c)) for _ in range(n)]


def row(name: str, params: int, counted: str, macs: int, size_px: int, published: Published) -> Net:
    spec = FAMILY[name]
    return Net(
        build=partial(build, spec),
        params=params,
        counted=counted,
        macs=macs,
        classes=1000,
        size_px=size_px,
        source=f"Zoph et al. 2017, fig. 2 and 4, {spec.cells} @ {spec.features}, without the auxiliary head",
        stages=(
            Stage("stem", spec.stem, 2),
            Stage("stage1", spec.features // 2, 8),
            Stage("stage2", spec.features, 16),
            Stage("stage3", spec.features, 32),
        ),
        mean=PLAIN_MEAN,
        std=PLAIN_STD,
        published=published,
    )


NETS = {
    "nasnetamobile": row(
        "nasnetamobile",
        5_289_978,
        "pytorchcv 0.0.74 nasnet_4a1056",
        563_638_816,  # the paper: 564 M. pytorchcv pays 568,234,858, as it computes a row and a column that it drops
        224,
        Published(74.0, 91.6, "Zoph et al. 2017, table 3, 4 @ 1056"),
    ),
    "nasnetalarge": row(
        "nasnetalarge",
        88_753_150,
        "timm 1.0.31",
        23_783_414_658,
        331,
        Published(82.7, 96.2, "Zoph et al. 2017, table 2, 6 @ 4032"),
    ),
}
