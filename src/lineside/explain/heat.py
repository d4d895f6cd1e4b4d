"""Numbers as colours, and a map laid over its picture."""

import io

import numpy as np
from PIL import Image

STRENGTH = 0.6  # of the colour where the map is strongest; the picture shines through everywhere


def colours(values: np.ndarray) -> np.ndarray:
    """(h, w) in [0, 1] → (h, w, 3) uint8 in viridis: even in lightness, and told apart by colour-blind readers."""
    from matplotlib import colormaps

    return colormaps["viridis"](np.clip(values, 0, 1), bytes=True)[..., :3]


def overlay(picture: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8, greyed, with its map (h, w) over it: the more evidence for the class, the more colour.

    Evidence against (below 0) gets no colour. The map is scaled to its own maximum and smoothed to the picture's size.
    """
    from matplotlib import colormaps

    height, width = picture.shape[:2]
    positive = np.clip(values, 0, None).astype(np.float32)
    positive /= positive.max() if positive.max() > 0 else 1
    smooth = np.asarray(Image.fromarray(positive).resize((width, height), Image.Resampling.BILINEAR))
    grey = np.asarray(Image.fromarray(picture).convert("L"), np.float32)[..., None]
    colour = colormaps["inferno"](smooth, bytes=True)[..., :3].astype(np.float32)
    weight = (STRENGTH * smooth)[..., None]
    return np.round(grey * (1 - weight) + colour * weight).astype(np.uint8)


def png(picture: np.ndarray) -> bytes:
    """A picture (H, W, 3) uint8 as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
