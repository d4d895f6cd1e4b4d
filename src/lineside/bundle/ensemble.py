"""Several nets as one: the log of the mean of their scores.

    pictures (N, H, W, 3) uint8 RGB → for each member m: Input_m → net_m → ÷ T_m → log softmax = ℓ_m
                                    → log (1/M Σ exp ℓ_m)   (N, K), whose softmax is the mean of the members' scores

The mean is arithmetic, of probabilities: "linear opinion pool", as in Lakshminarayanan et al. 2017, arXiv:1612.01474,
sec. 2.4. Every member is calibrated by its own temperature first. The pool of calibrated members is less sure than it
may be, so the bundle divides once more, by a temperature of its own (Rahaman & Thiery 2020, arXiv:2007.08792: pool,
then calibrate). Members that eat the same input share it.

The sum is taken with the largest term set to 1, so a class to which every member gives a score below 1e-38 has a finite
logit. One member that answers NaN makes the answer NaN, which the line rejects.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lineside.bundle.manifest import Member
from lineside.nets.input import Input


class Ensemble(nn.Module):
    """(N, H, W, 3) uint8 RGB → (N, K): the log of the mean score. nets and members in one order."""

    def __init__(self, members: Sequence[Member], nets: Sequence[nn.Module]):
        super().__init__()
        eats = [(one.input.size_px, one.input.mean, one.input.std) for one in members]
        distinct = list(dict.fromkeys(eats))
        self.inputs = nn.ModuleList(Input(*one) for one in distinct)
        self.nets = nn.ModuleList(nets)
        self.input_of = [distinct.index(one) for one in eats]
        self.temperatures = [one.temperature for one in members]

    def forward(self, pictures: Tensor) -> Tensor:
        eaten = [prepare(pictures) for prepare in self.inputs]
        logs = torch.stack(
            [
                (net(eaten[i]) / temperature).log_softmax(1)
                for net, i, temperature in zip(self.nets, self.input_of, self.temperatures, strict=True)
            ]
        )  # (M, N, K)
        top = logs.amax(0)
        return top + (logs - top).exp().mean(0).log()
