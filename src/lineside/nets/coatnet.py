"""CoAtNet: convolution below, attention with learnt relative places above.

Dai et al. 2021, arXiv:2106.04803: section 2.2 (C-C-T-T), table 3 (0 to 4), appendix A.2 (5 to 7), appendix A.1 (blocks)

    conv    x → narrow(gate(deep(wide(norm(x))))), MBConv with the norm first; four times as wide inside
    attend  x → x + look(norm(x)); x → x + think(norm(x)); the logit of two places is q·k / √d and a learnt number for
            each head and relative place (eq. 3)

The first block of a stage halves the map, and its shortcut is a mean over 2 x 2 and a 1 x 1 convolution. As in timm,
whose parameters of 0 to 5 are counted here: that mean is the paper's maximum; the stride of an MBConv sits on its
3 x 3; the head is mean, norm, a hidden layer with tanh, and the linear layer. MACs are so a little above the paper's
(0: 4.55 G for 4.2 G). timm's 5 has heads of 32 channels, the paper's 64. For a picture with another side the table of
relative places is resized by straight lines (appendix A.1); maps of odd sides are rounded up.

6 and 7, which no library has: two thirds of stage 2's blocks move into stage 3 ahead of the attention, with twice the
channels; heads of 128. That is the paper's text; the same blocks and head as in 0 to 5 make 2,442 M of 7's 2,440 M. For
6 the last stage's 3,072 channels are a guess: with them it has 1,471 M of the paper's 1,470 M, with the 2,048 that
re-implementations take 1,348 M. At 512 px that makes 1,510 and 2,561 G MAC where the paper has 1,521 and 2,586 (its
"FLOPs" are multiply-adds). Drop path of 4 to 7 is a guess too.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lineside.nets.drop_path import DropPath, rising
from lineside.nets.net import PLAIN_MEAN, PLAIN_STD, Net, Published, Stage
from lineside.nets.parts import Gate, Permute, Residual, conv, conv_bn, seq, small_init
from lineside.nets.places import linear, resize

WIDER = 4  # inside a block
EPS = 1e-6  # of the layer norms


@dataclass(frozen=True)
class Part:
    """So many blocks of one kind and width; the first of a stage has stride 2."""

    kind: Literal["conv", "attend"]
    blocks: int
    width: int


@dataclass(frozen=True)
class CoAtNet:
    """One row: channels of the stem, parts of stages 1 to 4, channels of a head, drop path of the last block."""

    stem: int
    stages: tuple[tuple[Part, ...], ...]
    head: int
    drop: float


def plain(stem: int, widths: tuple[int, ...], depths: tuple[int, ...], drop: float) -> CoAtNet:
    """C-C-T-T with heads of 32 channels."""
    kinds: tuple[Literal["conv", "attend"], ...] = ("conv", "conv", "attend", "attend")
    parts = tuple((Part(k, n, w),) for k, n, w in zip(kinds, depths, widths, strict=True))
    return CoAtNet(stem, parts, 32, drop)


def mixed(widths: tuple[int, int, int, int, int], drop: float) -> CoAtNet:
    """Appendix A.2: stage 3 is 8 MBConv and then 42 attention blocks."""
    one, two, three, attend, four = widths
    third = (Part("conv", 8, three), Part("attend", 42, attend))
    stages = ((Part("conv", 2, one),), (Part("conv", 4, two),), third, (Part("attend", 2, four),))
    return CoAtNet(192, stages, 128, drop)


FAMILY = {
    "coatnet_0": plain(64, (96, 192, 384, 768), (2, 3, 5, 2), 0.2),
    "coatnet_1": plain(64, (96, 192, 384, 768), (2, 6, 14, 2), 0.3),
    "coatnet_2": plain(128, (128, 256, 512, 1024), (2, 6, 14, 2), 0.5),
    "coatnet_3": plain(192, (192, 384, 768, 1536), (2, 6, 14, 2), 0.7),
    "coatnet_4": plain(192, (192, 384, 768, 1536), (2, 12, 28, 2), 0.2),
    "coatnet_5": plain(192, (256, 512, 1280, 2048), (2, 12, 28, 2), 0.2),
    "coatnet_6": mixed((192, 384, 768, 1536, 3072), 0.2),
    "coatnet_7": mixed((256, 512, 1024, 2048, 3072), 0.2),
}


class RelativeAttention(nn.Module):
    """(N, C, H, W) → (N, cout, H, W): every place looks at every place, with a bias for where the other lies (eq. 3).

    grid: side of the map that the table (heads, 2 · grid − 1, 2 · grid − 1) belongs to; another map resizes it.
    """

    def __init__(self, cin: int, cout: int, heads: int, grid: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(cin, 3 * cout), nn.Linear(cout, cout)
        self.table = nn.Parameter(torch.empty(heads, 2 * grid - 1, 2 * grid - 1))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[2:]
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, self.bias(h, w)[None].to(q.dtype))  # (N, heads, T, d)
        y = y.clone(memory_format=torch.contiguous_format)  # for the exporter's sake, see swin.together
        return self.out(y.transpose(1, 2).flatten(2)).transpose(1, 2).unflatten(2, (h, w))

    def bias(self, h: int, w: int) -> Tensor:
        """(heads, T, T), T = h · w: entry (i, j) is the table's at how far j lies above and to the left of i."""
        table = resize(self.table, 2 * h - 1, 2 * w - 1, linear)
        down, right = apart(h, table), apart(w, table)
        return table[:, down[:, None, :, None], right[None, :, None, :]].flatten(3, 4).flatten(1, 2)


