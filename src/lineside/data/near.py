"""Near duplicates: recompressed, resized, brightened or slightly cropped copies of one picture.

Pictures of different parts on one fixture look alike, so "looks alike" is not enough. Two steps, both linear:

candidates   63 low-frequency DCT signs of the thumbnail, each against its median over the data set, so that what all
             pictures share (the fixture) cancels. TABLES random bit orders; in each, every picture meets its WINDOW
             neighbours in sorted order (sorted-neighbourhood method, Hernandez & Stolfo 1995), so a bucket of thousands
             of alike pictures costs no more than any other.
proof        one thumbnail must be the other up to gain, offset, small shift and small stretch (least squares, one
             Lucas-Kanade step). What is left over must be small in grey levels and small against what makes the
             picture differ from the data set's mean picture.

The thresholds are measured: docs/check.md, benchmarks/near_duplicates.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lineside.data.facts import THUMB_PX

TABLES = 16
WINDOW = 4
MAX_BITS = 14  # candidates differ in at most so many of the 63 signs
ALL_PAIRS = 256  # up to so many pictures, every pair is a candidate: medians of few pictures say little
MAX_LEFT = 3.0  # grey levels (RMS) that may be left over
MAX_LEFT_SHARE = 0.02  # of the variance that makes the picture differ from the mean picture
MAX_SHIFT = 1.0  # thumbnail cells
CHUNK = 1024  # pairs judged at once: 50 MB


@dataclass(frozen=True)
class Pairs:
    """Candidate pairs and how well one explains the other."""

    index: np.ndarray  # (M, 2) int64
    left: np.ndarray  # (M,) float32 grey levels RMS that are left over
    share: np.ndarray  # (M,) float32 of the variance that is the picture's own

    @property
    def near(self) -> np.ndarray:
        """(M,) bool: near duplicates."""
        return (self.left <= MAX_LEFT) & (self.share <= MAX_LEFT_SHARE)


def near_pairs(thumbs: np.ndarray, aspect: np.ndarray) -> np.ndarray:
    """(M, 2) int64 pairs of near duplicates.

    thumbs: (N, THUMB_PX, THUMB_PX) uint8 grey; aspect: (N,) width / height of the pictures.
    """
    if len(thumbs) < 2:
        return np.zeros((0, 2), np.int64)
    judged = judge(thumbs, candidates(thumbs, aspect))
    return judged.index[judged.near]


def candidates(thumbs: np.ndarray, aspect: np.ndarray) -> np.ndarray:
    """(M, 2) int64 pairs worth judging, M at most TABLES · WINDOW · N."""
    count = len(thumbs)
    if count <= ALL_PAIRS:
        pairs = np.stack(np.triu_indices(count, 1), axis=1)
    else:
        bits = signs(thumbs)
        packed = np.packbits(bits, axis=1).view(np.uint64).ravel()
        pairs = np.concatenate(list(_neighbours(bits, packed)))
        pairs = np.unique(pairs[:, 0] * count + pairs[:, 1])
        pairs = np.stack(np.divmod(pairs, count), axis=1)
    return pairs[np.abs(np.log(aspect[pairs[:, 0]] / aspect[pairs[:, 1]])) < 0.05]


def signs(thumbs: np.ndarray) -> np.ndarray:
    """(N, 64) bool: is each of the 63 lowest DCT coefficients above its median over the data set; the last is 0."""
    cosine = np.cos(np.pi / THUMB_PX * (np.arange(THUMB_PX) + 0.5) * np.arange(8)[:, None]).astype(np.float32)
    low = np.empty((len(thumbs), 63), np.float32)
    for at in range(0, len(thumbs), 4096):
        block = (cosine @ thumbs[at : at + 4096].astype(np.float32) @ cosine.T).reshape(-1, 64)[:, 1:]
        low[at : at + 4096] = block / (np.linalg.norm(block, axis=1, keepdims=True) + 1e-6)
    bits = np.zeros((len(thumbs), 64), bool)
    bits[:, :63] = low > np.median(low, axis=0)
    return bits


def _neighbours(bits: np.ndarray, packed: np.ndarray) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)  # the bit orders: any will do, always the same
    popcount = np.array([bin(i).count("1") for i in range(1 << 16)], np.uint8)
    for _ in range(TABLES):
        key = np.packbits(np.ascontiguousarray(bits[:, rng.permutation(64)]), axis=1).view(">u8").ravel()
        order = np.argsort(key, kind="stable")
        for step in range(1, WINDOW + 1):
            a, b = order[:-step], order[step:]
            apart = popcount[(packed[a] ^ packed[b]).view(np.uint16).reshape(-1, 4)].sum(axis=1)
            close = apart <= MAX_BITS
            yield np.stack([np.minimum(a, b)[close], np.maximum(a, b)[close]], axis=1)


def judge(thumbs: np.ndarray, pairs: np.ndarray) -> Pairs:
    """How well the pictures of each pair explain each other."""
    mean = np.zeros((THUMB_PX, THUMB_PX))
    for at in range(0, len(thumbs), 4096):
        mean += thumbs[at : at + 4096].sum(axis=0, dtype=np.float64)
    mean = (mean / max(len(thumbs), 1)).astype(np.float32)
    left, share = np.empty(len(pairs), np.float32), np.empty(len(pairs), np.float32)
    for at in range(0, len(pairs), CHUNK):
        a = thumbs[pairs[at : at + CHUNK, 0]].astype(np.float32)
        b = thumbs[pairs[at : at + CHUNK, 1]].astype(np.float32)
        left_over = _left_over(a, b)
        own = np.minimum(_own_variance(a, mean), _own_variance(b, mean))
        left[at : at + CHUNK] = np.sqrt(left_over)
        share[at : at + CHUNK] = left_over / np.maximum(own, 1e-3)
    return Pairs(pairs, left, share)


def _left_over(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(M,) mean square of a that no gain, offset, shift and stretch of b explains; inf where the shift is absurd."""
    half = (THUMB_PX - 1) / 2
    across = (np.arange(THUMB_PX, dtype=np.float32) - half) / half
    middle = (a + b) / 2
    down_slope, across_slope = np.gradient(middle, axis=(1, 2))
    flat = (-1, THUMB_PX * THUMB_PX)
    columns = (across_slope, down_slope, across_slope * across, down_slope * across[:, None])
    basis = np.stack([b.reshape(flat), np.ones_like(b).reshape(flat), *(c.reshape(flat) for c in columns)], axis=1)
    target = a.reshape(flat)
    gram = (basis @ basis.transpose(0, 2, 1)).astype(np.float64)
    gram += np.eye(6) * (1e-6 * np.trace(gram, axis1=1, axis2=2)[:, None, None] + 1e-9)
    weights = np.linalg.solve(gram, (basis @ target[:, :, None]).astype(np.float64))
    residual = target - (weights.transpose(0, 2, 1).astype(np.float32) @ basis)[:, 0]
    mean_square = np.square(residual).mean(axis=1)
    plausible = (np.abs(weights[:, 2:, 0]) <= MAX_SHIFT).all(axis=1) & (
        np.abs(np.log2(np.maximum(weights[:, 0, 0], 0.1))) < 1
    )
    return np.where(plausible, mean_square, np.inf)


def _own_variance(a: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """(M,) variance of a that gain and offset of the mean picture do not explain."""
    centred = (a - a.mean(axis=(1, 2), keepdims=True)).reshape(len(a), -1)
    ground = (mean - mean.mean()).ravel()
    power = float(ground @ ground)
    if power > 0:
        centred = centred - np.outer(centred @ ground / power, ground)
    return np.square(centred).mean(axis=1)
