"""Vision transformers.

ViT           Dosovitskiy et al. 2020, arXiv:2010.11929, table 1 (B, L, H), fig. 1 (the block, norm first)
ViT-Ti, S     Touvron et al. 2020 (DeiT), arXiv:2012.12877, table 1; timm's names
ViT-g, G      Zhai et al. 2021, arXiv:2106.04560, table 2: widths and depths. The paper pools by attention and has no
              class token; timm's nets of these names, whose parameters are counted here, have the class token of ViT

The stem cuts the picture into patches of p x p, one token each, puts the class token in front and adds a learnt vector
to every place. The blocks are all alike; four stages of a quarter of them each are this program's, so that freezing and
explaining can address them. The head reads the class token, then norm, then one linear layer (the paper has the norm
before; on one token it is the same).

The table of places belongs to one grid. For a picture with another side it is resized in the forward pass, bicubic and
without antialias (places.py); the class token's own vector stays. A side that is no multiple of p loses the
remainder at the right and below. No dropout: the paper's 0.1 was for training from scratch on ImageNet, torchvision
has 0. torchvision's SWAG weights (B/16 at 384, L/16 at 512, H/14) are not offered: CC-BY-NC-4.0, not for a plant.
"""

from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
from lineside.nets.parts import Residual, seq, small_init
from lineside.nets.places import cubic, resize

STAGES = 4
EPS = 1e-6  # of the layer norms, as the paper's code has it


@dataclass(frozen=True)
class ViT:
    """One row: the patch's side, channels of a token, blocks, heads, hidden units of a block, the picture's side."""

    patch: int
    width: int
    depth: int
    heads: int
    mlp: int
    side: int = 224


FAMILY = {
    "vit_tiny_patch16_224": ViT(16, 192, 12, 3, 768),
    "vit_small_patch16_224": ViT(16, 384, 12, 6, 1536),
    "vit_small_patch32_224": ViT(32, 384, 12, 6, 1536),
    "vit_b_16": ViT(16, 768, 12, 12, 3072),
    "vit_b_16_384": ViT(16, 768, 12, 12, 3072, side=384),
    "vit_b_32": ViT(32, 768, 12, 12, 3072),
    "vit_l_16": ViT(16, 1024, 24, 16, 4096),
    "vit_l_16_512": ViT(16, 1024, 24, 16, 4096, side=512),
    "vit_l_32": ViT(32, 1024, 24, 16, 4096),
    "vit_h_14": ViT(14, 1280, 32, 16, 5120),
    "vit_h_14_518": ViT(14, 1280, 32, 16, 5120, side=518),
    "vit_giant_patch14_224": ViT(14, 1408, 40, 16, 6144),
    "vit_gigantic_patch14_224": ViT(14, 1664, 48, 16, 8192),
}


