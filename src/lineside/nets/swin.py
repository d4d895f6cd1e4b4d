"""Swin transformers: attention inside windows, and every second block's windows shifted by half.

Swin     Liu et al. 2021, arXiv:2103.14030, section 3.3 (T, S, B, L), fig. 3b (block, norm first), fig. 4 (the shift)
Swin-V2  Liu et al. 2021, arXiv:2111.09883, section 3 (norm after, cosine attention, eq. 2; continuous position bias
         with log-spaced coordinates, eq. 3 and 4), section 4.1 (T, S, B, G)

A stage puts out (N, C, H, W); inside it is channels-last. Where a map is no multiple of the window it is padded with
zeros to the right and below, and the padding takes part in the attention; a map of one window is not shifted: both as
in the papers' code and torchvision's. The paper's merging of 2 x 2 pixels opens a stage here (torchvision has it as a
stage of its own), and the norm before the head closes the last one, so that the head is one mean and one linear layer.

Drop path is the papers' rate at the last block, rising from 0. V2 has no bias of the key; as in torchvision its part of
the one bias of q, k and v is there and not read, so that its files load.

swin_v2_g is only ever built on the meta device. Its windows are 12, and 6 on the last map of its 192 px; the extra norm
after every sixth block (section 4.1) is left out, and its drop path is a guess.
"""

import math
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lineside.nets.drop_path import DropPath, rising
from lineside.nets.net import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    PLAIN_MEAN,
    PLAIN_STD,
    Net,
    Published,
    Stage,
    Weights,
    torchvision_weights,
)
from lineside.nets.parts import Permute, Residual, classifier, seq, small_init

PATCH = 4
MLP = 4  # hidden units of a block, per channel
APART = -100.0  # added to the logit of two places that only the cyclic shift brought into one window
CURVE = 512  # hidden units of V2's position bias


@dataclass(frozen=True)
class Swin:
    """One row: channels of the first stage (doubled by each), blocks, heads and window side per stage, drop path."""

    width: int
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    windows: tuple[int, int, int, int]
    drop: float
    version: int = 1


FAMILY = {
    "swin_t": Swin(96, (2, 2, 6, 2), (3, 6, 12, 24), (7, 7, 7, 7), 0.2),
    "swin_s": Swin(96, (2, 2, 18, 2), (3, 6, 12, 24), (7, 7, 7, 7), 0.3),
    "swin_b": Swin(128, (2, 2, 18, 2), (4, 8, 16, 32), (7, 7, 7, 7), 0.5),
    "swin_large_patch4_window7_224": Swin(192, (2, 2, 18, 2), (6, 12, 24, 48), (7, 7, 7, 7), 0.2),
    "swin_large_patch4_window12_384": Swin(192, (2, 2, 18, 2), (6, 12, 24, 48), (12, 12, 12, 12), 0.2),
    "swin_v2_t": Swin(96, (2, 2, 6, 2), (3, 6, 12, 24), (8, 8, 8, 8), 0.2, version=2),
    "swin_v2_s": Swin(96, (2, 2, 18, 2), (3, 6, 12, 24), (8, 8, 8, 8), 0.3, version=2),
    "swin_v2_b": Swin(128, (2, 2, 18, 2), (4, 8, 16, 32), (8, 8, 8, 8), 0.5, version=2),
    "swin_v2_g": Swin(512, (2, 2, 42, 4), (16, 32, 64, 128), (12, 12, 12, 6), 0.4, version=2),
}


def between(window: int) -> Tensor:
    """(T, T) whole numbers, T = window²: which of the (2 · window − 1)² relative places token j has from token i."""
    row, column = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    row, column = row.flatten(), column.flatten()
    down, right = row[:, None] - row[None], column[:, None] - column[None]
    return (down + window - 1) * (2 * window - 1) + right + window - 1


class Table(nn.Module):
    """(heads, T, T): one learnt number for each head and relative place (V1, eq. 4)."""

    index: Tensor

    def __init__(self, window: int, heads: int):
        super().__init__()
        self.table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.table, std=0.02)
        self.register_buffer("index", between(window), persistent=False)

    def forward(self) -> Tensor:
        return self.table[self.index].permute(2, 0, 1)


