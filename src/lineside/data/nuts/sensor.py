"""Radiance -> the RGB uint8 picture a colour camera would deliver.

Order as in a camera: lens (distortion, blur, vignette), exposure and white balance, photon and read noise, tone curve
with a soft shoulder, sRGB transfer (IEC 61966-2-1).
"""

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates, median_filter

from lineside.data.nuts.camera import FILM_PX, PICTURE_PX, Camera, film_grid


def calm(radiance: np.ndarray) -> np.ndarray:
    """Clip fireflies: a pixel over four times its neighbourhood's median is the path tracer's, not the scene's."""
    around = median_filter(radiance, size=(3, 3, 1), mode="nearest")
    return np.minimum(radiance, 4 * around + 0.05)


def tone(linear: np.ndarray, shoulder: float) -> np.ndarray:
    """Linear 0..inf to sRGB 0..255 (float): straight up to `shoulder`, then saturating towards 1."""
    over = np.maximum(linear - shoulder, 0)
    room = 1 - shoulder
    y = np.where(linear < shoulder, np.maximum(linear, 0), shoulder + room * (1 - np.exp(-over / room)))
    return 255 * np.where(y <= 0.0031308, 12.92 * y, 1.055 * np.maximum(y, 1e-9) ** (1 / 2.4) - 0.055)


def develop(radiance, camera: Camera, gain: float, sensor: dict, rng) -> np.ndarray:
    """Film radiance (FILM, FILM, 3) to the picture (PICTURE, PICTURE, 3) uint8. `gain`: white card to 1."""
    image = gaussian_filter(calm(radiance), (sensor["blur_px"], sensor["blur_px"], 0))
    at = film_grid(camera, 1) - 0.5
    image = np.stack([map_coordinates(image[..., c], [at[..., 1], at[..., 0]], order=1) for c in range(3)], -1)
    y, x = (np.mgrid[0:PICTURE_PX, 0:PICTURE_PX] + 0.5) / PICTURE_PX - 0.5
    image *= (1 - sensor["vignette"] * (x**2 + y**2) * 2)[..., None]
    image *= gain * sensor["exposure"] * np.array([sensor["red_gain"], 1.0, sensor["blue_gain"]])
    well = sensor["full_well_e"]
    spread = np.sqrt(np.maximum(image, 0) / well + (sensor["read_noise_e"] / well) ** 2)
    image += rng.normal(size=image.shape) * spread
    return np.clip(np.rint(tone(image, sensor["shoulder"])), 0, 255).astype(np.uint8)


def picture_masks(film_masks, camera: Camera) -> list[np.ndarray]:
    """Film-sized truths (FILM * k) through the lens: a pixel is in a mask when at least half of it is."""
    per_px = film_masks[0].shape[0] // FILM_PX
    at = np.floor(film_grid(camera, 2) * per_px).astype(int)
    seen = (mask[at[..., 1], at[..., 0]] for mask in film_masks)
    return [s.reshape(PICTURE_PX, 2, PICTURE_PX, 2).mean((1, 3)) >= 0.5 for s in seen]
