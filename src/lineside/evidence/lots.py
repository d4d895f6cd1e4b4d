"""How many independent witnesses pictures are that come in lots: parts of one lot, near duplicates of one part.

n pictures are worth n / (1 + (m - 1) r): Kish 1965, "Survey Sampling", 5.4. m is the size of the lot that a picture is
in, on average over pictures; r the intraclass correlation of their values, by analysis of variance (Donner 1986,
International Statistical Review 54:67), not below 0.
"""

import numpy as np


def worth(values: np.ndarray, lots: np.ndarray) -> float:
    """values (n,) finite; lots (n,) any labels, the same for what is tied. One lot alone is one witness."""
    n = len(values)
    _, member = np.unique(lots, return_inverse=True)
    member = member.reshape(-1)
    sizes = np.bincount(member).astype(np.float64)
    if len(sizes) in (0, n):
        return float(n)
    if len(sizes) == 1:
        return 1.0  # nothing tells how lots differ
    lot_size = float((sizes**2).sum() / n)
    means = np.bincount(member, values) / sizes
    between = float((sizes * (means - values.mean()) ** 2).sum()) / (len(sizes) - 1)
    within = float(((values - means[member]) ** 2).sum()) / (n - len(sizes))
    typical = (n - lot_size) / (len(sizes) - 1)
    correlation = (between - within) / (between + (typical - 1) * within) if between > within else 0.0
    return n / (1 + (lot_size - 1) * correlation)
