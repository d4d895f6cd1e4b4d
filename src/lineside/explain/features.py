"""What a picture looks like inside: some feature maps of every stage, side by side.

Of a stage's channels those are shown that vary most over this picture, strongest first; each is scaled on its own from
its least to its greatest value. Squares are single pixels of the map: nothing is smoothed.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from lineside.explain.heat import colours
from lineside.nets.stages import places

CHANNELS = 8
TILE_PX = 112
GAP_PX = 4
PAPER = 255


@dataclass(frozen=True)
class Strip:
    """One stage: which channels are in the picture, and the picture, RGB."""

    stage: str
    channels: int  # of the stage
    side_px: tuple[int, int]  # height and width of its map
    shown: tuple[int, ...]
    picture: np.ndarray


def strip(stage: str, output: Tensor) -> Strip:
    """The strip of one stage's output: maps (1, C, h, w), or tokens (1, 1 + h·w, C)."""
    maps = places(output)[0].detach().float().cpu().numpy()
    spread = maps.std((1, 2))
    shown = np.argsort(-spread, kind="stable")[:CHANNELS]
    tiles = []
    for channel in shown:
        one = maps[channel] - maps[channel].min()
        tiles += [
            enlarge(colours(one / one.max() if one.max() > 0 else one)),
            np.full((TILE_PX, GAP_PX, 3), PAPER, np.uint8),
        ]
    height, width = maps.shape[1:]
    return Strip(stage, len(maps), (height, width), tuple(int(c) for c in shown), np.concatenate(tiles[:-1], 1))


def enlarge(tile: np.ndarray) -> np.ndarray:
    """(h, w, 3) → (TILE_PX, TILE_PX, 3), each output pixel a copy of the one beneath it."""
    rows = np.arange(TILE_PX) * tile.shape[0] // TILE_PX
    columns = np.arange(TILE_PX) * tile.shape[1] // TILE_PX
    return tile[rows][:, columns]
