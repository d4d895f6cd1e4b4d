"""Three ways to count the same net, each said under every table, and why published figures differ from each other.

deck    the lecture deck's columns: memory is what convolutions, pools, linear layers and products put out, and the list
        that a flattened map becomes; norms and activations have none; its flops are MACs and pool operations together
paper   as architecture papers count: the same without the flattened list; MACs alone
torch   what PyTorch makes here: every new tensor, also of norms, activations and joins, in its own number format

DIFFERENCES holds what others print for nets of the catalog, and how the ledger's own rows give that figure: a test
computes each one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Literal

from lineside.ledger.row import KB, LAYERS, Cost, Row

Name = Literal["deck", "paper", "torch"]


@dataclass(frozen=True)
class Convention:
    name: Name
    memory: str
    flops: str
    flattened: bool  # the list that a flattened map becomes has a row
    everything: bool  # all that is made has a row


CONVENTIONS: dict[str, Convention] = {
    "deck": Convention(
        "deck",
        "outputs of convolutions, pools, linear layers and products, and a flattened map; float32",
        "the deck's flops are MACs and pool operations together",
        flattened=True,
        everything=False,
    ),
    "paper": Convention(
        "paper",
        "outputs of convolutions, pools, linear layers and products; float32",
        "MACs alone, pools apart",
        flattened=False,
        everything=False,
    ),
    "torch": Convention(
        "torch",
        "every new tensor, norms, activations and joins too, in its own number format",
        "MACs alone, pools apart",
        flattened=False,
        everything=True,
    ),
}


def sentences(convention: Convention, cost: Cost) -> list[str]:
    """What stands under a table."""
    batch = {shape[0] for shape in cost.shapes if len(shape) > 1}
    return [
        "MAC: one multiply-add of a convolution, linear layer or product; biases, norms and activations add none; "
        + convention.flops,
        "pool: C · H' · W' · K · K; params: with biases and the norms' two a channel, in the row that reads them first",
        f"memory ({convention.name}): {convention.memory}",
        "RF, jump: input pixels that one output place sees, and from one place to the next; all: the whole picture "
        "(attention, also in windows; global pools; linear layers over places)",
        "one picture; KB = 1,024 bytes, k = 1,000, M = 1,000,000"
        if batch <= {1}
        else f"a batch of {', '.join(map(str, sorted(batch)))}; KB = 1,024 bytes, k = 1,000, M = 1,000,000",
    ]


@dataclass(frozen=True)
class Difference:
    """A figure that somebody prints for a net, and where it comes from."""

    convention: Name  # whose figure
    says: str
    figure: Callable[[Cost], float]  # from the ledger's rows
    unit: str
    why: str

    def sentence(self, cost: Cost) -> str:
        return f"{self.says}: {self.why} ({self.figure(cost):,.0f} {self.unit})"


def _convs(cost: Cost) -> list[Row]:
    return [row for row in cost.rows if row.kind == "conv"]


def _one_3x3_of_256_maps_less(cost: Cost) -> float:
    third = next(r for r in _convs(cost) if r.input == r.output == (256, 56, 56))
    return cost.macs - third.macs


def _vgg_to_28(cost: Cost) -> float:
    """MACs of VGG-16's convolutions above the 28 x 28 maps, without the last of conv3."""
    above = [r for r in _convs(cost) if r.output[1] >= 56]
    return sum(r.macs for r in above[:-1])


def _without_shortcuts(cost: Cost) -> float:
    return cost.macs - sum(r.macs for r in _convs(cost) if ".shortcut." in r.path)


def _stride_first(cost: Cost) -> float:
    """Bottlenecks with the stride in the first 1x1 instead of the 3x3: that 1x1 has a quarter of the places."""
    convs = _convs(cost)
    moved = [a for a, b in pairwise(convs) if a.kernel == (1, 1) and b.kernel == (3, 3) and b.stride == (2, 2)]
    return cost.macs - sum(a.macs for a in moved) * 3 / 4


