"""V-MoE: vision transformers in which every token goes through a few of many experts.

Riquelme et al. 2021, arXiv:2106.05974: section 2 (routing, capacity), appendix A (balancing losses), table 7. The
second half of a block is E pairs of linear layers where ViT has one; a router sends each token to k of them and sums
what they answer, weighted by softmax. "Every-2": in every second block; "last-n": in the last n of those.

    gates = top-k(softmax(W x + ε)), ε ~ N(0, 1 / E²) in training only         (eq. 2)
    an expert takes ceil(C · k · T / E) tokens of a picture of T, C = 1.05; first choices of all tokens come before
    second ones, tokens in their order; a token that finds no room adds nothing there and only passes by the shortcut

The authors' code (vmoe/configs/vmoe_paper/common.py) routes groups of 8 pictures together; here each picture is a
group, so that an answer does not depend on the other pictures of a batch. There is no batch-prioritized routing
(section 4).

Balancing losses are not part of the forward pass: a net has one output. Inside `with routed(net) as routings:` every
router's logits of the last forward are listed, and balance(routings) is the paper's auxiliary loss, which the training
loop (learn/loop.py) adds to the task's with the weight BALANCE.

The paper's tables count with JFT-300M's 18,291 classes and a hidden layer before the last one, as in ViT's
pre-training; so do the rows here, exactly. S is 8 blocks of 512 channels, not DeiT's S. What the paper does not say of
its 15B is a guess: 48 blocks, every-2 and 32 experts are given; 1,408 channels (ViT-g's), 6,400 hidden units, JFT-3B's
29,593 classes and no hidden layer are chosen here, as they make the 14,705.1 M that it gives. (ViT-G's 1,664 and 8,192
would make 22 B.) Nets of more than 1 B parameters are only ever built on the meta device here.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lineside.nets.net import PLAIN_MEAN, PLAIN_STD, Net, Published
from lineside.nets.parts import seq, small_init
from lineside.nets.vit import EPS, First, ViT, block, hidden_layer, in_stages, stages, stem

CHOICES = 2  # k: experts of a token
CAPACITY = 1.05  # C: room, of what an even spread needs
BALANCE = 0.01  # weight of the balancing losses beside the task's, appendix A
JFT_300M, JFT_3B = 18_291, 29_593  # classes


@dataclass(frozen=True)
class VMoE:
    """One row: the transformer, how many experts, and in which of its blocks, counted from 0."""

    vit: ViT
    experts: int
    at: range
    hidden: bool = True  # a layer with tanh before the last one


S32, B16 = ViT(32, 512, 8, 8, 2048), ViT(16, 768, 12, 12, 3072)
L16, H14 = ViT(16, 1024, 24, 16, 4096), ViT(14, 1280, 32, 16, 5120)

FAMILY = {
    "vmoe_s_32_last2_e8": VMoE(S32, 8, range(5, 8, 2)),
    "vmoe_s_32": VMoE(S32, 32, range(1, 8, 2)),
    "vmoe_b_16_e8": VMoE(B16, 8, range(1, 12, 2)),
    "vmoe_b_16": VMoE(B16, 32, range(1, 12, 2)),
    "vmoe_l_16": VMoE(L16, 32, range(1, 24, 2)),
    "vmoe_h_14_last5": VMoE(H14, 32, range(23, 32, 2)),
    "vmoe_15b": VMoE(ViT(14, 1408, 48, 16, 6400), 32, range(1, 48, 2), hidden=False),
}


class Noise(nn.Module):
    """x + N(0, std²) in training, x in eval."""

    def __init__(self, std: float):
        super().__init__()
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        return x + self.std * torch.randn_like(x) if self.training else x


class Experts(nn.Module):
    """(N, T, C) → (N, T, C): each token through CHOICES of so many pairs of linear layers, as far as there is room."""

    def __init__(self, width: int, mlp: int, experts: int):
        super().__init__()
        self.experts = experts
        self.router = seq(score=nn.Linear(width, experts, bias=False), noise=Noise(1 / experts))
        self.wide = nn.Parameter(torch.empty(experts, width, mlp))
        self.wide_bias = nn.Parameter(torch.zeros(experts, 1, mlp))
        self.narrow = nn.Parameter(torch.empty(experts, mlp, width))
        self.narrow_bias = nn.Parameter(torch.zeros(experts, 1, width))
        for weight in (self.wide, self.narrow):
            nn.init.trunc_normal_(weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        gates, place, room = assign(self.router(x).softmax(2), CAPACITY)
        # One row of places for each picture, expert by expert, and a last one for those who find no room.
        places = self.experts * room
        inside = place.flatten(1)[..., None].expand(-1, -1, c)  # (N, k · T, C)
        seated = x.new_zeros(n, places + 1, c).scatter(1, inside, x.repeat(1, CHOICES, 1))[:, :places]
        seated = seated.view(n, self.experts, room, c).transpose(0, 1).reshape(self.experts, n * room, c)
        y = F.gelu(torch.bmm(seated, self.wide) + self.wide_bias)
        y = torch.bmm(y, self.narrow) + self.narrow_bias
        y = y.view(self.experts, n, room, c).transpose(0, 1).reshape(n, places, c)
        y = F.pad(y, (0, 0, 0, 1)).gather(1, inside).view(n, CHOICES, t, c)
        return (gates[..., None] * y).sum(1)


def assign(shares: Tensor, capacity: float) -> tuple[Tensor, Tensor, int]:
    """shares (N, T, E), softmax over experts → gates (N, k, T), place (N, k, T) int64, room.

    place is expert · room + seat; E · room for a token that finds no room. gates are the chosen experts' shares.
    """
    n, t, experts = shares.shape
    room = ceil(capacity * CHOICES * t / experts)
    gates, chosen = shares.topk(CHOICES, 2)
    gates, chosen = gates.transpose(1, 2), chosen.transpose(1, 2)  # (N, k, T): all first choices, then all second ones
    wants = F.one_hot(chosen.flatten(1), experts)
    seat = ((wants.cumsum(1) - 1) * wants).sum(2).view(n, CHOICES, t)
    return gates, torch.where(seat < room, chosen * room + seat, experts * room), room


@dataclass(frozen=True)
class Routing:
    """What one router said in one forward pass, each (N, T, E): its logits, and with noise what tokens went by."""

    std: float  # of the noise
    logits: Tensor
    noisy: Tensor


@contextmanager
def routed(net: nn.Module) -> Iterator[dict[str, Routing]]:
    """Within, every forward pass of net leaves its routings in what this gives, by the router's path."""
    found: dict[str, Routing] = {}

    def keep(name: str, module: Noise, inputs: tuple[Tensor], output: Tensor) -> None:
        found[name] = Routing(module.std, inputs[0].float(), output.float())  # sums over tokens, in bfloat16 too coarse

    routers = [(name, m) for name, m in net.named_modules() if isinstance(m, Noise)]
    hooks = [m.register_forward_hook(partial(keep, name)) for name, m in routers]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def balance(routings: Mapping[str, Routing]) -> Tensor:
    """The auxiliary loss of appendix A: half the importance and half the load loss, summed over the routers.

    Importance: how unevenly the softmax of all tokens is spread over the experts (A.1). Load: how unevenly tokens are
    sent, by the probability that fresh noise would have sent them (A.2). Each is the squared coefficient of variation.
    """
    return torch.stack([(importance(one.logits) + load(one)) / 2 for one in routings.values()]).sum()


