"""The learning rate over a run: linear warm-up, half a cosine to zero (Loshchilov & Hutter 2016, arXiv:1608.03983)."""

import math


def factor(step: int, steps: int, warmup: float) -> float:
    """What the peak rate is multiplied with at step 0 … steps − 1; in (0, 1]."""
    rise = max(1, round(steps * warmup))
    if step < rise:
        return (step + 1) / rise
    done = (step - rise) / max(1, steps - rise)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
