"""`timm:NAME`: any net of timm, where timm is installed (pip install timm). Never needed, and nothing of it is here.

The row says what timm says: mean, std and side from its pretrained_cfg, parameters and multiply-adds counted on the
meta device. The net is timm's model with its last linear layer taken out, between two ends that this program knows:

    stem.features   model.forward_features: maps (N, C, H, W), maps with the channels last, or tokens: as it likes
    head.pool       model.forward_head without the last layer: pooling, and the norms that timm counts to the head
    head.fc         the last linear layer, new

What does not work on such a net: there is one stage, so freezing is all or nothing ("head" keeps the whole of timm's
model as it is, its head's norms too); pool_power; maps of stages in between, and maps at all where timm puts channels
last; timm's published weights (timm loads them from its own hub, without the hashes that weights.py asks for), so the
net starts from scratch. Models whose last layer is no nn.Linear (distilled ones with two, convolutions) are refused.
"""

from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lineside.errors import MissingExtra, SettingsError
from lineside.nets.net import IMAGENET_MEAN, IMAGENET_STD, Net, Stage
from lineside.nets.parts import seq

PREFIX = "timm:"
CLASSES = 1000


class Features(nn.Module):
    """timm's model up to its pooling. The whole model is kept here, its head too: head.pool only calls it."""

    model: Any

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model.forward_features(x)


class Pool(nn.Module):
    """What timm does between its features and its last layer; the parameters are those of Features."""

    def __init__(self, of: Callable[[Tensor], Tensor]):
        super().__init__()
        self.of = of  # a bound method: torch does not look into it, and a copy of the net binds it to the copy

    def forward(self, x: Tensor) -> Tensor:
        return self.of(x)


@cache
def find(name: str) -> Net:
    """The row of "timm:NAME". MissingExtra: timm is not installed; SettingsError: it has no such net, or not for us."""
    short = name.removeprefix(PREFIX)
    timm = load()
    if not timm.is_model(short):
        near = timm.list_models(f"*{short}*")[:5]
        hint = f"near it are: {', '.join(near)}" if near else "timm.list_models() names them all"
        raise SettingsError(f"net {name!r}: timm {timm.__version__} has no model {short!r}; {hint}")
    with torch.device("meta"):
        net = build(short, CLASSES).eval()
    features = net.get_submodule("stem.features")
    assert isinstance(features, Features)
    config = features.model.pretrained_cfg
    channels, height, width = config.get("input_size", (3, 224, 224))
    if channels != 3:
        raise SettingsError(f"net {name!r} sees {channels} channels; this program gives a net RGB")
    x = torch.empty(1, 3, height, width, device="meta")
    with FlopCounterMode(display=False) as counter:
        reached = net.get_submodule("stem")(x)
        net.get_submodule("head")(reached)
    return Net(
        build=partial(build, short),
        params=sum(p.numel() for p in net.parameters()),
        counted=f"timm {timm.__version__}, built here",
        macs=counter.get_total_flops() // 2,
        classes=CLASSES,
        size_px=height,
        source=f"timm {timm.__version__}, {short}",
        stages=(stage(reached, height),),
        mean=tuple(config.get("mean", IMAGENET_MEAN)),
        std=tuple(config.get("std", IMAGENET_STD)),
        least_px=height if config.get("fixed_input_size") else 32,
    )


def stage(reached: Tensor, side: int) -> Stage:
    """The one stage. Maps with the channels last are told by their equal first two sides."""
    if reached.dim() == 3:
        places = int(reached.shape[1] ** 0.5)
        return Stage("stem", reached.shape[2], side // places, tokens=True)
    last = reached.shape[1] == reached.shape[2] != reached.shape[3]
    channels, places = (reached.shape[3], reached.shape[1]) if last else (reached.shape[1], reached.shape[2])
    return Stage("stem", channels, side // places)


def build(short: str, classes: int) -> nn.Sequential:
    """seq(stem, head) of timm's model, from scratch."""
    model = load().create_model(short, pretrained=False, num_classes=classes)
    fc = model.get_classifier()
    paths = [path for path, module in model.named_modules() if module is fc]
    if not isinstance(fc, nn.Linear) or not paths:
        raise SettingsError(f"net '{PREFIX}{short}' does not end in one linear layer; take another of timm's")
    model.set_submodule(paths[0], nn.Identity())
    return seq(stem=seq(features=Features(model)), head=seq(pool=Pool(model.forward_head), fc=fc))


def load() -> Any:
    """The package timm; MissingExtra where there is none."""
    if find_spec("timm") is None:
        raise MissingExtra("a net named timm:…", "timm", "timm")
    return import_module("timm")
