"""Everything that decides a training run, in one frozen record; a TOML or JSON file says what differs from it.

No torch here: the command line and the bundle read recipes too. The defaults are those that the deck teaches for
transfer (Deep Learning for Vision I, "Transfer learning"): the net as a feature extractor first, then fine-tuning at
a tenth of the rate with the lower stages frozen. What each value does is said where it stands.
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

    flip_horizontal: bool = True
    flip_vertical: bool = True
    rotate_deg: float = (
        3.0  # a fixture holds parts about straight; more makes edges that look like cracks where it does
    )
    shift: float = 0.02  # of the side
    zoom: float = 0.03  # 0.03: between 0.97 and 1.03
    brightness: float = 0.12  # factor 1 ± this on [0, 1] RGB
    contrast: float = 0.12  # factor 1 ± this around the picture's mean
    noise: float = 0.01  # standard deviation on [0, 1], the same in R, G and B

    def __post_init__(self) -> None:
        for name in ("shift", "zoom", "brightness", "contrast", "noise"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 or more and less than 1")


@dataclass(frozen=True)
class Recipe:
    """One training run. Rates are AdamW's; a count of epochs is a limit, early stopping may end it sooner."""

    net: str = "auto"
    weights: str = "default"  # "default", "none" (from scratch), or the name of a row of the net's weights
    size_px: int = 0  # side the net sees; 0: its own, also for smaller pictures (docs/decisions/002-…)
    seed: int = 0
    freeze_below: str = "auto"  # first stage that is fine-tuned; stages before it keep their weights. "": train all
    pool_power: float = (
        0.0  # of the mean over the last maps: 1 average, 60 nearly the maximum; 0: 3 for a net with weights, else 1
    )
    views: int = 8  # augmented views of each training picture in the feature cache
    epochs: int = 15
    batch: int = 32
    rate: float = 0.002  # of a net from scratch and of a new last layer
    fine_tune_rate: float = (
        0.1  # share of `rate` for weights that are kept, in proportion to their size (learn/loop.py)
    )
    clip: float = 1.0  # largest norm of a step's gradient; longer ones are shortened to it
    weight_decay: float = 0.02
    warmup: float = 0.1  # share of all steps
    label_smoothing: float = 0.05
    class_weights: Literal["auto", "balanced", "none"] = "auto"  # auto: balanced where one class is 3 times another
    ema: float = 0.98  # decay per step of the averaged weights that are kept
    patience: int = 4  # epochs without a lower calibrate loss before training stops, in the second half of the schedule
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # of training; auto: bfloat16 where measured faster here
    cache_gb: float = 8.0  # largest feature cache on disk
    checkpoint_s: float = 20.0  # seconds between checkpoints inside an epoch
    augment: Augment = field(default_factory=Augment)

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
