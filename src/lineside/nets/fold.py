"""Batch norm folded into the convolution before it: the same net in eval with fewer layers.

In eval a batch norm multiplies each channel by γ / √(σ² + ε) and adds to it. Behind a convolution both are absorbed
(Ioffe and Szegedy 2015, arXiv:1502.03167, section 3.1, do it for one without a bias):

    weight · γ / √(σ² + ε)        (bias − μ) · γ / √(σ² + ε) + β

What stays is a batch norm that does not stand right behind a convolution: behind a sum or a join, and before a
convolution, as in pre-activation units and dense layers. There a ReLU is between; and where none is, what a batch norm
adds does not reach the border that a padded convolution puts around it, so there is no equal convolution. For exports,
without_batch_norm makes a multiplication and an addition of those.
"""

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn

AnyNet = TypeVar("AnyNet", bound=nn.Module)
Step = tuple[nn.Sequential, str, nn.Module]  # a module, where it is and as what


def fold_batch_norm(net: AnyNet) -> AnyNet:
    """A copy of net in eval, each batch norm that follows a convolution folded into it and gone.

    It puts out what net.eval() does, stage by stage, up to rounding; net itself is unchanged. A convolution that is
    used at several places keeps its batch norms.
    """
    folded = deepcopy(net).eval()
    uses = Counter(id(m) for _, m in folded.named_modules(remove_duplicate=False))
    for run in list(_runs(folded)):  # a list, as modules are taken out under way
        for (home, name, first), (next_home, next_name, second) in pairwise(run):
            if not (isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d)) or second.running_var is None:
                continue
            if uses[id(first)] == uses[id(second)] == 1:
                home._modules[name] = _absorbed(first, second)
                del next_home._modules[next_name]  # not __delitem__, which would number the others anew
    return folded


class Scale(nn.Module):
    """x · factor + summand, one of each for every channel: a batch norm in eval."""

    factor: Tensor  # (C, 1, 1)
    summand: Tensor

    def __init__(self, factor: Tensor, summand: Tensor):
        super().__init__()
        self.register_buffer("factor", factor.view(-1, 1, 1))
        self.register_buffer("summand", summand.view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor + self.summand


def without_batch_norm(net: AnyNet) -> AnyNet:
    """fold_batch_norm(net), and a Scale for each batch norm that stays there and has statistics: for inference."""
    folded = fold_batch_norm(net)
    for name, module in list(folded.named_modules(remove_duplicate=False)):
        if isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
            dtype = module.running_var.dtype
            factor, summand = _line(module)
            folded.set_submodule(name, Scale(factor.to(dtype), summand.to(dtype)).eval())
    return folded


def _runs(net: nn.Module) -> Iterator[list[Step]]:
    """Lists of modules that run one after the other, with nothing between; none reaches across two stages of net."""
    bare: list[Step] = []
    for name, child in net.named_children():
        if isinstance(child, nn.Sequential):
            steps = list(_steps(child))
            yield from (bare, steps)
            bare = []
            for _, _, step in steps:
                yield from _runs(step)
        else:
            if isinstance(net, nn.Sequential):
                bare.append((net, name, child))
            yield from _runs(child)
    yield bare


def _steps(sequential: nn.Sequential) -> Iterator[Step]:
    for name, child in sequential.named_children():
        if isinstance(child, nn.Sequential):
            yield from _steps(child)
        else:
            yield sequential, name, child


@torch.no_grad()
def _line(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """(factor, summand) of each channel, in float64."""
    assert bn.running_mean is not None
    assert bn.running_var is not None
    factor = (bn.running_var.double() + bn.eps).rsqrt() * (1 if bn.weight is None else bn.weight.double())
    return factor, (0 if bn.bias is None else bn.bias.double()) - bn.running_mean.double() * factor


@torch.no_grad()
def _absorbed(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> nn.Conv2d:
    """A plain Conv2d, whatever class conv is of: those without a bias have no place for one."""
    factor, summand = _line(bn)
    both = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # pyright: ignore[reportArgumentType]
        conv.stride,  # pyright: ignore[reportArgumentType]
        conv.padding,  # pyright: ignore[reportArgumentType]
        conv.dilation,  # pyright: ignore[reportArgumentType]
        conv.groups,
        device=conv.weight.device,
        dtype=conv.weight.dtype,
        padding_mode=conv.padding_mode,
    ).eval()
    both.weight.copy_(conv.weight.double() * factor.view(-1, 1, 1, 1))
    assert both.bias is not None
    both.bias.copy_(summand if conv.bias is None else summand + conv.bias.double() * factor)
    return both
