"""A learnt table with an entry for every place, at another size: what lets a transformer see another picture side.

Written as two matrix products with weights that are known before the net runs, so that every engine computes the same:
engines differ in ONNX's Resize.
"""

from collections.abc import Callable
from math import floor

import torch
from torch import Tensor


def cubic(n: int, size: int) -> list[list[float]]:
    """size rows of n weights: row i makes entry i of size from n entries, by Keys' cubic (1981, a = −1/2).

    Entries are cells of equal width; beyond the table its last entry is repeated. No antialias. A ramp stays a ramp.
    """
    rows = [[0.0] * n for _ in range(size)]
    for i, row in enumerate(rows):
        at = (i + 0.5) * n / size - 0.5
        for j in range(floor(at) - 1, floor(at) + 3):
            d = abs(at - j)
            weight = 1.5 * d**3 - 2.5 * d**2 + 1 if d < 1 else -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
            row[min(max(j, 0), n - 1)] += weight
    return rows


def linear(n: int, size: int) -> list[list[float]]:
    """The same by straight lines between the middles of entries, the first on the first and the last on the last."""
    rows = [[0.0] * n for _ in range(size)]
    for i, row in enumerate(rows):
        at = i * (n - 1) / (size - 1) if size > 1 else (n - 1) / 2
        left = min(floor(at), max(n - 2, 0))
        row[left] += 1 - (at - left)
        row[min(left + 1, n - 1)] += at - left
    return rows


def resize(table: Tensor, height: int, width: int, weights: Callable[[int, int], list[list[float]]]) -> Tensor:
    """(…, h, w) → (…, height, width); the table itself where it has that size."""
    h, w = table.shape[-2:]
    if (h, w) == (height, width):
        return table
    down, across = (
        torch.tensor(weights(*sizes), dtype=table.dtype, device=table.device) for sizes in ((h, height), (w, width))
    )
    return down @ table @ across.T