def apart(n: int, like: Tensor) -> Tensor:
    """(n, n): i − j + n − 1, from 0 to 2n − 2."""
    at = torch.arange(n, device=like.device)
    return at[:, None] - at[None] + n - 1


def norm_over_channels(width: int) -> nn.Sequential:
    """Layer norm of every place of (N, C, H, W)."""
    return seq(last=Permute(0, 2, 3, 1), norm=nn.LayerNorm(width, EPS), first=Permute(0, 3, 1, 2))


def mean(stride: int) -> nn.AvgPool2d:
    """Over stride x stride; what is left over at the right and below is a smaller mean of its own."""
    return nn.AvgPool2d(stride, ceil_mode=True)


def shortcut(cin: int, cout: int, stride: int) -> nn.Module | None:
    steps: dict[str, nn.Module] = {"pool": mean(stride)} if stride > 1 else {}
    if cin != cout:
        steps["narrow"] = nn.Conv2d(cin, cout, 1)
    return seq(**steps) if steps else None


def conv_block(cin: int, cout: int, stride: int, drop: float) -> nn.Module:
    wide, squeezed = WIDER * cout, cout // 4
    gate = seq(
        pool=nn.AdaptiveAvgPool2d(1),
        narrow=nn.Conv2d(wide, squeezed, 1),
        act=nn.SiLU(),
        wide=nn.Conv2d(squeezed, wide, 1),
        sigmoid=nn.Sigmoid(),
    )
    body = seq(
        norm=nn.BatchNorm2d(cin),
        wide=conv_bn(cin, wide, 1, act=nn.GELU),
        deep=seq(conv=conv(wide, wide, 3, stride, 1, wide), bn=nn.BatchNorm2d(wide), act=nn.GELU()),
        gate=Gate(gate),
        narrow=nn.Conv2d(wide, cout, 1),
        drop=DropPath(drop),
    )
    return Residual(body, shortcut(cin, cout, stride))


