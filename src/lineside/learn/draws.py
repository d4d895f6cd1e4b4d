"""Random numbers that are a function of where training is, not of what ran before.

Every draw of a run comes from a generator made for (seed, purpose, counter). A run that is killed and resumed
therefore continues bit for bit without saving any generator, and a rank of a distributed run can draw the whole
global batch's numbers and use its share.
"""

import numpy as np
import torch

PURPOSES = {"init": 0, "order": 1, "views": 2, "augment": 3, "step": 4}


def seed_of(seed: int, purpose: str, *counters: int) -> int:
    """A 63-bit seed for one purpose at one place."""
    state = np.random.SeedSequence([seed, PURPOSES[purpose], *counters]).generate_state(2, np.uint32)
    return (int(state[0]) << 31) ^ int(state[1])


def generator(seed: int, purpose: str, *counters: int) -> torch.Generator:
    """A torch generator on the CPU for one purpose at one place."""
    return torch.Generator().manual_seed(seed_of(seed, purpose, *counters))