class Curve(nn.Module):
    """(heads, T, T): a small net over the relative place, log-spaced (V2, eq. 3 and 4); 16 · sigmoid as in its code."""

    index: Tensor
    places: Tensor  # ((2 · window − 1)², 2): in [−1, 1], window's width at 1

    def __init__(self, window: int, heads: int):
        super().__init__()
        self.wide, self.narrow = nn.Linear(2, CURVE), nn.Linear(CURVE, heads, bias=False)
        line = torch.arange(1 - window, window) * (8 / (window - 1))
        line = line.sign() * torch.log2(line.abs() + 1) / math.log2(8)
        self.register_buffer("index", between(window), persistent=False)
        self.register_buffer("places", torch.cartesian_prod(line, line), persistent=False)

    def forward(self) -> Tensor:
        of_place = self.narrow(F.relu(self.wide(self.places)))
        return 16 * of_place[self.index].permute(2, 0, 1).sigmoid()


class Dot(nn.Module):
    """Attention within windows by scaled dot products: (N, n, T, C), n windows of T places → the same shape (V1).

    apart (n, 1, T, T) is added to every head's logits.
    """

    def __init__(self, width: int, heads: int, window: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.bias = Table(window, heads)

    def forward(self, x: Tensor, apart: Tensor) -> Tensor:
        q, k, v = by_head(self.qkv(x), self.heads)
        return self.out(together(F.scaled_dot_product_attention(q, k, v, mask(self.bias(), apart)), x.shape))


class Cosine(nn.Module):
    """The same by cosines, each head with a learnt sharpness of at most 100 (V2, eq. 2). The key has no bias."""

    def __init__(self, width: int, heads: int, window: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.bias = Curve(window, heads)
        self.sharp = nn.Parameter(torch.full((heads, 1, 1), math.log(10)))

    def forward(self, x: Tensor, apart: Tensor) -> Tensor:
        of_q, of_k, of_v = self.qkv.bias.chunk(3)
        q, k, v = by_head(F.linear(x, self.qkv.weight, torch.cat([of_q, 0 * of_k, of_v])), self.heads)
        sharp = self.sharp.clamp(max=math.log(100)).exp().repeat(x.shape[1], 1, 1)
        q, k = F.normalize(q, dim=-1) * sharp, F.normalize(k, dim=-1)
        y = F.scaled_dot_product_attention(q, k, v, mask(self.bias(), apart).to(q.dtype), scale=1.0)
        return self.out(together(y, x.shape))


def by_head(x: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """(N, n, T, 3C) → q, k, v, each (N, n · heads, T, C / heads)."""
    q, k, v = x.unflatten(3, (3, heads, -1)).permute(3, 0, 1, 4, 2, 5).flatten(2, 3)
    return q, k, v


def together(x: Tensor, shape: torch.Size) -> Tensor:
    """(N, n · heads, T, C / heads) → shape (N, n, T, C).

    A copy first: attention with a mask puts its answer out in one memory order on a CPU and in another when it is taken
    apart for export, and torch's exporter keeps a reshape that only the first allows.
    """
    x = x.clone(memory_format=torch.contiguous_format)
    return x.unflatten(1, (shape[1], -1)).transpose(2, 3).reshape(shape)


def mask(bias: Tensor, apart: Tensor) -> Tensor:
    """bias (heads, T, T), apart (n, 1, T, T) → (1, n · heads, T, T)."""
    return (bias + apart).flatten(0, 1)[None]


class Windows(nn.Module):
    """(N, H, W, C) → the same: mix within windows, whose corners lie `shift` places down and right of the map's."""

    def __init__(self, mix: nn.Module, window: int, shift: int):
        super().__init__()
        self.mix, self.window, self.shift = mix, window, shift

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        side = self.window
        x = F.pad(x, (0, 0, 0, -w % side, 0, -h % side))
        high, wide = x.shape[1], x.shape[2]
        down, right = (self.shift if length > side else 0 for length in (high, wide))
        if down or right:
            x = x.roll((-down, -right), (1, 2))
        x = x.view(n, high // side, side, wide // side, side, c).transpose(2, 3).reshape(n, -1, side**2, c)
        x = self.mix(x, self.apart(high, wide, down, right, x))
        x = x.view(n, high // side, wide // side, side, side, c).transpose(2, 3).reshape(n, high, wide, c)
        return (x.roll((down, right), (1, 2)) if down or right else x)[:, :h, :w]

    def apart(self, high: int, wide: int, down: int, right: int, x: Tensor) -> Tensor:
        """(n, 1, T, T): APART where two places of a window were not neighbours before the roll, else 0."""
        region = 3 * bands(high, self.window, down, x)[:, None] + bands(wide, self.window, right, x)[None]
        region = region.unflatten(1, (-1, self.window)).unflatten(0, (-1, self.window)).transpose(1, 2).flatten(2)
        region = region.flatten(0, 1)  # (n, T)
        return APART * (region[:, None, :, None] != region[:, None, None]).to(x.dtype)


def bands(length: int, window: int, shift: int, x: Tensor) -> Tensor:
    """(length,): 0 up to the last window, there 1, and 2 for what the roll brought from the other end."""
    place = torch.arange(length, device=x.device)
    if shift == 0:
        return torch.zeros_like(place)
    return (place >= length - window).long() + (place >= length - shift).long()


class Neighbours(nn.Module):
    """(N, H, W, C) → (N, H / 2, W / 2, 4C): every 2 x 2 pixels side by side; odd maps get a row or column of zeros."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        return torch.cat([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], 3)


def block(spec: Swin, i: int, shifted: bool, drop: float) -> nn.Sequential:
    """One block of stage i (0 to 3): look within windows, then every place for itself; both residual."""
    width, heads, window = spec.width << i, spec.heads[i], spec.windows[i]
    mix = (Dot if spec.version == 1 else Cosine)(width, heads, window)
    look: dict[str, nn.Module] = {"mix": Windows(mix, window, window // 2 if shifted else 0)}
    think: dict[str, nn.Module] = {
        "mlp": seq(wide=nn.Linear(width, MLP * width), act=nn.GELU(), narrow=nn.Linear(MLP * width, width))
    }

    def body(part: dict[str, nn.Module]) -> Residual:
        norm = {"norm": nn.LayerNorm(width)}
        return Residual(seq(**(norm | part if spec.version == 1 else part | norm), drop=DropPath(drop)))

    return seq(look=body(look), think=body(think))


def merge(spec: Swin, i: int) -> nn.Sequential:
    """Into stage i: 2 x 2 pixels become one of twice the channels."""
    before, after = spec.width << i - 1, spec.width << i
    narrow = nn.Linear(4 * before, after, bias=False)
    if spec.version == 1:
        return seq(join=Neighbours(), norm=nn.LayerNorm(4 * before), narrow=narrow)
    return seq(join=Neighbours(), narrow=narrow, norm=nn.LayerNorm(after))


def build(spec: Swin, classes: int = 1000) -> nn.Sequential:
    stages = {
        "stem": seq(
            patches=nn.Conv2d(3, spec.width, PATCH, PATCH),
            last=Permute(0, 2, 3, 1),
            norm=nn.LayerNorm(spec.width),
            first=Permute(0, 3, 1, 2),
        )
    }
    drops = iter(rising(spec.drop, sum(spec.depths)))
    for i, depth in enumerate(spec.depths):
        opens = {"merge": merge(spec, i)} if i else {}
        blocks = {f"block{j + 1}": block(spec, i, j % 2 == 1, next(drops)) for j in range(depth)}
        closes = {"norm": nn.LayerNorm(spec.width << i)} if i == 3 else {}
        stages[f"stage{i + 1}"] = seq(last=Permute(0, 2, 3, 1), **opens, **blocks, **closes, first=Permute(0, 3, 1, 2))
    return small_init(seq(**stages, head=classifier(spec.width << 3, classes)))


def torchvision_names(spec: Swin) -> dict[str, str]:
    """Our path of every module with a state, or of its tensors → the path in torchvision.models.swin_transformer."""
    names = {"stem.patches": "features.0.0", "stem.norm": "features.0.2", "stage4.norm": "norm", "head.fc": "head"}
    for i, depth in enumerate(spec.depths):
        if i:
            ours, theirs = f"stage{i + 1}.merge", f"features.{2 * i}"
            names |= {f"{ours}.norm": f"{theirs}.norm", f"{ours}.narrow": f"{theirs}.reduction"}
        for j in range(depth):
            ours, theirs = f"stage{i + 1}.block{j + 1}", f"features.{2 * i + 1}.{j}"
            mix, attn = f"{ours}.look.body.mix.mix", f"{theirs}.attn"
            names |= {
                f"{ours}.look.body.norm": f"{theirs}.norm1",
                f"{mix}.qkv": f"{attn}.qkv",
                f"{mix}.out": f"{attn}.proj",
                f"{ours}.think.body.norm": f"{theirs}.norm2",
                f"{ours}.think.body.mlp.wide": f"{theirs}.mlp.0",
                f"{ours}.think.body.mlp.narrow": f"{theirs}.mlp.3",
            }
            if spec.version == 1:
                names[f"{mix}.bias.table"] = f"{attn}.relative_position_bias_table"
            else:
                names |= {
                    f"{mix}.sharp": f"{attn}.logit_scale",
                    f"{mix}.bias.wide": f"{attn}.cpb_mlp.0",
                    f"{mix}.bias.narrow": f"{attn}.cpb_mlp.2",
                }
    return names


def weights(net: str, file: str, top1: float, top5: float) -> Weights:
    found = torchvision_weights(net, "v1", file, partial(torchvision_names, FAMILY[net]), top1, top5)
    return replace(found, derived=("relative_position_index", "relative_coords_table"))


def row(
    name: str,
    params: int,
    macs: int,
    size_px: int,
    counted: str,
    source: str,
    weights: tuple[Weights, ...] = (),
    published: Published | None = None,
) -> Net:
    spec = FAMILY[name]
    strides = {"stem": 4, "stage1": 4, "stage2": 8, "stage3": 16, "stage4": 32}
    return Net(
        build=partial(build, spec),
        params=params,
        counted=counted,
        macs=macs,
        classes=1000,
        size_px=size_px,
        source=source,
        stages=tuple(Stage(stage, spec.width * stride // 4, stride) for stage, stride in strides.items()),
        mean=IMAGENET_MEAN if weights else PLAIN_MEAN,
        std=IMAGENET_STD if weights else PLAIN_STD,
        weights=weights,
        published=published,
        least_px=PATCH,
    )


TV = "torchvision 0.29"
V1, V2 = "Liu et al. 2021, arXiv:2103.14030", "Liu et al. 2021, arXiv:2111.09883"

NETS = {
    "swin_t": row(
        "swin_t",
        28_288_354,
        4_490_566_656,
        224,
        TV,
        f"{V1}, T",
        (weights("swin_t", "swin_t-704ceda3.pth", 81.474, 95.776),),
    ),
    "swin_s": row(
        "swin_s",
        49_606_258,
        8_740_875_264,
        224,
        TV,
        f"{V1}, S",
        (weights("swin_s", "swin_s-5e29d889.pth", 83.196, 96.360),),
    ),
    "swin_b": row(
        "swin_b",
        87_768_224,
        15_430_946_816,
        224,
        TV,
        f"{V1}, B",
        (weights("swin_b", "swin_b-68c6b09e.pth", 83.582, 96.640),),
    ),
    "swin_large_patch4_window7_224": row(
        "swin_large_patch4_window7_224",
        196_532_476,
        34_475_759_616,
        224,
        "timm 1.0",
        f"{V1}, L",
        published=Published(86.3, 97.9, "microsoft/Swin-Transformer, README: pre-trained on ImageNet-22K, 224 px"),
    ),
    "swin_large_patch4_window12_384": row(
        "swin_large_patch4_window12_384",
        196_735_516,
        103_919_087_616,
        384,
        "timm 1.0",
        f"{V1}, L with windows of 12",
        published=Published(87.3, 98.2, "microsoft/Swin-Transformer, README: pre-trained on ImageNet-22K, 384 px"),
    ),
    "swin_v2_t": row(
        "swin_v2_t",
        28_351_570,
        5_939_690_496,
        256,
        TV,
        f"{V2}, T",
        (weights("swin_v2_t", "swin_v2_t-b137f0e2.pth", 82.072, 96.132),),
    ),
    "swin_v2_s": row(
        "swin_v2_s",
        49_737_442,
        11_545_857_024,
        256,
        TV,
        f"{V2}, S",
        (weights("swin_v2_s", "swin_v2_s-637d8ceb.pth", 83.712, 96.816),),
    ),
    "swin_v2_b": row(
        "swin_v2_b",
        87_930_848,
        20_325_134_336,
        256,
        TV,
        f"{V2}, B",
        (weights("swin_v2_b", "swin_v2_b-781e5279.pth", 84.112, 96.864),),
    ),
    "swin_v2_g": row(
        "swin_v2_g",
        3_002_017_480,
        371_512_576_000,
        192,
        "transformers 4: 3,001,912,008, which is without the key's bias of every block (105,472)",
        f"{V2}, G",
        published=Published(90.17, None, f"{V2}, table 1: pre-trained on 70 million pictures, fine-tuned at 640 px"),
    ),
}
