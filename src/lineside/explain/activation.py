"""Where a stage's output argued for a class: class activation maps.

CAM       Zhou et al. 2016, arXiv:1512.04150: for a head of global average pooling and one linear layer, the class's
          evidence at each place is its row of the layer times the map there
HiResCAM  Draelos and Carin 2020, arXiv:2011.08891: gradient times activation, place by place, summed over channels.
          At the last stage of such a net it is CAM; elsewhere it stays true to what the net computed, where Grad-CAM
          (Selvaraju et al. 2017, arXiv:1610.02391) averages the gradient over the picture first

Of tokens (N, 1 + h·w, C) the class token is left out: it has no place. A net whose head reads the class token alone has
an empty map at its last stage, because what a place puts out there is not read any more.

With the generalised mean (nets/parts.py, PowerMean) in place of the average, the places still add up to the lead:
twice the activations give twice the mean, and of such a function gradient times value sums to the function (Euler).
A place's share of a channel is then x^p of the sum of all x^p, so the highest places get nearly all of it.

What is explained is the class's logit less the mean of the other classes' logits: softmax does not change when all
logits move together, so a logit alone is no evidence. With two classes one map is the other's negative.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lineside.errors import SettingsError
from lineside.nets.parts import PowerMean
from lineside.nets.stages import places, split_at

TOKENS = 3  # dimensions of (N, 1 + h·w, C), where maps have four
FINER = 2  # the second map comes from the deepest stage with so many times the last stage's resolution


@dataclass(frozen=True)
class ActivationMap:
    """(h, w) float32 of a stage's output for one picture and one class, in logits: above 0 argues for the class.

    exact: the map's sum and a constant of the class are the class's lead over the mean of the others.
    """

    stage: str
    values: Tensor
    exact: bool


def activation_map(net: nn.Sequential, x: Tensor, class_index: int, stage: str) -> ActivationMap:
    """The HiResCAM of one prepared picture x (1, 3, size, size) at the output of a stage. net is in eval."""
    below, above = split_at(net, above_of(net, stage))
    with torch.no_grad():
        reached = below(x)
    reached.requires_grad_()
    with torch.enable_grad():
        lead = lead_of(above(reached), class_index)
        (gradient,) = torch.autograd.grad(lead.sum(), reached)
    argued = places(reached * gradient).sum(1)[0].detach()
    return ActivationMap(stage, argued, stage == stages_of(net)[-1] and adds_up(net))


def lead_of(logits: Tensor, class_index: int) -> Tensor:
    """(N, K) logits → (N,): the class's logit less the mean of the others."""
    others = logits.shape[1] - 1
    return (logits[:, class_index] * (others + 1) - logits.sum(1)) / max(others, 1)


def adds_up(net: nn.Sequential) -> bool:
    """Whether the head is a mean over all places and one linear layer, so that the last stage's map is exact."""
    head = net.get_submodule("head")
    return isinstance(head, nn.Sequential) and all(
        isinstance(part, nn.AdaptiveAvgPool2d | PowerMean | nn.Flatten | nn.Dropout | nn.Linear) for part in head
    )


def stages_of(net: nn.Sequential) -> list[str]:
    """Names of the stages that have a map to show: all but the head."""
    return [name for name, _ in net.named_children()][:-1]


def above_of(net: nn.Sequential, stage: str) -> str:
    """The name of the stage that comes after this one; SettingsError if there is no map of this stage."""
    names = [name for name, _ in net.named_children()]
    split_at(net, stage)  # raises for a name that is not there
    if stage == names[-1]:
        raise SettingsError(f"stage {stage!r} has no map, it answers in numbers; stages: {', '.join(names[:-1])}")
    return names[names.index(stage) + 1]


def default_stages(net: nn.Sequential, x: Tensor) -> tuple[str, ...]:
    """The last stage that has a map, and the deepest one whose map is FINER times as fine, if there is one.

    Of stages that put out tokens the last is left out (see the head of this file).
    """
    side: dict[str, int] = {}
    names = stages_of(net)
    with torch.no_grad():
        for name in names:
            x = net.get_submodule(name)(x)
            side[name] = places(x).shape[-1]
    last = names[-2] if x.dim() == TOKENS and len(names) > 1 else names[-1]
    finer = [name for name in side if side[name] >= FINER * side[last] and side[last] > 0]
    return (last, finer[-1]) if finer else (last,)
