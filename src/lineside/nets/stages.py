"""A net by its stages: freeze those below one, cut in two, look at what each puts out.

A stage is a child of the net: "stem", "stage1", …, "head". "Below" is nearer to the picture. A cut can also go through
the head: "head.fc" leaves its pooling below.
"""

from collections import OrderedDict
from difflib import get_close_matches
from math import isqrt

from torch import Tensor, nn

from lineside.errors import SettingsError


class Frozen(nn.Sequential):
    """A stage that stays in eval: its batch norms keep their statistics whatever net.train() says."""

    def train(self, mode: bool = True) -> "Frozen":
        return super().train(False)


def freeze_below(net: nn.Sequential, stage: str) -> None:
    """Freeze every stage below this one and thaw the rest: "stem" thaws all, "head" freezes all but the head.

    Frozen: no parameter asks for a gradient, and batch norm and dropout are in eval and stay there under net.train().
    Works in place; the names in the state dict do not change.
    """
    names = list(net._modules)
    place = _place(net, stage)
    for i, name in enumerate(names):
        part = net.get_submodule(name)
        part.requires_grad_(i >= place)
        if isinstance(part, Frozen) != (i < place):
            kind = Frozen if i < place else nn.Sequential
            setattr(net, name, kind(OrderedDict(part.named_children())))
        net.get_submodule(name).train(net.training)


def split_at(net: nn.Sequential, stage: str) -> tuple[nn.Sequential, nn.Sequential]:
    """(below, above): two Sequentials that share net's modules; above begins with the stage.

    above(below(x)) is net(x). "head.fc" (or another child of a stage) cuts inside: then below ends with the first part
    of that stage, above begins with the rest.
    """
    name, _, inner = stage.partition(".")
    parts, place = list(net.named_children()), _place(net, name)
    below, above = OrderedDict(parts[:place]), OrderedDict(parts[place:])
    if inner:
        cut = above[name]
        assert isinstance(cut, nn.Sequential)
        first, rest = split_at(cut, inner)
        below[name], above[name] = first, rest
    return nn.Sequential(below), nn.Sequential(above)


def outputs(net: nn.Sequential, x: Tensor) -> dict[str, Tensor]:
    """What every stage puts out for x, by stage name; the last is the net's answer."""
    found = {}
    for name, part in net.named_children():
        x = found[name] = part(x)
    return found


def places(output: Tensor) -> Tensor:
    """A stage's output as maps (N, C, h, w): itself, or its tokens (N, 1 + h·w, C) without the class token."""
    if output.dim() == 4:
        return output
    side = isqrt(output.shape[1] - 1)
    return output[:, 1:].transpose(1, 2).unflatten(2, (side, side))


def _place(net: nn.Sequential, stage: str) -> int:
    names = list(net._modules)
    if stage not in names:
        near = get_close_matches(stage, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"stages: {', '.join(names)}"
        raise SettingsError(f"stage {stage!r} is not in this net; {hint}")
    return names.index(stage)