def attend_block(cin: int, cout: int, stride: int, drop: float, head: int, grid: int) -> nn.Module:
    pool = {"pool": mean(stride)} if stride > 1 else {}
    look = RelativeAttention(cin, cout, cout // head, grid)
    think = seq(
        last=Permute(0, 2, 3, 1),
        norm=nn.LayerNorm(cout, EPS),
        wide=nn.Linear(cout, WIDER * cout),
        act=nn.GELU(),
        narrow=nn.Linear(WIDER * cout, cout),
        first=Permute(0, 3, 1, 2),
        drop=DropPath(drop),
    )
    return seq(
        look=Residual(
            seq(norm=norm_over_channels(cin), **pool, mix=look, drop=DropPath(drop)), shortcut(cin, cout, stride)
        ),
        think=Residual(think),
    )


def build(spec: CoAtNet, size_px: int, classes: int = 1000) -> nn.Sequential:
    cin = spec.stem
    stages = {"stem": seq(first=conv_bn(3, cin, 3, 2, act=nn.GELU), conv=conv(cin, cin, 3, 1, 1))}
    drops = iter(rising(spec.drop, sum(part.blocks for stage in spec.stages for part in stage)))
    for i, parts in enumerate(spec.stages):
        blocks, grid = [], size_px // (4 << i)
        for part in parts:
            for _ in range(part.blocks):
                stride, drop = 1 if blocks else 2, next(drops)
                if part.kind == "conv":
                    blocks.append(conv_block(cin, part.width, stride, drop))
                else:
                    blocks.append(attend_block(cin, part.width, stride, drop, spec.head, grid))
                cin = part.width
        stages[f"stage{i + 1}"] = nn.Sequential(*blocks)
    head = seq(
        pool=nn.AdaptiveAvgPool2d(1),
        flat=nn.Flatten(),
        norm=nn.LayerNorm(cin, EPS),
        hidden=nn.Linear(cin, cin),
        act=nn.Tanh(),
        fc=nn.Linear(cin, classes),
    )
    return small_init(seq(**stages, head=head))


def row(name: str, params: int, macs: int, counted: str, source: str, published: Published) -> Net:
    spec = FAMILY[name]
    widths = (spec.stem, *(parts[-1].width for parts in spec.stages))
    return Net(
        build=partial(build, spec, 224),
        params=params,
        counted=counted,
        macs=macs,
        classes=1000,
        size_px=224,
        source=f"Dai et al. 2021, {source}",
        stages=tuple(Stage(f"stage{i}" if i else "stem", width, 2 << i) for i, width in enumerate(widths)),
        mean=PLAIN_MEAN,
        std=PLAIN_STD,
        published=published,
        least_px=1,
    )


def paper(top1: float, said: str) -> Published:
    return Published(top1, None, f"Dai et al. 2021, {said}")


TIMM = "timm 1.0"
BY_HAND = "by hand: the blocks and the head of timm's coatnet_5; the paper's table 5 says"

NETS = {
    "coatnet_0": row(
        "coatnet_0", 25_036_820, 4_546_507_776, TIMM, "table 3", paper(81.6, "table 4: ImageNet-1K, 224 px")
    ),
    "coatnet_1": row(
        "coatnet_1", 42_225_776, 8_643_499_008, TIMM, "table 3", paper(83.3, "table 4: ImageNet-1K, 224 px")
    ),
    "coatnet_2": row(
        "coatnet_2", 74_684_744, 16_427_134_976, TIMM, "table 3", paper(84.1, "table 4: ImageNet-1K, 224 px")
    ),
    "coatnet_3": row(
        "coatnet_3", 166_966_264, 36_453_156_864, TIMM, "table 3", paper(84.5, "table 4: ImageNet-1K, 224 px")
    ),
    "coatnet_4": row(
        "coatnet_4", 275_425_288, 62_316_840_960, TIMM, "table 3", paper(88.56, "table 4: ImageNet-21K, 512 px")
    ),
    "coatnet_5": row(
        "coatnet_5", 687_472_008, 145_264_287_744, TIMM, "table 12", paper(89.77, "table 5: JFT-300M, 512 px")
    ),
    "coatnet_6": row(
        "coatnet_6",
        1_471_125_232,
        267_975_757_824,
        f"{BY_HAND} 1.47 B",
        "table 12",
        paper(90.45, "table 5: JFT-3B, 512 px"),
    ),
    "coatnet_7": row(
        "coatnet_7",
        2_441_972_728,
        462_188_531_712,
        f"{BY_HAND} 2.44 B",
        "table 12",
        paper(90.88, "table 5: JFT-3B, 512 px"),
    ),
}
