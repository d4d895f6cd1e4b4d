"""Everything that decides a training run, in one frozen record; a TOML or JSON file says what differs from it.

No torch here: the command line and the bundle read recipes too. The defaults are those that the deck teaches for
transfer (Deep Learning for Vision I, "Transfer learning"): the net as a feature extractor first, then fine-tuning at
a tenth of the rate with the lower stages frozen. What each value does is said where it stands,
"unit or range: meaning"; docs/recipe.md is made of these comments.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lineside.errors import SettingsError
from lineside.settings import read_json, read_toml


@dataclass(frozen=True)
class Augment:
    """How a picture may change without its label becoming untrue; every amount is a largest one, drawn uniformly.

    Nothing is cropped away or erased: the part that is lost could be the defect. Set the flips to false where left
    and right, or up and down, carry meaning (letters, shoes, assembly direction).
    """

    flip_horizontal: bool = True  # true or false: half of the views have left and right exchanged
    flip_vertical: bool = True  # true or false: half of the views have up and down exchanged
    # degrees: turned either way; a fixture holds parts about straight, and more makes wedges at the border that look
    # like cracks
    rotate_deg: float = 3.0
    shift: float = 0.02  # share of the side, below 1: moved, each way
    zoom: float = 0.03  # share, below 1: 0.03 is between 0.97 and 1.03
    brightness: float = 0.12  # share, below 1: every value times 1 ± this
    contrast: float = 0.12  # share, below 1: distance from the picture's mean times 1 ± this
    noise: float = 0.01  # share of white, below 1: standard deviation, the same in R, G and B

    def __post_init__(self) -> None:
        for name in ("shift", "zoom", "brightness", "contrast", "noise"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 or more and less than 1")

    def sentence(self) -> str:
        """What it does to pictures, for a person: "flips (left-right and up-down), 3° of rotation, …"."""
        flips = [way for on, way in ((self.flip_horizontal, "left-right"), (self.flip_vertical, "up-down")) if on]
        amounts = ((self.shift, "shift"), (self.zoom, "zoom"), (self.brightness, "brightness"))
        said = [
            *([f"flips ({' and '.join(flips)})"] if flips else []),
            *([f"{self.rotate_deg:g}° of rotation"] if self.rotate_deg else []),
            *(name for amount, name in (*amounts, (self.contrast, "contrast"), (self.noise, "noise")) if amount),
        ]
        return ", ".join(said) or "nothing"


@dataclass(frozen=True)
class Recipe:
    """One training run. Rates are AdamW's; a count of epochs is a limit, early stopping may end it sooner."""

    net: str = "auto"  # a name: one of `lineside nets`, or auto: chosen by measurement; --net says it too
    weights: str = "default"  # a name: default, none (from scratch), or one of the weights of the net
    size_px: int = 0  # pixels, 16 or more: side of the square that the net sees; 0: the net's own
    seed: int = 0  # 0 or more: of the split and of every draw; the same one gives the same run
    # a stage: the first that is fine-tuned, those before it keep their weights; head: only a new last layer; empty: all
    # are trained; auto: the first of stride 16, or all where there are no weights to keep
    freeze_below: str = "auto"
    # 1 to 100: of the generalised mean over the last maps, 1 is the average, 60 nearly the maximum; 0: 3 for a net with
    # weights, else 1
    pool_power: float = 0.0
    views: int = 8  # 1 or more: of each training picture in the feature cache; the first is the picture as it is
    epochs: int = 15  # 1 or more: at most
    batch: int = 32  # pictures, 1 or more: in a step
    rate: float = 0.002  # above 0: of a net from scratch and of a new last layer
    fine_tune_rate: float = 0.1  # share of `rate`, above 0: for weights that are kept, in proportion to their size
    clip: float = 1.0  # above 0: largest norm of a step's gradient; longer ones are shortened to it
    weight_decay: float = 0.02  # 0 or more: AdamW's
    warmup: float = 0.1  # share of all steps, below 1: in which the rate rises
    label_smoothing: float = 0.05  # share, below 1: of a label that is spread over all classes
    # auto, balanced, none: factors of the loss by class; auto: balanced where one class is more than 3 times another
    class_weights: Literal["auto", "balanced", "none"] = "auto"
    ema: float = 0.98  # share, below 1: decay per step of the averaged weights that are kept
    # epochs, 1 or more: without a lower calibrate loss before training stops, in the second half of the schedule
    patience: int = 4
    # auto, float32, bfloat16: of training; auto: bfloat16 where measured faster here
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    cache_gb: float = 8.0  # gigabytes, above 0: largest feature cache on disk; with less room fewer views
    checkpoint_s: float = 20.0  # seconds: between checkpoints inside an epoch
    augment: Augment = field(default_factory=Augment)  # a table: below

    def __post_init__(self) -> None:
        for name in ("views", "epochs", "batch", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        for name in ("rate", "fine_tune_rate", "clip", "cache_gb"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected more than 0")
        if self.pool_power and not 1 <= self.pool_power <= 100:
            raise ValueError(f"pool_power is {self.pool_power}; expected 0 (chosen by the net) or between 1 and 100")
        for name in ("seed", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 or more")
        for name in ("warmup", "label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 or more and less than 1")
        if self.size_px and self.size_px < 16:
            raise ValueError(f"size_px is {self.size_px}; expected 0 (the net's own) or at least 16")


def read_recipe(path: Path) -> Recipe:
    """The recipe in a .toml or .json file; SettingsError names the key that is wrong and what it may be."""
    if path.suffix != ".json":
        return read_toml(Recipe, path)
    try:
        return read_json(Recipe, path.read_bytes(), str(path))
    except OSError as error:
        raise SettingsError(f"{path}: can not be read ({error.strerror})") from None
