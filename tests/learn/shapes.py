"""Small pictures that a net can learn in seconds: discs, squares and crosses of random place, size and colour."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

KINDS = ("cross", "disc", "square")


def draw(kind: str, rng: np.random.Generator, side: int = 32) -> Image.Image:
    """One RGB picture on a noisy ground."""
    image = Image.fromarray(rng.integers(0, 90, (side, side, 3), dtype=np.uint8))
    pen = ImageDraw.Draw(image)
    x, y, r = (*rng.integers(10, side - 10, 2).tolist(), int(rng.integers(5, 9)))
    color = tuple(rng.integers(120, 256, 3).tolist())
    if kind == "disc":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=color)
    elif kind == "square":
        pen.rectangle((x - r, y - r, x + r, y + r), fill=color)
    else:
        pen.rectangle((x - r, y - 1, x + r, y + 1), fill=color)
        pen.rectangle((x - 1, y - r, x + 1, y + r), fill=color)
    return image


def write(folder: Path, each: int, seed: int = 0, side: int = 32) -> Path:
    """A folder per class with `each` PNG pictures; the folder."""
    rng = np.random.default_rng(seed)
    for kind in KINDS:
        (folder / kind).mkdir(parents=True)
        for i in range(each):
            draw(kind, rng, side).save(folder / kind / f"{kind}{i:03d}.png")
    return folder
