"""The page of `lineside explain`: one self-contained HTML file, pictures inside, no network, no script."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from lineside import __version__
from lineside.explain.activation import ActivationMap
from lineside.explain.deletion import Deletion
from lineside.explain.features import Strip
from lineside.explain.first_layer import FirstLayer, enlarge
from lineside.explain.heat import png
from lineside.explain.subject import Subject

SHOWN_PX = 448  # of a picture and its maps on the page; the PNG files have the picture's own size
SCORES = 5  # classes listed for each picture


@dataclass(frozen=True)
class Explained:
    """One picture: what the net said, for which class it is explained, and the pictures of why."""

    path: Path
    picture: np.ndarray  # (H, W, 3) uint8 RGB
    scores: tuple[tuple[str, float], ...]  # (class, score), highest first
    category: str  # the class that the maps are about
    maps: tuple[tuple[ActivationMap, np.ndarray, Deletion], ...]  # with the map laid over the picture
    strips: tuple[Strip, ...]


def render(
    subject: Subject, first: FirstLayer, sheet: np.ndarray, found: Sequence[Explained], refused: Sequence[str]
) -> str:
    """The page as text. sheet: the first layer's picture; refused: a sentence for each picture that is not on it."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    tiles = [inline(enlarge(tile, first.tile_px)) for tile in first.tiles] if first.kind == "templates" else []
    templates = list(zip(subject.classes, tiles, strict=True)) if tiles else []
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    here = files("lineside.explain")
    style = files("lineside.data").joinpath("page.css").read_text("utf-8")
    return environment.from_string(here.joinpath("page.html.j2").read_text("utf-8")).render(
        subject=subject,
        version=__version__,
        found=found,
        refused=refused,
        scores=SCORES,
        sheet=inline(sheet),
        sheet_px=sheet.shape[1],
        first=first,
        templates=templates,
        small=lambda picture: inline(shrink(picture)),
        inline=inline,
        style=Markup(style + here.joinpath("page.css").read_text("utf-8")),
    )


def inline(picture: np.ndarray) -> str:
    return "data:image/png;base64," + b64encode(png(picture)).decode("ascii")


def shrink(picture: np.ndarray) -> np.ndarray:
    """The picture at no more than SHOWN_PX a side."""
    image = Image.fromarray(picture)
    image.thumbnail((SHOWN_PX, SHOWN_PX))
    return np.asarray(image)