def importance(logits: Tensor) -> Tensor:
    return uneven(logits.softmax(2).flatten(0, 1).sum(0))


def load(one: Routing) -> Tensor:
    least = one.noisy.topk(CHOICES, 2).values[..., -1:]  # what an expert's logit must reach to be chosen
    chosen = torch.special.ndtr((one.logits - least) / one.std)
    return uneven(chosen.flatten(0, 1).mean(0))


def uneven(x: Tensor) -> Tensor:
    """(E,) → the squared coefficient of variation: 0 where all are alike."""
    return x.var(correction=0) / x.mean() ** 2


def build(spec: VMoE, classes: int = 1000) -> nn.Sequential:
    vit = spec.vit
    blocks = [
        block(
            vit.width,
            vit.heads,
            Experts(vit.width, vit.mlp, spec.experts) if i in spec.at else hidden_layer(vit.width, vit.mlp),
        )
        for i in range(vit.depth)
    ]
    hidden = {"hidden": nn.Linear(vit.width, vit.width), "act": nn.Tanh()} if spec.hidden else {}
    head = seq(pool=First(), norm=nn.LayerNorm(vit.width, EPS), **hidden, fc=nn.Linear(vit.width, classes))
    return small_init(seq(stem=stem(vit.patch, vit.width, vit.side), **in_stages(blocks), head=head))


