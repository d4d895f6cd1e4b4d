"""What the net computes below its frozen stage, once for every picture, in one memory-mapped file.

A frozen stage gives the same answer for the same picture in every epoch, so it is asked once. The file holds
(views, N, C, H, W): view 0 is the picture as it is, views 1 … are augmented. Where nothing is frozen the "features"
are the resized pictures themselves (uint8, one view) and augmentation happens as they are read.

The file is filled in chunks whose completion is marked beside it (`.done`, one byte a chunk): a run that was killed
goes on with the next chunk. Ranks take turns by chunk. Space is reserved first: a full disk is a sentence, not a crash.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lineside.data.picture import load
from lineside.errors import TrainError
from lineside.learn.augment import augment
from lineside.learn.draws import generator
from lineside.learn.precision import autocast, channels_last
from lineside.learn.ranks import Ranks
from lineside.learn.recipe import Augment
from lineside.nets.input import Input
from lineside.progress import Progress, silent

CHUNK = 32  # pictures that are computed together; fixed, so that a resumed run rounds as the first one did


@dataclass(frozen=True)
class Cache:
    """Features of N pictures. pixels: they are resized pictures (uint8), not yet normalised."""

    path: Path
    shape: tuple[int, int, int, int, int]  # (views, N, C, H, W)
    pixels: bool
    input: Input
    how: Augment

    @property
    def nbytes(self) -> int:
        return _bytes(self.shape, self.pixels)

    def held(self) -> np.ndarray:
        """The file as an array: uint8 pixels, or bfloat16 bits as int16."""
        return np.memmap(self.path, np.uint8 if self.pixels else np.int16, "r", shape=self.shape)

    def plain(self, rows: slice | np.ndarray) -> Tensor:
        """(B, C, H, W) float32 of these pictures as they are (view 0)."""
        return self._float(self.held()[0, rows])

    def drawn(self, rows: np.ndarray, epoch: int, seed: int) -> Tensor:
        """(B, C, H, W) float32 of these pictures, each in a view drawn for this epoch."""
        if self.pixels:
            x = torch.from_numpy(np.array(self.held()[0, rows])).float() / 255
            return self._normal(augment(x, self.how, [generator(seed, "augment", epoch, int(i)) for i in rows]))
        views = np.random.default_rng([seed, epoch]).integers(self.shape[0], size=self.shape[1])[rows]
        return self._float(self.held()[views, rows])

    def _float(self, raw: np.ndarray) -> Tensor:
        x = torch.from_numpy(np.array(raw))
        return self._normal(x.float() / 255) if self.pixels else x.view(torch.bfloat16).float()

    def _normal(self, pixels: Tensor) -> Tensor:
        return normalised(self.input, pixels)


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


def compute(
    net_input: Input,
    below: nn.Module | None,
    paths: Sequence[Path],
    path: Path,
    *,
    views: int,
    how: Augment,
    seed: int,
    limit_gb: float,
    precision: str,
    ranks: Ranks,
    progress: Progress = silent,
) -> Cache:
    """Fill (or go on filling) the cache at path with what `below` makes of the pictures; None: the pictures themselves.

    precision: "float32" or "bfloat16", in which `below` computes. TrainError: no room for the cache.
    """
    pixels = below is None
    probe = torch.zeros(1, 3, net_input.size_px, net_input.size_px, device=ranks.device)
    if below is not None:
        below.to(ranks.device, memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]
        with torch.inference_mode():
            probe = below(probe)
    c, h, w = probe.shape[1:]
    views = views_that_fit((len(paths), c, h, w), views, pixels, limit_gb)
    cache = Cache(path, (views, len(paths), c, h, w), pixels, net_input, how)
    marks = _reserve(cache, ranks)
    held = np.memmap(path, np.uint8 if pixels else np.int16, "r+", shape=cache.shape)
    todo = [k for k in range(len(marks)) if not marks[k] and k % ranks.world == ranks.rank]
    for i, (k, x) in enumerate(_read(net_input, paths, todo)):
        rows = slice(k * CHUNK, k * CHUNK + len(x))
        if below is None:
            held[0, rows] = (x * 255).round().to(torch.uint8).numpy()
        else:
            for v in range(views):
                draws = [generator(seed, "views", v, j) for j in range(rows.start, rows.stop)]
                seen = augment(x, how, draws) if v else x
                held[v, rows] = _bits(below, normalised(net_input, seen), precision, ranks.device)
        if i % 64 == 63:  # what is marked as done is on the disk
            held.flush()
        marks[k] = 1
        progress(min(len(paths), (i + 1) * CHUNK * ranks.world), len(paths), "")
    held.flush()
    marks.flush()
    ranks.barrier()
    return cache


def _bits(below: nn.Module, x: Tensor, precision: str, device: torch.device) -> np.ndarray:
    with torch.inference_mode(), autocast(precision, device):
        y = below(channels_last(x.to(device)))
    return y.to(torch.bfloat16).contiguous().view(torch.int16).cpu().numpy()


def _reserve(cache: Cache, ranks: Ranks) -> np.memmap:
    """The marks of the chunks that are done; the space for all of them is taken from the disk now."""
    chunks, done = -(-cache.shape[1] // CHUNK), cache.path.with_suffix(".done")
    if ranks.first and not (
        cache.path.is_file()
        and cache.path.stat().st_size == cache.nbytes
        and done.is_file()
        and done.stat().st_size == chunks
    ):
        done.unlink(missing_ok=True)
        try:
            with cache.path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, cache.nbytes)
        except OSError as error:
            cache.path.unlink(missing_ok=True)
            raise TrainError(f"{cache.path}: no room for {cache.nbytes / 1e6:.0f} MB of features: {error}") from None
        done.write_bytes(bytes(chunks))
    ranks.barrier()
    return np.memmap(done, np.uint8, "r+", shape=(chunks,))


def _read(net_input: Input, paths: Sequence[Path], chunks: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
    """(chunk, (B, 3, S, S) float32 RGB in [0, 1]) for each chunk: decoded by threads, one chunk ahead."""

    def pictures(k: int) -> list[np.ndarray]:
        return [load(p) for p in paths[k * CHUNK : (k + 1) * CHUNK]]

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(pictures, chunks[0]) if chunks else None
        for i, k in enumerate(chunks):
            assert ahead is not None
            now = ahead.result()
            if i + 1 < len(chunks):
                ahead = pool.submit(pictures, chunks[i + 1])
            yield k, resized(net_input, now)


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
