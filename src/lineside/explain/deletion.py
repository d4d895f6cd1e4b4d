"""Does the map tell the truth? Blur what it points at, and see whether the class loses more than by chance.

The control is the same shape elsewhere: the mask rolled round the picture by random steps, so that only the place
differs, not how much is blurred nor how it hangs together. Deletion as a test of maps: Petsiuk et al. 2018,
arXiv:1806.07421.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHARE = 0.1  # of the picture is blurred
CONTROLS = 20  # random places for the same shape


@dataclass(frozen=True)
class Deletion:
    """The class's score of the picture as it is, with the hottest share of the map blurred, and with it elsewhere."""

    share: float
    score: float
    blurred: float
    elsewhere: tuple[float, ...]  # one for each random place

    @property
    def points_at_it(self) -> bool:
        """Blurring the map's place costs the class more than blurring any of the random places."""
        return self.blurred < min(self.elsewhere)


def check(
    net: nn.Sequential,
    x: Tensor,
    values: Tensor,
    class_index: int,
    temperature: float,
    rng: np.random.Generator,
    share: float = SHARE,
    controls: int = CONTROLS,
) -> Deletion:
    """Blur the hottest share of a prepared picture x (1, 3, size, size) by its map values (h, w). net is in eval."""
    size = x.shape[-1]
    heat = F.interpolate(values[None, None], (size, size), mode="bilinear", align_corners=False)[0, 0]
    mask = torch.zeros(size * size)
    mask[heat.flatten().argsort(descending=True)[: max(1, round(share * size * size))]] = 1
    mask = mask.view(size, size)
    steps = rng.integers(0, size, (controls, 2))
    masks = torch.stack([torch.zeros_like(mask), mask, *(mask.roll((int(a), int(b)), (0, 1)) for a, b in steps)])[
        :, None
    ]
    with torch.no_grad():
        variants = x * (1 - masks) + blur(x) * masks
        scores = torch.cat(
            [(net(part) / temperature).softmax(1)[:, class_index] for part in variants.split(8)]
        ).tolist()
    return Deletion(share, scores[0], scores[1], tuple(scores[2:]))


def blur(x: Tensor) -> Tensor:
    """x (N, C, H, W) without its detail: three box means of about an eighth of the side, nearly a Gaussian."""
    k = 2 * (x.shape[-1] // 16) + 1
    for _ in range(3):
        x = F.avg_pool2d(x, k, 1, k // 2, count_include_pad=False)
    return x
