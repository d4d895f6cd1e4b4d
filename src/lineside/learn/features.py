"""What the net computes below its frozen stage, once for every picture and view, in one memory-mapped file.

A frozen stage gives the same answer for the same picture in every epoch, so it is asked once. The file holds
(views, N, C, H, W): view 0 is the picture as it is, views 1 … are augmented; epoch e learns from view e mod views, and
a view is computed when an epoch first wants it. Where nothing is frozen the "features" are the resized pictures
themselves (uint8, one view) and augmentation happens as they are read. Where the limit has room for fewer views than
were asked for there are fewer, and `too_few` says so; a single one is view 0, since the head is fitted on it.

A view is filled in chunks whose completion is marked beside the file (`.done`, one byte a chunk): a run that was killed
goes on with the next chunk. Ranks take turns by chunk. Space is reserved first: a full disk is a sentence, not a crash.
"""

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lineside.data.picture import load
from lineside.errors import TrainError
from lineside.learn.augment import augment
from lineside.learn.draws import generator
from lineside.learn.frozen import Frozen
from lineside.learn.ranks import Ranks
from lineside.learn.recipe import Augment
from lineside.nets.input import Input
from lineside.progress import Progress, silent

FLUSH = 64  # chunks between two marks
CHUNK = 32  # pictures that are computed together; fixed, so that a resumed run rounds as the first one did
FEW = 4  # of them that are resized and augmented together: what each operation makes of them stays in the caches


