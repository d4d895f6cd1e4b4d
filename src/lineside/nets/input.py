"""The first module of every bundle: raw camera pictures → what the net eats, resized with antialias.

Training, the exported graph and the line all run this module, so none of them can resize differently. Engines do not
agree about the resize that is built in (OpenVINO ignores the antialias of ONNX Resize), so it is made of operations
that they all have: first down the rows, then across, each one batched matrix product with the triangle filter of PIL's
and torch's antialiased bilinear, computed in the graph from H and W.

    weight[i, j] ∝ relu(1 − |centre(j) − centre(i)| / support),    support = one output pixel or one input pixel,
                                                                    whichever is wider

The filter is narrow, so BLOCK output pixels are made at a time, of those input pixels that reach any of them: from
700 x 700 to 224 x 224 that is 36 million multiply-adds where a dense product has 434. Centres are kept as whole numbers
(in units of 1 / (2 · size) of an input pixel): exact in every engine, and out of reach of an engine that computes in
bf16. docs/nets.md has what it costs.
"""

import torch
from torch import Tensor, nn

BLOCK = 16  # output pixels made by one matrix product


class Input(nn.Module):
    """(N, H, W, 3) uint8 RGB of any H, W → (N, 3, size_px, size_px) float32, stretched to the square and normalised.

    mean, std are RGB in [0, 1]. A grey picture comes as three equal channels.
    """

    gain: Tensor  # (3, 1, 1): 1 / (255 std)
    shift: Tensor  # (3, 1, 1): −mean / std

    def __init__(self, size_px: int, mean: tuple[float, float, float], std: tuple[float, float, float]):
        super().__init__()
        self.size_px = size_px
        gain = 1 / (255 * torch.tensor(std, dtype=torch.float64))
        shift = -torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)
        # Not in the state dict: they are settings of the bundle's manifest, not something learnt.
        self.register_buffer("gain", gain.float().view(3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.float().view(3, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        n, height, width, _ = pictures.shape
        x = resample(pictures.reshape(n, height, width * 3), self.size_px)
        x = x.reshape(n, self.size_px, width, 3).permute(0, 2, 3, 1)
        x = resample(x.reshape(n, width, 3 * self.size_px), self.size_px)
        return x.reshape(n, self.size_px, 3, self.size_px).permute(0, 2, 3, 1) * self.gain + self.shift


def resample(x: Tensor, size: int) -> Tensor:
    """(N, length, M) → (N, size, M) float32: every column from length pixels to size."""
    first, weight = windows(x.shape[1], size, x.device)
    blocks, _, taps = weight.shape
    place = (first[:, None] + torch.arange(taps, device=x.device)).flatten()
    rows = x.index_select(1, place).float().reshape(x.shape[0], blocks, taps, x.shape[2])
    return (weight @ rows).reshape(x.shape[0], blocks * BLOCK, x.shape[2])[:, :size]


def windows(length: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The filter, BLOCK output pixels at a time: first (blocks,) int64 and weight (blocks, BLOCK, taps) float32.

    Output pixel b * BLOCK + i is the sum of weight[b, i, t] times input pixel first[b] + t. Every row sums to 1.
    """
    unit = 2 * size  # from one input pixel to the next
    support = 2 * torch.sym_max(length, size)
    taps = torch.sym_min((2 * (BLOCK - 1) * length + 2 * support) // unit + 2, length)
    blocks = -(-size // BLOCK)
    centre_out = ((2 * torch.arange(blocks * BLOCK, device=device) + 1) * length).reshape(blocks, BLOCK)
    # Whole numbers to the end: torch.div(rounding_mode=…) is exported as a division of floats, wrong by pixels in bf16.
    first = ((centre_out[:, 0] - support).clamp(min=0) // unit).clamp(max=length - taps)
    centre_in = (first[:, None] + torch.arange(taps, device=device)) * unit + size
    centre_out = centre_out.clamp(max=(length - 1) * unit + size)  # past the last pixel, it stands
    weight = (support - (centre_in[:, None, :] - centre_out[:, :, None]).abs()).clamp(min=0).float()
    return first, weight / weight.sum(2, keepdim=True)
