"""The ways a layer list can branch, and the few-line layers that every family shares.

A net is an expression of `nn.Sequential` and the combinators below, so what the constructor says is all that runs, and
everything can be named by its path: "stage1.0.add.body.c1.conv". What only one family has, such as attention, has its
`forward` in that family's file.
"""

from collections import OrderedDict
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lineside.errors import SettingsError
from lineside.nets.depthwise import Depthwise


class Residual(nn.Module):
    """shortcut(x) + body(x); the shortcut is the identity unless the shapes differ."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None):
        super().__init__()
        self.body, self.shortcut = body, shortcut or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.body(x)


class Concat(nn.Module):
    """Every branch sees x; what they put out is joined along the channels (inception, dense blocks)."""

    def __init__(self, **branches: nn.Module):
        super().__init__()
        self.branches = nn.ModuleDict(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches.values()], 1)


class Gate(nn.Module):
    """x · gate(x), gate(x) of shape (N, C, 1, 1): squeeze-and-excitation (Hu et al. 2017, arXiv:1709.01507, fig. 2)."""

    def __init__(self, gate: nn.Module):
        super().__init__()
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class Split(nn.Module):
    """The first half of the channels passes by, the second goes through body (ShuffleNet v2, fig. 3c)."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        kept, worked = x.chunk(2, 1)
        return torch.cat([kept, self.body(worked)], 1)


class Shuffle(nn.Module):
    """(N, g·n, H, W) → (N, n·g, H, W): interleave the channels of g groups (ShuffleNet v1, fig. 1c)."""

    def __init__(self, groups: int):
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)


class SamePad(nn.Module):
    """Zeros around x as TensorFlow's SAME puts them for a k x k window: a side n gives ceil(n / stride) afterwards.

    An odd number of zeros has the greater part behind. At stride 2 that is as many before as behind on an odd side and
    one less before on an even one, so no fixed pad is right for every picture; the side is known when a graph is made.
    """

    def __init__(self, k: int, stride: int):
        super().__init__()
        self.k, self.stride = k, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, [zeros for n in (x.shape[-1], x.shape[-2]) for zeros in self.around(n)])

    def around(self, n: int) -> tuple[int, int]:
        """Zeros before and behind a side of n."""
        zeros = max((-(-n // self.stride) - 1) * self.stride + self.k - n, 0)
        return zeros // 2, zeros - zeros // 2

    def extra_repr(self) -> str:
        return f"k={self.k}, stride={self.stride}"


class Permute(nn.Module):
    """The axes in another order: Permute(0, 2, 3, 1) puts the channels of (N, C, H, W) last, (0, 3, 1, 2) undoes it."""

    def __init__(self, *axes: int):
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.axes)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.axes))


class PowerMean(nn.Module):
    """(N, C, H, W) → (N, C, 1, 1): the generalised mean (mean of xᵖ)^(1/p) over H, W of what is positive in x.

    Between the average (p = 1) and the maximum (p = ∞): a defect that fills one place in fifty counts for more than a
    fiftieth. Radenović et al. 2018, arXiv:1711.02512, eq. 3 ("GeM").
    """

    def __init__(self, power: float):
        super().__init__()
        self.power = power

    def forward(self, x: Tensor) -> Tensor:
        x = x.float().clamp(min=1e-6)  # in bfloat16 a power would lose what the sum needs
        most = x.amax((2, 3), keepdim=True)  # shares of it keep every power between 0 and 1
        return most * (x / most).pow(self.power).mean((2, 3), keepdim=True).pow(1 / self.power)

    def extra_repr(self) -> str:
        return f"power={self.power:g}"


class Grey(nn.Module):
    """(N, 3, H, W) RGB → (N, 1, H, W): luma of ITU-R BT.601, what PIL's convert("L") computes. Nothing is learnt.

    The weights sum to 1, so a grey picture given as three equal channels comes out unchanged, normalised or not.
    """

    weight: Tensor  # (3, 1, 1)

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).sum(1, keepdim=True)


def seq(**stages: nn.Module) -> nn.Sequential:
    """A Sequential with names: seq(stem=..., head=...)."""
    return nn.Sequential(OrderedDict(stages))


def conv(cin: int, cout: int, k: int, stride: int, padding: int, groups: int = 1) -> nn.Conv2d:
    """k x k convolution without bias, as a batch norm follows."""
    if groups == cin == cout > 1:
        return Depthwise(cin, k, stride, padding)
    return nn.Conv2d(cin, cout, k, stride, padding, groups=groups, bias=False)