@dataclass(frozen=True)
class Cache:
    """Features of N pictures. Made by `open_cache`; view 0 is there, `fill` sees to the others."""

    path: Path
    shape: tuple[int, int, int, int, int]  # (views, N, C, H, W)
    paths: tuple[Path, ...]  # of the pictures
    input: Input
    below: Frozen | None  # the frozen stages; None: the features are resized pictures, uint8, not yet normalised
    how: Augment
    seed: int
    ranks: Ranks

    @property
    def nbytes(self) -> int:
        return _bytes(self.shape, self.below is None)

    def too_few(self, views: int, limit_gb: float) -> str:
        """What it means that fewer than `views` fit, for a person; "" where they all do."""
        have, n = self.shape[:2]
        if have >= views:
            return ""
        what = f"{have} of {views} views" if have > 1 else f"1 of {views} views, the picture as it is"
        needed = math.ceil(views * self.nbytes / have / 1e8) / 10
        return (
            f"the feature cache holds only {what}, of each of {n:,} training pictures (cache_gb = {limit_gb:g}): "
            f"{'they are augmented less often' if have > 1 else 'NOTHING IS AUGMENTED'}; in a recipe "
            f"cache_gb = {needed:g} has room for all, or freeze_below = a later stage makes them smaller"
        )

    def held(self, mode: Literal["r", "r+"] = "r") -> np.memmap:
        """The file as an array: uint8 pixels, or bfloat16 bits as int16."""
        return np.memmap(self.path, np.uint8 if self.below is None else np.int16, mode, shape=self.shape)

    def plain(self, rows: slice | np.ndarray) -> Tensor:
        """(B, C, H, W) float32 of these pictures as they are (view 0)."""
        return self._float(self.held()[0, rows])

    def drawn(self, rows: np.ndarray, epoch: int) -> Tensor:
        """(B, C, H, W) float32 of these pictures as epoch learns them: its view, or augmented now."""
        if self.below is not None:
            return self._float(self.held()[epoch % self.shape[0], rows])
        x = torch.from_numpy(np.array(self.held()[0, rows])).float() / 255
        draws = [generator(self.seed, "augment", epoch, int(i)) for i in rows]
        return normalised(self.input, augment(x, self.how, draws))

    def fill(self, epoch: int, progress: Progress = silent) -> None:
        """Compute what is missing of the view that this epoch learns from."""
        view, n = epoch % self.shape[0], self.shape[1]
        chunks = -(-n // CHUNK)
        marks = np.memmap(self.path.with_suffix(".done"), np.uint8, "r+", shape=(self.shape[0], chunks))[view]
        held = self.held("r+")
        todo = [k for k in range(self.ranks.rank, chunks, self.ranks.world) if not marks[k]]
        finished: list[int] = []
        for i, (k, pictures) in enumerate(_read(self.paths, todo), 1):
            held[view, k * CHUNK : k * CHUNK + len(pictures)] = self._computed(pictures, view, k * CHUNK)
            finished.append(k)
            if i % FLUSH == 0 or i == len(todo):  # what is marked as done is on the disk
                held.flush()
                marks[finished] = 1
            progress(min(n, i * CHUNK * self.ranks.world), n, "")
        if not todo:
            progress(n, n, "")
        marks.flush()
        self.ranks.barrier()

    def _computed(self, pictures: Sequence[np.ndarray], view: int, first: int) -> np.ndarray:
        """What the file holds for a chunk of pictures (H, W, 3) uint8, the first of which is number `first`."""
        parts = []
        for i in range(0, len(pictures), FEW):
            x = resized(self.input, pictures[i : i + FEW])
            if self.below is None:
                parts.append((x * 255).round().to(torch.uint8))
                continue
            if view:
                draws = [generator(self.seed, "views", view, first + i + j) for j in range(len(x))]
                x = augment(x, self.how, draws)
            parts.append(normalised(self.input, x))
        whole = torch.cat(parts)
        return whole.numpy() if self.below is None else _bits(self.below(whole))

    def _float(self, raw: np.ndarray) -> Tensor:
        x = torch.from_numpy(np.array(raw))
        return normalised(self.input, x.float() / 255) if self.below is None else x.view(torch.bfloat16).float()


def _bytes(shape: Sequence[int], pixels: bool) -> int:
    return int(np.prod(shape, dtype=np.int64)) * (1 if pixels else 2)


def views_that_fit(shape: Sequence[int], views: int, pixels: bool, limit_gb: float) -> int:
    """How many of `views` a cache of this (N, C, H, W) may hold under the limit; TrainError if not even one."""
    one = _bytes(shape, pixels)
    if one > limit_gb * 1e9:
        raise TrainError(
            f"the feature cache of {shape[0]} pictures needs {one / 1e9:.1f} GB, the recipe allows {limit_gb:g} GB; "
            "raise cache_gb, lower size_px, or freeze more stages (freeze_below)"
        )
    return 1 if pixels else max(1, min(views, int(limit_gb * 1e9 / one)))


def open_cache(
    net_input: Input,
    below: Frozen | None,
    paths: Sequence[Path],
    path: Path,
    *,
    views: int,
    how: Augment,
    seed: int,
    limit_gb: float,
    ranks: Ranks,
    progress: Progress = silent,
) -> Cache:
    """The cache at path, begun or gone on with, of what `below` makes of the pictures; None: the pictures themselves.

    TrainError: no room for the cache.
    """
    probe = torch.zeros(1, 3, net_input.size_px, net_input.size_px)
    probe = below(probe) if below else probe
    c, h, w = probe.shape[1:]
    views = views_that_fit((len(paths), c, h, w), views, below is None, limit_gb)
    shape = (views, len(paths), c, h, w)
    cache = Cache(path, shape, tuple(paths), net_input, below, how, seed, ranks)
    if ranks.first:
        _reserve(cache)
    ranks.barrier()
    cache.fill(0, progress)
    return cache


def _bits(y: Tensor) -> np.ndarray:
    return y.to(torch.bfloat16).contiguous().view(torch.int16).numpy()


def _reserve(cache: Cache) -> None:
    """Take the space for every view from the disk, unless an earlier start of the run has."""
    done, marks = cache.path.with_suffix(".done"), cache.shape[0] * -(-cache.shape[1] // CHUNK)
    if all(p.is_file() and p.stat().st_size == size for p, size in ((cache.path, cache.nbytes), (done, marks))):
        return
    done.unlink(missing_ok=True)
    try:
        with cache.path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, cache.nbytes)
    except OSError as error:
        cache.path.unlink(missing_ok=True)
        raise TrainError(f"{cache.path}: no room for {cache.nbytes / 1e6:.0f} MB of features: {error}") from None
    done.write_bytes(bytes(marks))


def _read(paths: Sequence[Path], chunks: Sequence[int]) -> Iterator[tuple[int, list[np.ndarray]]]:
    """(chunk, its pictures (H, W, 3) uint8) for each chunk: decoded by a thread, one chunk ahead."""

    def pictures(k: int) -> list[np.ndarray]:
        return [load(p) for p in paths[k * CHUNK : (k + 1) * CHUNK]]

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(pictures, chunks[0]) if chunks else None
        for i, k in enumerate(chunks):
            assert ahead is not None
            now = ahead.result()
            if i + 1 < len(chunks):
                ahead = pool.submit(pictures, chunks[i + 1])
            yield k, now


def resized(net_input: Input, pictures: Sequence[np.ndarray]) -> Tensor:
    """(B, 3, S, S) float32 RGB in [0, 1], in the pictures' order; runs of one size are resized together."""
    parts = []
    with torch.inference_mode():
        for _, run in groupby(pictures, key=lambda p: p.shape):
            x = net_input(torch.from_numpy(np.stack(list(run))))
            parts.append(((x - net_input.shift) / (255 * net_input.gain)).clamp(0, 1))
    return torch.cat(parts)


def normalised(net_input: Input, pixels: Tensor) -> Tensor:
    """(B, 3, S, S) RGB in [0, 1] as the net takes it: what Input does after its resize."""
    return pixels * (255 * net_input.gain) + net_input.shift
