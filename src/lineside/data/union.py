"""Union-find (Tarjan 1975) over pictures: what is tied, directly or through others, gets one number."""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np


def components(count: int, pairs: Iterable[tuple[int, int]]) -> np.ndarray:
    """(count,) int64: the smallest index of the component that each index belongs to."""
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for a, b in pairs:
        a, b = root(a), root(b)
        parent[max(a, b)] = min(a, b)
    return np.array([root(i) for i in range(count)], np.int64).reshape(count)


def unite(cluster: np.ndarray, groups: Sequence[Hashable | None]) -> np.ndarray:
    """(N,) int64 units: rows that share a cluster number or a group (None ties nothing), through any chain."""
    first: dict[tuple[str, Hashable], int] = {}
    pairs = []
    for row, (number, group) in enumerate(zip(cluster.tolist(), groups, strict=True)):
        pairs.append((row, first.setdefault(("cluster", number), row)))
        if group is not None:
            pairs.append((row, first.setdefault(("group", group), row)))
    return components(len(groups), pairs)