def conv_bn(
    cin: int,
    cout: int,
    k: int,
    stride: int = 1,
    *,
    groups: int = 1,
    act: type[nn.Module] | None = nn.ReLU,
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
) -> nn.Sequential:
    """k x k convolution that keeps H, W at stride 1; batch norm; activation unless act is None."""
    return seq(conv=conv(cin, cout, k, stride, k // 2, groups), bn=norm(cout), **({"act": act()} if act else {}))


def conv_act(
    cin: int, cout: int, k: int, stride: int = 1, *, padding: int | None = None, groups: int = 1
) -> nn.Sequential:
    """k x k convolution with a bias and ReLU, as before batch norm; padding None keeps H, W at stride 1 (k odd)."""
    padding = k // 2 if padding is None else padding
    return seq(conv=nn.Conv2d(cin, cout, k, stride, padding, groups=groups), act=nn.ReLU())


def squeeze(
    channels: int,
    middle: int,
    act: type[nn.Module] = nn.ReLU,
    gate: type[nn.Module] = nn.Sigmoid,
) -> Gate:
    """Squeeze-and-excitation of these channels through `middle`: average, two 1x1 convolutions with bias, gate."""
    return Gate(
        seq(
            pool=nn.AdaptiveAvgPool2d(1),
            reduce=nn.Conv2d(channels, middle, 1),
            act=act(),
            expand=nn.Conv2d(middle, channels, 1),
            gate=gate(),
        )
    )


def bn_relu(channels: int) -> nn.Sequential:
    """The activation of nets that activate before they convolve."""
    return seq(bn=nn.BatchNorm2d(channels), act=nn.ReLU())


def bn_conv(cin: int, cout: int, k: int, stride: int = 1) -> nn.Sequential:
    """Batch norm, ReLU, and a k x k convolution that keeps H, W at stride 1 (pre-activation ResNets, DenseNet)."""
    return seq(bn=nn.BatchNorm2d(cin), act=nn.ReLU(), conv=conv(cin, cout, k, stride, k // 2))


def by_eight(channels: float) -> int:
    """The nearest multiple of 8, at least 8 and not below 90 % of channels: how the mobile nets scale their widths."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


def classifier(cin: int, classes: int, dropout: float = 0.0) -> nn.Sequential:
    """The head: global average over H, W, then one linear layer."""
    drop = {"drop": nn.Dropout(dropout)} if dropout else {}
    return seq(pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), **drop, fc=nn.Linear(cin, classes))


def fully_connected(maps: int, side: int, classes: int, hidden: int = 4096) -> nn.Sequential:
    """The head of AlexNet, ZFNet and VGG: maps of side x side unrolled, two hidden layers with dropout, one linear.

    Maps of another side are averaged to this one first; at the published size there is nothing to average.
    """
    return seq(
        pool=nn.AdaptiveAvgPool2d(side),
        flat=nn.Flatten(),
        fc6=nn.Linear(maps * side * side, hidden),
        act6=nn.ReLU(),
        drop6=nn.Dropout(0.5),
        fc7=nn.Linear(hidden, hidden),
        act7=nn.ReLU(),
        drop7=nn.Dropout(0.5),
        fc=nn.Linear(hidden, classes),
    )


def pools_to_one(net: nn.Sequential) -> bool:
    """Whether the head begins with one mean over all places of the last maps."""
    pool = getattr(net.get_submodule("head"), "pool", None)
    return isinstance(pool, nn.AdaptiveAvgPool2d) and pool.output_size in (1, (1, 1))


def pool_by(net: nn.Sequential, power: float) -> nn.Sequential:
    """net with the generalised mean of this power over its last maps; 1: the average it comes with. In place."""
    if power == 1:
        return net
    head = net.get_submodule("head")
    if not pools_to_one(net):
        raise SettingsError(f"pool_power is {power:g}, but this net pools no last maps; leave it at 1")
    head.pool = PowerMean(power)
    return net


def he_init(net: nn.Sequential) -> nn.Sequential:
    """net, its convolutions drawn from N(0, 2 / fan_out) (He et al. 2015, arXiv:1502.01852, eq. 14), biases zero.

    Batch norms and linear layers keep torch's own start.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return net


def small_init(net: nn.Sequential, std: float = 0.02) -> nn.Sequential:
    """net, its linear layers drawn from N(0, std²) within two std, biases zero: how transformers begin (BERT, ViT)."""
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return net
