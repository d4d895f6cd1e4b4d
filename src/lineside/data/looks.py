"""How a picture looks, in three numbers that a lamp, a lens and a camera change before they change a verdict.

brightness   mean of luma, 0 to 255 (ITU-R BT.601 weights, as Pillow's "L")
contrast     standard deviation of luma
sharpness    log of the mean squared Laplacian (4 neighbours) of luma plus 1: falls when the lens gets dirty or out of
             focus ("variance of Laplacian", Pech-Pacheco et al. 2000, ICPR, with the log because it spans decades).
             Of luma at half size, each 2 × 2 px averaged: at full size it is a sensor's noise more than a lens's focus

Sharpness is taken from at most SIDE × SIDE px of the middle at full resolution, the other two from a grid over
everything: a picture of 20 megapixels takes no longer than one of one.
"""

from dataclasses import dataclass, fields

import numpy as np

SIDE = 256  # px
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, slots=True)
class Looks:
    brightness: float
    contrast: float
    sharpness: float


NAMES = tuple(field.name for field in fields(Looks))


def looks(picture: np.ndarray) -> Looks:
    """Of (H, W, 3) uint8 RGB, at least 3 × 3 px."""
    h, w = picture.shape[:2]
    grid = picture[:: max(1, h // SIDE), :: max(1, w // SIDE)] @ LUMA
    top, left = max(0, (h - SIDE) // 2), max(0, (w - SIDE) // 2)
    y = picture[top : top + SIDE, left : left + SIDE] @ LUMA
    if min(y.shape) >= 6:
        y = y[: y.shape[0] // 2 * 2, : y.shape[1] // 2 * 2].reshape(y.shape[0] // 2, 2, y.shape[1] // 2, 2).mean((1, 3))
    laplacian = 4 * y[1:-1, 1:-1] - y[:-2, 1:-1] - y[2:, 1:-1] - y[1:-1, :-2] - y[1:-1, 2:]
    return Looks(float(grid.mean()), float(grid.std()), float(np.log1p(np.square(laplacian).mean())))
