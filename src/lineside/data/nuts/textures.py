"""Bitmaps with a seed: the belt of a lot, and the finish of one part's metal.

Every bitmap repeats without a seam (its noise is filtered by FFT, its marks wrap around), so it may be shifted at will.
Colours are linear RGB 0..1; heights are mm.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

BELT_PX, BELT_MM = 1024, 102.4
FINISH_PX, FINISH_MM = 640, 40.0
BELTS = {  # linear RGB, weave period mm (0: smooth), height of the weave mm
    "pu_green": ((0.03, 0.13, 0.07), 0.0, 0.0),
    "pu_white": ((0.58, 0.58, 0.55), 0.0, 0.0),
    "pu_blue": ((0.04, 0.12, 0.30), 0.0, 0.0),
    "rubber_black": ((0.025, 0.025, 0.027), 1.6, 0.05),
    "fabric_grey": ((0.20, 0.20, 0.20), 1.28, 0.10),
    "pvc_beige": ((0.42, 0.33, 0.21), 0.8, 0.04),
    "felt_brown": ((0.12, 0.08, 0.05), 0.0, 0.0),
}

DUST = (0.10, 0.09, 0.075)


class Surface(NamedTuple):
    colour: np.ndarray  # (N, N, 3)
    roughness: np.ndarray | float  # (N, N) or even, 0..1
    height_mm: np.ndarray  # (N, N)


@lru_cache(maxsize=24)
def _band(size, centre, low_pass):
    """The filter of one octave, frequencies in 1 / pixel."""
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    return np.exp(-((f / centre) ** 2)) if low_pass else np.exp(-(((f - centre) / centre) ** 2) * 2)


def noise(size, rng, wavelength_px, octaves=1):
    """Periodic smooth noise, about N(0, 1)."""
    total = np.zeros((size, size))
    for octave in range(octaves):
        spectrum = np.fft.rfft2(rng.normal(size=(size, size))) * _band(size, 2.0**octave / wavelength_px, octaves == 1)
        layer = np.fft.irfft2(spectrum, s=(size, size))
        total += layer / max(layer.std(), 1e-9) * 0.6**octave
    return total / total.std()


def _specks(size, rng, count, radius_px):
    """Small irregular spots, 0..1, wrapped around."""
    cover = np.zeros((size, size))
    for x, y, r in zip(rng.integers(0, size, count), rng.integers(0, size, count), radius_px(count), strict=True):
        reach = int(np.ceil(r * 2)) + 1
        dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        stretch, turn = rng.uniform(0.5, 1), rng.uniform(0, np.pi)
        a, b = dx * np.cos(turn) + dy * np.sin(turn), -dx * np.sin(turn) + dy * np.cos(turn)
        spot = np.clip(1.5 - np.hypot(a * stretch, b / stretch) / r, 0, 1)
        rows, columns = np.ix_((y + dy[:, 0]) % size, (x + dx[0]) % size)
        cover[rows, columns] = np.maximum(cover[rows, columns], spot)
    return cover


def _lines(size, rng, count, length_px, turn_rad):
    """Thin scratches, 0..1, wrapped around."""
    cover = np.zeros((size, size))
    for _ in range(count):
        x, y, turn = rng.uniform(0, size), rng.uniform(0, size), turn_rad(rng)
        s = np.arange(0, length_px(rng), 0.4)
        bend = rng.normal(0, 0.0015)
        px = x + s * np.cos(turn) - bend * s**2 * np.sin(turn)
        py = y + s * np.sin(turn) + bend * s**2 * np.cos(turn)
        strength = rng.uniform(0.2, 1.0)
        ix, iy = px.astype(int) % size, py.astype(int) % size
        cover[iy, ix] = np.maximum(cover[iy, ix], strength)
    return cover


def belt(style: str, shade: float, wear: float, rng) -> Surface:
    """One lot's belt. `shade` scales its colour; `wear` 0..1 adds dirt, scratches and stains."""
    colour, weave_mm, weave_height = BELTS[style]
    n = BELT_PX
    repeat = round(BELT_MM / weave_mm) if weave_mm else 0
    y, x = np.mgrid[0:n, 0:n] * (2 * np.pi / n)
    if repeat:
        over = np.sin(repeat * x) * np.sin(repeat * y)
        weave = np.tanh(2 * over)
    else:
        weave = np.zeros((n, n))
    grain = noise(n, rng, 4.0)
    stain = noise(n, rng, 160.0, 3)
    height = weave_height * weave * 0.5 + (0.012 if not repeat else 0.006) * grain
    value = shade * (1 + 0.10 * weave + 0.06 * grain + 0.10 * wear * stain)
    picture = np.clip(value, 0.05, 3)[..., None] * np.array(colour)
    scratch = _lines(n, rng, int(30 + 130 * wear), lambda r: r.uniform(40, 500), lambda r: r.normal(0, 0.25))
    scratch += _lines(n, rng, int(10 + 50 * wear), lambda r: r.uniform(20, 200), lambda r: r.uniform(0, np.pi))
    lighter = np.array(colour) * 0.5 + 0.10
    picture += np.clip(scratch, 0, 1)[..., None] * 0.6 * (lighter - picture)
    for tone, share in ((0.02, 0.45), (0.10, 0.25), (0.55, 0.3)):
        dirt = _specks(n, rng, int((60 + 500 * wear) * share), lambda c: rng.lognormal(0.3, 0.55, c))
        shade_of = np.array([tone, tone * rng.uniform(0.75, 1), tone * rng.uniform(0.5, 1)])
        picture += dirt[..., None] * rng.uniform(0.5, 0.9) * (shade_of - picture)
        height += dirt * 0.04
    smear = np.clip(noise(n, rng, 120.0, 2) - 1.1, 0, 1) * wear  # oil darkens
    picture *= 1 - 0.35 * smear[..., None]
    return Surface(np.clip(picture, 0.004, 0.9), rng.uniform(0.4, 0.7), height - 0.02 * scratch)