def _two_towers(cost: Cost) -> float:
    """AlexNet's parameters with conv2, conv4 and conv5 in two groups."""
    convs = _convs(cost)
    halves = [prod((r.filters, r.input[0], *r.kernel)) // 2 for r in (convs[1], convs[3], convs[4])]
    return cost.params - sum(halves)


def _alexnet_padded(cost: Cost) -> float:
    first = _convs(cost)[0]
    return cost.macs - first.macs + first.macs * 56**2 / prod(first.output[1:])


def _stem(cost: Cost) -> float:
    return sum(r.macs + r.pool_ops for r in cost.rows if r.path.startswith("stem"))


_OPTION_A = "shortcuts of option A, which have no parameters; ours project where the shapes differ (option B)"
_FIRST_1X1 = "the stride sits in the first 1x1 of a block as the paper prints it; here, as in torchvision, in its 3x3"
DIFFERENCES: dict[str, tuple[Difference, ...]] = {
    "alexnet_deck": (
        Difference("paper", "60 M parameters", _two_towers, "parameters", "conv2, 4 and 5 in two groups, one a GPU"),
        Difference(
            "deck",
            "conv1: 227 px, pad 2, 55 x 55",
            _alexnet_padded,
            "MAC",
            "227 px with pad 2 gives 56 x 56; 55 needs pad 0 (this table), or 224 px and pad 2",
        ),
    ),
    "vgg16": (
        Difference("deck", "13.6 GFLOP", _one_3x3_of_256_maps_less, "MAC", "conv3_3 was forgotten"),
        Difference(
            "deck",
            "7485 MFLOP down to 28 x 28",
            _vgg_to_28,
            "MAC",
            "conv3_3 was forgotten, and the pools; in full 9335 M, with pools 9341 M",
        ),
    ),
    "googlenet_paper": (
        Difference(
            "deck", "418 MFLOP in the stem", _stem, "operations", "two digits changed places: its rows add up to 481"
        ),
    ),
    "resnet18": (Difference("paper", "1.8 GFLOP", _without_shortcuts, "MAC", _OPTION_A),),
    "resnet34": (Difference("paper", "3.6 GFLOP", _without_shortcuts, "MAC", _OPTION_A),),
    "resnet50": (Difference("paper", "3.8 GFLOP", _stride_first, "MAC", _FIRST_1X1),),
    "resnet101": (Difference("paper", "7.6 GFLOP", _stride_first, "MAC", _FIRST_1X1),),
    "resnet152": (Difference("paper", "11.3 GFLOP", _stride_first, "MAC", _FIRST_1X1),),
}


def differences(cost: Cost, convention: Convention) -> list[str]:
    """Why figures that others print differ from this table's; cost.name is the net's name in the catalog."""
    said = [
        f"{d.convention} says {d.sentence(cost)}"
        for d in DIFFERENCES.get(cost.name, ())
        if d.convention == convention.name
    ]
    up = [row for row in cost.rows if row.ceil]
    smaller = [row for row in up if floor_side(row) != row.output[1:]]
    if smaller:
        row = smaller[0]
        said.append(
            f"{len(up)} pools round up as Caffe's do; rounding down, {row.path} would give "
            f"{'x'.join(map(str, floor_side(row)))} instead of {'x'.join(map(str, row.output[1:]))}"
        )
    if convention.name == "torch":
        layers = sum(row.elements * 4 for row in cost.rows if row.kind in LAYERS)
        made = sum(row.made for row in cost.rows)
        said.append(
            f"everything made is {made / KB:,.1f} KB; a paper counts {layers / KB:,.1f} KB of it, the layers' outputs"
        )
    return said


def floor_side(row: Row) -> tuple[int, ...]:
    """The places that a pool would have, rounded down."""
    return tuple(
        (n + 2 * p - k) // s + 1 for n, k, s, p in zip(row.input[1:], row.kernel, row.stride, row.pad, strict=True)
    )