def row(
    name: str, params: int, macs: int, classes: int, counted: str, source: str, published: Published | None = None
) -> Net:
    spec = FAMILY[name]
    return Net(
        build=partial(build, spec),
        params=params,
        counted=counted,
        macs=macs,
        classes=classes,
        size_px=spec.vit.side,
        source=f"Riquelme et al. 2021, {source}",
        stages=stages(spec.vit.patch, spec.vit.width),
        mean=PLAIN_MEAN,
        std=PLAIN_STD,
        published=published,
        least_px=spec.vit.patch,
    )


def tuned(top1: float, said: str) -> Published:
    return Published(top1, None, f"Riquelme et al. 2021, {said}: pre-trained on JFT, fine-tuned at a larger side")


NETS = {
    "vmoe_s_32_last2_e8": row(
        "vmoe_s_32_last2_e8",
        56_999_400,
        1_617_072_128,
        1000,
        "by hand: the count that gives the paper's other rows",
        "google-research/vmoe, vmoe_s32_last2_ilsvrc2012_randaug_light1",
        Published(73.1, None, "google-research/vmoe, the same file: ImageNet from scratch, 224 px, mean of 3"),
    ),
    "vmoe_s_32": row(
        "vmoe_s_32",
        296_895_347,
        2_023_056_896,
        JFT_300M,
        "the paper's table 7: 296.9 M",
        "S/32, every-2",
        tuned(77.08, "table 7"),
    ),
    "vmoe_b_16_e8": row(
        "vmoe_b_16_e8",
        285_537_256,
        23_771_910_144,
        1000,
        "by hand: the count that gives the paper's other rows",
        "google-research/vmoe, vmoe_b16_imagenet21k_randaug_strong",
    ),
    "vmoe_b_16": row(
        "vmoe_b_16",
        978_974_835,
        23_806_976_256,
        JFT_300M,
        "the paper's table 7: 979.0 M",
        "B/16, every-2",
        tuned(85.26, "table 7"),
    ),
    "vmoe_l_16": row(
        "vmoe_l_16",
        3_445_959_539,
        83_696_192_512,
        JFT_300M,
        "the paper's table 7: 3446.0 M",
        "L/16, every-2",
        tuned(87.41, "table 7"),
    ),
    "vmoe_h_14_last5": row(
        "vmoe_h_14_last5",
        2_688_648_051,
        186_180_345_600,
        JFT_300M,
        "the paper's table 7: 2688.6 M",
        "H/14, last-5",
        tuned(88.23, "table 7"),
    ),
    "vmoe_15b": row(
        "vmoe_15b",
        14_705_071_769,
        453_744_548_224,
        JFT_3B,
        "the paper's table 7: 14,705.1 M",
        "section 5",
        tuned(90.35, "table 7"),
    ),
}
