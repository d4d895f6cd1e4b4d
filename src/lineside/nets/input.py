"""The first module of every bundle: raw camera pictures → what the net eats, resized with antialias.

Training, the exported graph and the line all run this module, so none of them can resize differently. Engines do not
agree about the resize that is built in (OpenVINO ignores the antialias of ONNX Resize), so it is made of operations
that they all have: two dense matrix products whose weights are the triangle filter of PIL's and torch's antialiased
bilinear, computed in the graph from H and W.

    weight[i, j] ∝ relu(1 − |centre(j) − centre(i)| / support),    support = one output pixel or one input pixel,
                                                                    whichever is wider

Centres are kept as whole numbers (in units of 1 / (2 · size) of an input pixel): exact in every engine, and out of
reach of an engine that computes in bf16. docs/nets.md has what it costs.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Input pixels per output pixel that a prescale must leave for the triangle filter: the gap at which PIL's documentation
# of Image.resize(reducing_gap) calls a box reduction before the filter "close to fair resampling".
REDUCING_GAP = 2.0


class Input(nn.Module):
    """(N, H, W, 3) uint8 RGB of any H, W → (N, 3, size_px, size_px) float32, stretched to the square and normalised.

    mean, std are RGB in [0, 1]. prescale averages blocks of prescale x prescale pixels before the filter: for large
    pictures, fixed when the bundle is made (see prescale_for). A grey picture comes as three equal channels.
    """

    gain: Tensor  # (3, 1, 1): 1 / (255 std)
    shift: Tensor  # (3, 1, 1): −mean / std

    def __init__(
        self,
        size_px: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        prescale: int = 1,
    ):
        super().__init__()
        self.size_px, self.prescale = size_px, prescale
        gain = 1 / (255 * torch.tensor(std, dtype=torch.float64))
        shift = -torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)
        # Not in the state dict: they are settings of the bundle's manifest, not something learnt.
        self.register_buffer("gain", gain.float().view(3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.float().view(3, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        n, height, width, _ = pictures.shape
        x = pictures.float()
        if self.prescale > 1:
            x = F.avg_pool2d(x.permute(0, 3, 1, 2), self.prescale).permute(0, 2, 3, 1)
        down = triangle(height, x.shape[1], self.size_px, self.prescale, x.device)
        across = triangle(width, x.shape[2], self.size_px, self.prescale, x.device)
        x = down @ x.reshape(n, x.shape[1], x.shape[2] * 3)  # rows first: they are contiguous, nothing is transposed
        x = x.reshape(n, self.size_px, -1, 3).permute(0, 3, 1, 2) @ across.T
        return x * self.gain + self.shift


def triangle(length: int, blocks: int, size: int, prescale: int, device: torch.device) -> Tensor:
    """(size, blocks) float32, rows sum to 1: from blocks of prescale pixels of a side of length pixels, to size."""
    centre_in = (2 * torch.arange(blocks, device=device) + 1) * (prescale * size)
    centre_out = (2 * torch.arange(size, device=device) + 1) * length
    centre_out = torch.minimum(centre_out, centre_in[-1])  # pixels that fill no block: the last block stands for them
    support = 2 * torch.sym_max(length, prescale * size)
    weight = (support - (centre_in - centre_out[:, None]).abs()).clamp(min=0).float()
    return weight / weight.sum(1, keepdim=True)


def prescale_for(height_px: int, width_px: int, size_px: int) -> int:
    """The prescale for pictures of this size: the largest that leaves REDUCING_GAP pixels for each output pixel."""
    return max(1, int(min(height_px, width_px) / (REDUCING_GAP * size_px)))