class Tokens(nn.Module):
    """Patches (N, C, h, w) → tokens (N, 1 + h·w, C): a learnt token in front, and a learnt vector added at each place.

    grid: places in a row of the table. Another h, w resizes the table (see the head of this file).
    """

    def __init__(self, width: int, grid: int):
        super().__init__()
        self.grid = grid
        self.token = nn.Parameter(torch.empty(1, 1, width))
        self.places = nn.Parameter(torch.empty(1, 1 + grid**2, width))
        nn.init.normal_(self.token, std=1e-6)
        nn.init.normal_(self.places, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        places = self.places
        if (h, w) != (self.grid, self.grid):
            table = resize(places[0, 1:].T.view(c, self.grid, self.grid), h, w, cubic)
            places = torch.cat([places[:, :1], table.flatten(1).T[None]], 1)
        return torch.cat([self.token.expand(n, -1, -1), x.flatten(2).transpose(1, 2)], 1) + places


class Attention(nn.Module):
    """Every token looks at every token: (N, T, C) → (N, T, C). Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)  # each (N, heads, T, d)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, c))


class First(nn.Module):
    """(N, T, C) → (N, C): the class token."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


def hidden_layer(width: int, mlp: int) -> nn.Sequential:
    """The two linear layers that every token goes through on its own."""
    return seq(wide=nn.Linear(width, mlp), act=nn.GELU(), narrow=nn.Linear(mlp, width))


def block(width: int, heads: int, think: nn.Module) -> nn.Sequential:
    """Tokens look at each other, then each thinks for itself; norm first, both residual."""
    return seq(
        look=Residual(seq(norm=nn.LayerNorm(width, EPS), mix=Attention(width, heads))),
        think=Residual(seq(norm=nn.LayerNorm(width, EPS), mlp=think)),
    )


def stem(patch: int, width: int, side: int) -> nn.Sequential:
    patches = nn.Conv2d(3, width, patch, patch)
    nn.init.trunc_normal_(patches.weight, std=(3 * patch**2) ** -0.5)
    assert patches.bias is not None
    nn.init.zeros_(patches.bias)
    return seq(patches=patches, tokens=Tokens(width, side // patch))


def in_stages(blocks: list[nn.Sequential]) -> dict[str, nn.Sequential]:
    """stage1 … stage4, a quarter of the blocks each."""
    each = len(blocks) // STAGES
    return {f"stage{i + 1}": nn.Sequential(*blocks[i * each : (i + 1) * each]) for i in range(STAGES)}


def build(spec: ViT, classes: int = 1000) -> nn.Sequential:
    blocks = [block(spec.width, spec.heads, hidden_layer(spec.width, spec.mlp)) for _ in range(spec.depth)]
    head = seq(pool=First(), norm=nn.LayerNorm(spec.width, EPS), fc=nn.Linear(spec.width, classes))
    return small_init(seq(stem=stem(spec.patch, spec.width, spec.side), **in_stages(blocks), head=head))


def torchvision_names(spec: ViT) -> dict[str, str]:
    """Our path of every module with a state, or of its tensors → the path in torchvision.models.vision_transformer."""
    names = {
        "stem.patches": "conv_proj",
        "stem.tokens.token": "class_token",
        "stem.tokens.places": "encoder.pos_embedding",
        "head.norm": "encoder.ln",
        "head.fc": "heads.head",
    }
    each = spec.depth // STAGES
    for i in range(spec.depth):
        ours, theirs = f"stage{1 + i // each}.{i % each}", f"encoder.layers.encoder_layer_{i}"
        names |= {
            f"{ours}.look.body.norm": f"{theirs}.ln_1",
            f"{ours}.look.body.mix.qkv.weight": f"{theirs}.self_attention.in_proj_weight",
            f"{ours}.look.body.mix.qkv.bias": f"{theirs}.self_attention.in_proj_bias",
            f"{ours}.look.body.mix.out": f"{theirs}.self_attention.out_proj",
            f"{ours}.think.body.norm": f"{theirs}.ln_2",
            f"{ours}.think.body.mlp.wide": f"{theirs}.mlp.0",
            f"{ours}.think.body.mlp.narrow": f"{theirs}.mlp.3",
        }
    return names


def weights(net: str, file: str, top1: float, top5: float) -> Weights:
    found = torchvision_weights(net, "v1", file, partial(torchvision_names, FAMILY[net]), top1, top5)
    return replace(found, renamed=(("mlp.linear_1", "mlp.0"), ("mlp.linear_2", "mlp.3")))  # before torchvision 0.14


def stages(patch: int, width: int) -> tuple[Stage, ...]:
    return tuple(Stage(name, width, patch, tokens=True) for name in ("stem", "stage1", "stage2", "stage3", "stage4"))


def row(
    name: str,
    params: int,
    macs: int,
    counted: str,
    source: str,
    weights: tuple[Weights, ...] = (),
    published: Published | None = None,
) -> Net:
    spec = FAMILY[name]
    return Net(
        build=partial(build, spec),
        params=params,
        counted=counted,
        macs=macs,
        classes=1000,
        size_px=spec.side,
        source=source,
        stages=stages(spec.patch, spec.width),
        mean=IMAGENET_MEAN if weights else PLAIN_MEAN,
        std=IMAGENET_STD if weights else PLAIN_STD,
        weights=weights,
        published=published,
        least_px=spec.patch,
    )


NETS = {
    "vit_tiny_patch16_224": row(
        "vit_tiny_patch16_224",
        5_717_416,
        1_253_683_200,
        "timm 1.0",
        "Touvron et al. 2020, table 1, DeiT-Ti",
        published=Published(72.2, None, "Touvron et al. 2020, table 5, DeiT-Ti from scratch, 224 px"),
    ),
    "vit_small_patch16_224": row(
        "vit_small_patch16_224",
        22_050_664,
        4_598_882_304,
        "timm 1.0",
        "Touvron et al. 2020, table 1, DeiT-S",
        published=Published(79.8, None, "Touvron et al. 2020, table 5, DeiT-S from scratch, 224 px"),
    ),
    "vit_small_patch32_224": row(
        "vit_small_patch32_224", 22_878_952, 1_142_909_952, "timm 1.0", "the same with patches of 32 px"
    ),
    "vit_b_16": row(
        "vit_b_16",
        86_567_656,
        17_563_828_224,
        "torchvision 0.29",
        "Dosovitskiy et al. 2020, table 1, B",
        (weights("vit_b_16", "vit_b_16-c867db91.pth", 81.072, 95.318),),
    ),
    "vit_b_16_384": row(
        "vit_b_16_384",
        86_859_496,
        55_484_350_464,
        "torchvision 0.29, vit_b_16 with its SWAG weights",
        "Dosovitskiy et al. 2020, table 1, B",
    ),
    "vit_b_32": row(
        "vit_b_32",
        88_224_232,
        4_409_186_304,
        "torchvision 0.29",
        "Dosovitskiy et al. 2020, table 1, B",
        (weights("vit_b_32", "vit_b_32-d86f8d99.pth", 75.912, 92.466),),
    ),
    "vit_l_16": row(
        "vit_l_16",
        304_326_632,
        61_554_712_576,
        "torchvision 0.29",
        "Dosovitskiy et al. 2020, table 1, L",
        (weights("vit_l_16", "vit_l_16-852ce7e3.pth", 79.662, 94.638),),
    ),
    "vit_l_16_512": row(
        "vit_l_16_512",
        305_174_504,
        361_986_285_568,
        "torchvision 0.29, vit_l_16 with its SWAG weights",
        "Dosovitskiy et al. 2020, table 1, L",
    ),
    "vit_l_32": row(
        "vit_l_32",
        306_535_400,
        15_377_539_072,
        "torchvision 0.29",
        "Dosovitskiy et al. 2020, table 1, L",
        (weights("vit_l_32", "vit_l_32-c7638314.pth", 76.972, 93.07),),
    ),
    "vit_h_14": row(
        "vit_h_14",
        632_045_800,
        167_295_109_120,
        "torchvision 0.29",
        "Dosovitskiy et al. 2020, table 1, H",
    ),
    "vit_h_14_518": row(
        "vit_h_14_518",
        633_470_440,
        1_016_716_764_160,
        "torchvision 0.29, vit_h_14 with its SWAG weights",
        "Dosovitskiy et al. 2020, table 1, H",
    ),
    "vit_giant_patch14_224": row(
        "vit_giant_patch14_224",
        1_012_611_432,
        267_031_491_584,
        "timm 1.0",
        "Zhai et al. 2021, table 2, g, with a class token",
    ),
    "vit_gigantic_patch14_224": row(
        "vit_gigantic_patch14_224",
        1_844_440_680,
        483_747_550_208,
        "timm 1.0",
        "Zhai et al. 2021, table 2, G, with a class token",
        published=Published(90.45, None, "Zhai et al. 2021, table 1: pre-trained on JFT-3B, fine-tuned at 518 px"),
    ),
}
