"""What the first layer has learnt to look for: its filters as one picture.

Each filter is scaled on its own from its least to its greatest weight, as in Krizhevsky et al. 2012, fig. 3: colours
show what a filter prefers, not how strongly. A filter of one input channel is grey.
"""

import math

import numpy as np
from torch import nn

TILE_PX = 44  # a filter's least side in the picture
GAP_PX = 4
PAPER = 255


def first_conv(net: nn.Module) -> nn.Conv2d:
    """The first convolution in the order of the net's children, which is the order they run in."""
    return next(module for module in net.modules() if isinstance(module, nn.Conv2d))


def filters(net: nn.Module) -> np.ndarray:
    """(count, k, k, 3) uint8 RGB: every filter of the first convolution."""
    weight = first_conv(net).weight.detach().float().cpu().numpy()  # (count, channels, k, k)
    low = weight.min((1, 2, 3), keepdims=True)
    span = weight.max((1, 2, 3), keepdims=True) - low
    scaled = np.divide(weight - low, span, out=np.full_like(weight, 0.5), where=span > 0)
    return (
        np.round(255 * np.broadcast_to(scaled, (len(weight), 3, *weight.shape[2:])))
        .astype(np.uint8)
        .transpose(0, 2, 3, 1)
    )


def picture(tiles: np.ndarray) -> np.ndarray:
    """(count, k, k, 3) → one RGB picture of all of them, enlarged by whole numbers, about three rows high by eight."""
    count, k = tiles.shape[:2]
    zoom = max(1, math.ceil(TILE_PX / k))
    columns = math.ceil(math.sqrt(count * 8 / 3))
    rows, step = math.ceil(count / columns), k * zoom + GAP_PX
    sheet = np.full((rows * step - GAP_PX, columns * step - GAP_PX, 3), PAPER, np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // columns * step, i % columns * step
        sheet[y : y + k * zoom, x : x + k * zoom] = tile.repeat(zoom, 0).repeat(zoom, 1)
    return sheet
