"""What the first layer has learnt to look for, as one picture.

filters    of the first convolution, patch embeddings among them. Each is scaled on its own from its least to its
           greatest weight, as in Krizhevsky et al. 2012, fig. 3: colours show what a filter prefers, not how strongly.
           A filter of one input channel is grey.
templates  of a linear classifier on pixels, one a class in the order of the classes: its weights less the mean of all
           classes', as softmax moves only by differences. Grey is no weight; each is scaled on its own.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import nn

from lineside.errors import SettingsError

TILE_PX = {"filters": 44, "templates": 128}  # a tile's least side in the picture
GAP_PX = 4
PAPER = 255
COLOURS = (1, 3)  # input channels of a layer that sees pixels


@dataclass(frozen=True)
class FirstLayer:
    """What there is to draw: tiles (count, k, k, 3) uint8 RGB, of weights that see so many channels of the picture."""

    kind: Literal["filters", "templates"]
    tiles: np.ndarray
    channels: int

    @property
    def side_px(self) -> int:
        return self.tiles.shape[1]

    @property
    def tile_px(self) -> int:
        return TILE_PX[self.kind]


def first_layer(net: nn.Sequential) -> FirstLayer:
    """The filters of the first convolution, or the templates of a net without any; SettingsError if it has neither."""
    conv = first_conv(net)
    if conv is not None:
        return FirstLayer("filters", filters(conv), conv.in_channels)
    fc = net.get_submodule("head.fc")
    side = math.isqrt(fc.in_features // 3) if isinstance(fc, nn.Linear) else 0
    if not isinstance(fc, nn.Linear) or fc.in_features != 3 * side**2:
        raise SettingsError("this net's first layer does not see pixels in rows and columns: there is nothing to draw")
    return FirstLayer("templates", templates(fc, side), 3)


def first_conv(net: nn.Module) -> nn.Conv2d | None:
    """The first convolution that sees a picture's channels, in the order of the net's children: that they run in."""
    seen = (module for module in net.modules() if isinstance(module, nn.Conv2d) and module.in_channels in COLOURS)
    return next(seen, None)


def filters(conv: nn.Conv2d) -> np.ndarray:
    """(count, k, k, 3) uint8 RGB: every filter."""
    weight = conv.weight.detach().float().cpu().numpy()  # (count, channels, k, k)
    low = weight.min((1, 2, 3), keepdims=True)
    span = weight.max((1, 2, 3), keepdims=True) - low
    return _pixels(np.divide(weight - low, span, out=np.full_like(weight, 0.5), where=span > 0))


def templates(fc: nn.Linear, side: int) -> np.ndarray:
    """(classes, side, side, 3) uint8 RGB: every class's."""
    weight = fc.weight.detach().float().cpu().numpy().reshape(-1, 3, side, side)
    weight = weight - weight.mean(0)
    most = np.abs(weight).max((1, 2, 3), keepdims=True)
    return _pixels(0.5 + np.divide(weight, 2 * most, out=np.zeros_like(weight), where=most > 0))


def _pixels(shares: np.ndarray) -> np.ndarray:
    """(count, 1 or 3, k, k) in [0, 1] → (count, k, k, 3) uint8."""
    whole = np.round(255 * np.broadcast_to(shares, (len(shares), 3, *shares.shape[2:])))
    return whole.astype(np.uint8).transpose(0, 2, 3, 1)


def picture(first: FirstLayer) -> np.ndarray:
    """One RGB picture of all tiles, enlarged by whole numbers, about three rows high by eight."""
    count, side = len(first.tiles), enlarge(first.tiles[0], first.tile_px).shape[0]
    rows = math.ceil(count / math.ceil(math.sqrt(count * 8 / 3)))
    columns, step = math.ceil(count / rows), side + GAP_PX
    sheet = np.full((rows * step - GAP_PX, columns * step - GAP_PX, 3), PAPER, np.uint8)
    for i, tile in enumerate(first.tiles):
        y, x = i // columns * step, i % columns * step
        sheet[y : y + side, x : x + side] = enlarge(tile, first.tile_px)
    return sheet


def enlarge(tile: np.ndarray, least_px: int) -> np.ndarray:
    """(k, k, 3) by the least whole number that makes it least_px."""
    zoom = max(1, math.ceil(least_px / tile.shape[0]))
    return tile.repeat(zoom, 0).repeat(zoom, 1)
