"""Stochastic depth: in training, a residual's body is left out of some pictures of the batch.

Huang et al. 2016, arXiv:1603.09382, section 3; drawn for each picture on its own, and the bodies that stay are scaled
by 1 / (1 − p), so that eval has nothing to do. Put it last in a Residual's body.
"""

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """x (N, …) with each sample set to zero with probability p, the rest scaled by 1 / (1 − p). Training only."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        keep = torch.empty((x.shape[0], *[1] * (x.dim() - 1)), dtype=x.dtype, device=x.device)
        return x * keep.bernoulli_(1 - self.p).div_(1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p:g}"


def rising(p: float, blocks: int) -> list[float]:
    """The rate of every block: from 0 at the first to p at the last, in equal steps (section 3, "linear decay")."""
    return [p * i / max(blocks - 1, 1) for i in range(blocks)]
