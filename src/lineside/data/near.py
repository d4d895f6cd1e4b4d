"""Near duplicates: recompressed, resized, brightened or slightly cropped copies of one picture.

Pictures of different parts on one fixture look alike, so "looks alike" is not enough. Two steps, both linear:

candidates   63 low-frequency DCT signs of the thumbnail, each against its median over the data set, so that what all
             pictures share (the fixture) cancels. TABLES random bit orders; in each, every picture meets its WINDOW
             neighbours in sorted order (sorted-neighbourhood method, Hernandez & Stolfo 1995), so a bucket of thousands
             of alike pictures costs no more than any other.
proof        one thumbnail must be the other up to gain, offset, shift and stretch along each axis (Lucas & Kanade 1981:
             least squares on the slopes, then again on the warped thumbnail). Thumbnails are smoothed and their outer
             BORDER cells not judged, so that a crop of 2 % of the side stays provable. What is left over must be small
             in grey levels and small against what makes the picture differ from the data set's mean picture. Two
             cheaper looks at a quarter of the cells spare that for most candidates.

The thresholds are measured: docs/check.md, benchmarks/near_duplicates.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lineside.data.facts import THUMB_PX

TABLES = 32
WINDOW = 4
MAX_BITS = 18  # candidates differ in at most so many of the 63 signs
ALL_PAIRS = 256  # up to so many pictures, every pair is a candidate: medians of few pictures say little
MAX_LEFT = 3.0  # grey levels (RMS) that may be left over
MAX_LEFT_SHARE = 0.012  # of the variance that makes the picture differ from the mean picture
FIRST_LOOK_COSINE = (
    0.85  # of what is the pictures' own, on the coarse thumbnail (copies: 99 % above, see docs/check.md)
)
SECOND_LOOK_SHARE = 0.25  # as MAX_LEFT_SHARE, after one step on the coarse thumbnail
FEW = 16  # of fewer pictures the mean picture is mostly themselves: then a plain variance is the measure
STEPS = 3  # of Lucas and Kanade
BORDER = 2  # cells
MAX_WARP = 0.045  # shift or stretch, as a share of the thumbnail's side
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
    """How well the pictures of each pair explain each other; inf where a first look already says they do not."""
    total = np.zeros((THUMB_PX, THUMB_PX))
    for at in range(0, len(thumbs), 4096):
        total += thumbs[at : at + 4096].sum(axis=0, dtype=np.float64)
    if len(thumbs) < FEW:
        total[:] = 0
    mean = _smooth((total / max(len(thumbs), 1)).astype(np.float32)[None])
    own = np.empty((len(thumbs), (THUMB_PX // 2 - 2) ** 2), np.float32)  # unit vectors: 800 bytes a picture
    for at in range(0, len(thumbs), 4096):
        own[at : at + 4096] = _own(_coarse(_smooth(thumbs[at : at + 4096].astype(np.float32))), _coarse(mean))
    left, share = np.full(len(pairs), np.inf, np.float32), np.full(len(pairs), np.inf, np.float32)
    for at in range(0, len(pairs), CHUNK):
        rows = np.arange(at, min(at + CHUNK, len(pairs)))
        cosine = np.einsum("ij,ij->i", own[pairs[rows, 0]], own[pairs[rows, 1]])
        rows = rows[cosine >= FIRST_LOOK_COSINE]
        if not len(rows):
            continue
        a, b = (_smooth(thumbs[pairs[rows, side]].astype(np.float32)) for side in (0, 1))
        second = _explain(_coarse(a), _coarse(b), _coarse(mean), steps=1, border=1)[1] <= SECOND_LOOK_SHARE
        if second.any():
            left[rows[second]], share[rows[second]] = _explain(a[second], b[second], mean, steps=STEPS, border=BORDER)
    return Pairs(pairs, left, share)


def _explain(
    a: np.ndarray, b: np.ndarray, mean: np.ndarray, *, steps: int, border: int
) -> tuple[np.ndarray, np.ndarray]:
    """(left, share) as in Pairs, for (M, K, K) float32 thumbnails and the (1, K, K) mean thumbnail."""
    count, side = len(a), a.shape[-1]
    across = ((np.arange(side) - (side - 1) / 2) / ((side - 1) / 2)).astype(np.float32)
    inner = slice(border, side - border)
    target = a[:, inner, inner].reshape(count, -1)
    warp = np.zeros((count, 4), np.float32)  # shift and stretch across, shift and stretch down, in cells
    weights, residual = np.empty((count, 6)), target
    for step in range(steps):
        if step:
            gain = np.maximum(np.abs(weights[:, :1]), 0.3)
            most = 1.1 * MAX_WARP * side
            warp = np.clip(warp + weights[:, 2:] / gain, -most, most).astype(np.float32)
        warped = _warp(b, warp, across) if step else b
        sloping = warped if step else (a + b) / 2
        down_slope, across_slope = (np.asarray(np.gradient(sloping, axis=axis)) for axis in (1, 2))
        columns = (
            *(warped, np.ones_like(warped)),
            *(across_slope, across_slope * across, down_slope, down_slope * across[:, None]),
        )
        basis = np.stack([c[:, inner, inner].reshape(count, -1) for c in columns], axis=1)
        gram = (basis @ basis.transpose(0, 2, 1)).astype(np.float64)
        gram += np.eye(6) * (1e-6 * np.einsum("mii->m", gram).reshape(-1, 1, 1) + 1e-9)
        weights = np.linalg.solve(gram, (basis @ target[:, :, None]).astype(np.float64))[:, :, 0]
        residual = target - (weights[:, None, :].astype(np.float32) @ basis)[:, 0]
    plausible = (np.abs(warp) <= MAX_WARP * side).all(axis=1) & (weights[:, 0] > 0.65) & (weights[:, 0] < 1.55)
    left = np.where(plausible, np.square(residual).mean(axis=1), np.inf)
    own = np.minimum(*(np.square(_own_part(x[:, inner, inner], mean[:, inner, inner])).mean(axis=1) for x in (a, b)))
    return np.sqrt(left), left / np.maximum(own, 1e-3)


def _warp(b: np.ndarray, warp: np.ndarray, across: np.ndarray) -> np.ndarray:
    """b read at shifted and stretched places: Catmull-Rom along each axis, edges held."""
    side = b.shape[-1]
    cells = np.arange(side, dtype=np.float32)

    def along(shift: np.ndarray, stretch: np.ndarray) -> np.ndarray:
        place = np.clip(cells + shift[:, None] + stretch[:, None] * across, 0, side - 1)
        t = np.abs(place[:, :, None] - cells)
        outer = np.where(t < 2, ((-0.5 * t + 2.5) * t - 4) * t + 2, 0)
        cubic = np.where(t < 1, (1.5 * t - 2.5) * t * t + 1, outer)
        return cubic / cubic.sum(axis=2, keepdims=True)

    return along(warp[:, 2], warp[:, 3]) @ b @ along(warp[:, 0], warp[:, 1]).transpose(0, 2, 1)


def _smooth(a: np.ndarray) -> np.ndarray:
    """(M, K, K) float32 under the 1-2-1 filter: fine texture would alias between a picture and its resized copy."""
    a = np.pad(a, ((0, 0), (1, 1), (1, 1)), mode="edge")
    a = (a[:, :-2] + 2 * a[:, 1:-1] + a[:, 2:]) / 4
    return (a[:, :, :-2] + 2 * a[:, :, 1:-1] + a[:, :, 2:]) / 4


def _coarse(a: np.ndarray) -> np.ndarray:
    return (a[:, ::2, ::2] + a[:, 1::2, ::2] + a[:, ::2, 1::2] + a[:, 1::2, 1::2]) / 4


def _own_part(a: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """(M, K * K): what gain and offset of the mean picture do not explain of each of a."""
    centred = a.reshape(len(a), -1) - a.mean(axis=(1, 2))[:, None]
    ground = (mean - mean.mean()).ravel()
    power = float(ground @ ground)
    return centred - np.outer(centred @ ground / power, ground) if power > 1e-6 else centred


def _own(coarse: np.ndarray, mean: np.ndarray) -> np.ndarray:
    inner = slice(1, -1)
    own = _own_part(coarse[:, inner, inner], mean[:, inner, inner])
    return own / np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-6)
