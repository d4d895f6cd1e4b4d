"""Changes to pictures that keep their labels true, on batches, after the resize.

x is (B, 3, S, S) float32 RGB in [0, 1]. One affine map a picture (flips, rotation, shift, zoom; edges reflected, so
nothing is invented and little is lost), then light and noise. Every picture has a generator of its own: what happens
to it depends on neither its neighbours nor the batch size, so two ranks with half a batch each do what one would.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lineside.learn.recipe import Augment


def augment(x: Tensor, how: Augment, generators: Sequence[torch.Generator]) -> Tensor:
    """(B, 3, S, S) in [0, 1] → the same shape and range, every picture changed by its own generator's draws."""
    b = len(x)
    draw = torch.stack([torch.rand(8, generator=g) for g in generators]) * 2 - 1  # uniform in [-1, 1)
    angle = draw[:, 0] * math.radians(how.rotate_deg)
    scale = 1 / (1 + draw[:, 1] * how.zoom)
    flip_x = torch.where((draw[:, 2] < 0) & how.flip_horizontal, -1.0, 1.0)
    flip_y = torch.where((draw[:, 3] < 0) & how.flip_vertical, -1.0, 1.0)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack(
        [
            cos * flip_x,
            -sin * flip_y,
            2 * how.shift * draw[:, 4],
            sin * flip_x,
            cos * flip_y,
            2 * how.shift * draw[:, 5],
        ],
        dim=1,
    ).view(b, 2, 3)
    grid = F.affine_grid(theta.to(x), [b, *x.shape[1:]], align_corners=False)
    x = F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    # brightness · ((x − mean) · contrast + mean), as one product and one sum, in place: x is ours
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    contrast = (1 + how.contrast * draw[:, 6]).view(b, 1, 1, 1).to(x)
    brightness = (1 + how.brightness * draw[:, 7]).view(b, 1, 1, 1).to(x)
    x.mul_(brightness * contrast).add_(brightness * (1 - contrast) * mean)
    if how.noise:
        noise = torch.stack([torch.randn((1, *x.shape[2:]), generator=g) for g in generators])
        x.add_(noise.to(x), alpha=how.noise)
    return x.clamp_(0, 1)