def finish(material: str, tint, rough: float, oil: float, dust: float, rng) -> Surface:
    """One part's metal: turning marks around the axis, tumbling grain, hairlines, oil, specks of dust."""
    n = FINISH_PX
    y, x = (np.mgrid[0:n, 0:n] + 0.5 - n / 2) * (FINISH_MM / n)
    off = rng.normal(0, 0.3, 2)
    radius = np.hypot(x - off[0], y - off[1])
    rings = np.interp(radius, np.linspace(0, 30, 400), np.convolve(rng.normal(size=404), np.ones(5) / 2.2, "valid"))
    grain, coarse, blotch = noise(n, rng, 3.5), noise(n, rng, 14.0), noise(n, rng, 110.0, 2)
    hair = _lines(n, rng, int(rng.integers(40, 160)), lambda r: r.uniform(8, 70), lambda r: r.uniform(0, 2 * np.pi))
    turned = rng.uniform(0, 1) ** 1.5
    height = 0.006 * turned * rings + 0.0016 * grain + 0.0045 * rng.uniform(0.1, 0.9) * coarse - 0.002 * hair
    value = 1 + 0.03 * grain + 0.05 * blotch + 0.05 * hair - 0.12 * oil * np.clip(blotch, 0, 2)
    colour = np.clip(value[..., None] * np.array(tint), 0.005, 0.98)
    if material == "zinc":  # the chromate film is bluish here, yellowish there
        colour *= 1 + 0.05 * noise(n, rng, 140.0)[..., None] * np.array([1, 0.2, -1])
    if material == "black_oxide":  # the brown cast of thin places
        colour *= 1 + 0.30 * np.clip(blotch, -1, 2)[..., None] * np.array([0.6, 0.25, 0])
    wet = np.clip(noise(n, rng, 120.0, 2) * 0.8 + 0.3, 0, 1) * oil
    roughness = np.clip(rough * (1 + 0.07 * coarse + 0.08 * blotch) * (1 - 0.35 * wet), 0.09, 0.8)
    specks = _specks(n, rng, int(rng.poisson(60 * dust)), lambda c: rng.lognormal(0.2, 0.4, c))
    colour += specks[..., None] * (np.array(DUST) - colour)
    return Surface(np.clip(colour, 0.005, 0.98), roughness + 0.8 * specks * (0.7 - roughness), height)
