"""What is known about a net before it is built: the records that every family fills in.

Conventions: a multiply-add is one MAC; convolutions, linear layers and the two matrix products of attention multiply,
nothing else is counted. A stage's stride is input pixels per pixel of its output map. Colours are RGB.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from lineside.nets.parts import pool_by

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # RGB in [0, 1]; torchvision's, ImageNet
PLAIN_MEAN = PLAIN_STD = (0.5, 0.5, 0.5)  # RGB in [0, 1] → [−1, 1], for nets trained from scratch


@dataclass(frozen=True, slots=True)
class Stage:
    """A named part of the net below the head, and what it puts out: (N, channels, H / stride, W / stride)."""

    name: str
    channels: int
    stride: int
    tokens: bool = False  # (N, 1 + H·W / stride², channels) instead: a class token, then the places row by row


@dataclass(frozen=True, slots=True)
class Published:
    """What the authors (or a library that trained the net) say it reaches on ImageNet's validation pictures."""

    top1: float | None  # percent right, single model; None where it is not said
    top5: float | None
    source: str  # paper and table, or library and row; with the crop where it is not one of size_px


@dataclass(frozen=True, slots=True)
class Weights:
    """One set of published weights: 1,000 ImageNet classes. place is an URL, or "package:file" inside a pip package."""

    name: str
    place: str
    sha256: str  # the hash or the beginning of it, as the publisher's file name carries it
    # Our module's path → the publisher's, for every module that has a state; or a tensor's path → the publisher's for
    # each tensor of a module, where the last parts differ (in_proj_weight).
    names: Callable[[], dict[str, str]]
    top1: float  # percent, published, ImageNet validation, one crop
    top5: float | None  # None where the publisher does not say
    source: str  # who says so
    licence: str
    left_out: tuple[str, ...] = ()  # beginnings of the publisher's names that the net has no use for
    derived: tuple[str, ...] = ()  # last parts of names in the file that follow from the net's shape: not learnt
    renamed: tuple[tuple[str, str], ...] = ()  # (in the file, in names): the publisher renamed after he had saved


def torchvision_weights(
    net: str,
    version: str,
    file: str,
    names: Callable[[], dict[str, str]],
    top1: float,
    top5: float,
    left_out: tuple[str, ...] = (),
) -> Weights:
    """A row of torchvision's: the file name ends in the beginning of its hash."""
    return Weights(
        name=f"imagenet1k_{version}",
        place=f"https://download.pytorch.org/models/{file}",
        sha256=file.removesuffix(".pth").rsplit("-", 1)[1],
        names=names,
        top1=top1,
        top5=top5,
        source=f"torchvision, {net} IMAGENET1K_{version.upper()}",
        licence="BSD-3-Clause (torchvision); trained on ImageNet, whose pictures are for research",
        left_out=left_out,
    )


@dataclass(frozen=True, slots=True)
class Signal:
    """One row of the catalog's nets for signals (N, channels, samples): the same idea along one axis."""

    build: Callable[[int, int], nn.Sequential]  # (channels, classes) → named stages; first "stem", last "head"
    params: int  # with so many channels and classes
    macs: int  # of one signal of so many samples
    channels: int
    classes: int
    samples: int
    source: str
    stages: tuple[Stage, ...]  # (N, channels, samples / stride)
    counted: str
    least_samples: int = 1


@dataclass(frozen=True, slots=True)
class Net:
    """One row of the catalog."""

    build: Callable[[int], nn.Sequential]  # classes → named stages; first "stem", last "head" (pool, flat, …, fc)
    params: int  # with `classes` outputs; counted says who else has this integer
    macs: int  # of one picture of size_px x size_px
    classes: int  # of the published figures: 1000, or 10 for nets of small pictures
    size_px: int
    source: str  # paper and table
    stages: tuple[Stage, ...]  # all but the head, in order
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    weights: tuple[Weights, ...] = ()  # the first is the default; () = from scratch
    counted: str = ""  # where params is published ("torchvision 0.29", "timm 1.0", "the paper's table 1 by hand")
    published: Published | None = None  # None: nobody says, or weights[0] says it
    least_px: int = 32  # no smaller side works

    def make(self, classes: int, pool_power: float = 1.0) -> nn.Sequential:
        """The net from scratch with so many outputs; pool_power: see nets/parts.py, PowerMean."""
        return pool_by(self.build(classes), pool_power)
