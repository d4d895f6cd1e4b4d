"""Does the map tell the truth? Blur what it points at, and see whether the class loses more than by chance.

The control is the same shape elsewhere: the mask rolled round the picture by random steps, so that only the place
differs, not how much is blurred nor how it hangs together. Deletion as a test of maps: Petsiuk et al. 2018,
arXiv:1806.07421.
"""

from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lineside.explain.activation import lead_of

SHARE = 0.1  # of the picture is blurred
CONTROLS = 20  # random places for the same shape
BATCH = 8  # pictures at once


@dataclass(frozen=True, slots=True)
class Answer:
    """What the net says about one class. A score near 1 hardly moves; its lead, in logits, does."""

    score: float
    lead: float  # the class's logit less the mean of the others, divided by the temperature


@dataclass(frozen=True)
class Deletion:
    """The answer to the picture as it is, with the hottest share of the map blurred, and with the same elsewhere."""

    share: float
    whole: Answer
    blurred: Answer
    elsewhere: tuple[Answer, ...]  # one for each random place

    @property
    def elsewhere_score(self) -> float:
        return sum(a.score for a in self.elsewhere) / len(self.elsewhere)

    @property
    def elsewhere_lead(self) -> float:
        return sum(a.lead for a in self.elsewhere) / len(self.elsewhere)

    @property
    def points_at_it(self) -> bool:
        """Blurring the map's place costs the class's lead more than blurring any of the random places."""
        return self.blurred.lead < min(a.lead for a in self.elsewhere)


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
    masks = torch.stack([torch.zeros_like(mask), mask, *_elsewhere(mask, rng, controls)])[:, None]
    with torch.no_grad():
        variants = x * (1 - masks) + blur(x) * masks
        logits = torch.cat([net(part) / temperature for part in variants.split(BATCH)])
    scores, leads = logits.softmax(1)[:, class_index].tolist(), lead_of(logits, class_index).tolist()
    whole, blurred, *elsewhere = (Answer(s, lead) for s, lead in zip(scores, leads, strict=True))
    return Deletion(share, whole, blurred, tuple(elsewhere))


def _elsewhere(mask: Tensor, rng: np.random.Generator, count: int) -> list[Tensor]:
    """The mask rolled to random places, those left out that cover much of its own place.

    The mean overlap over all places is the mask's share of the picture, so (Markov) at least 60 % of them overlap less
    than 2.5 times as much: ten draws for each one asked are always enough.
    """
    most = 2.5 * float(mask.mean()) * float(mask.sum())
    steps = rng.integers(0, len(mask), (10 * count, 2)).tolist()
    rolled = (mask.roll((down, across), (0, 1)) for down, across in steps)
    return list(islice((one for one in rolled if float((one * mask).sum()) < most), count))


def blur(x: Tensor) -> Tensor:
    """x (N, C, H, W) without its detail: three box means of about an eighth of the side, nearly a Gaussian."""
    k = 2 * (x.shape[-1] // 16) + 1
    for _ in range(3):
        x = F.avg_pool2d(x, k, 1, k // 2, count_include_pad=False)
    return x
