"""Numbers as colours, and a map laid over its picture."""

import io

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

STRENGTH = 0.6  # of the colour where the map is strongest; the picture shines through everywhere
WRITER, HEAD = ("Software", "Lineside"), 96  # a text of the PNG, and within how many bytes it stands


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
    """A picture (H, W, 3) uint8 as the bytes of a PNG file that says who wrote it."""
    buffer, said = io.BytesIO(), PngInfo()
    said.add_text(*WRITER)
    Image.fromarray(picture).save(buffer, "PNG", optimize=True, pnginfo=said)
    return buffer.getvalue()


def is_ours(head: bytes) -> bool:
    """Whether a PNG file that begins so was written by png."""
    return "\0".join(WRITER).encode() in head[:HEAD]
