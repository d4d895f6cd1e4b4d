"""The camera's calibration: millimetres on the belt <-> pixels of the picture.

World: right-handed, mm; the belt is z = 0, z up, the origin is the nominal middle of the view. Camera: x right, y down,
z into the scene (OpenCV's axes): X_camera = R X_world + t. Pixels: (0, 0) is the outer corner of the first pixel, so
its centre is (0.5, 0.5); OpenCV's own convention puts it at (0, 0): subtract 0.5 from cx, cy for it.
Lens: the radial part of Brown 1971: x_d = x (1 + k1 r^2 + k2 r^4), x = X/Z.

The film is what the path tracer renders: the same camera without distortion, with FILM_MARGIN_PX more on each side.
"""

from typing import NamedTuple

import numpy as np

PICTURE_PX = 176
FILM_MARGIN_PX = 5
FILM_PX = PICTURE_PX + 2 * FILM_MARGIN_PX


class Camera(NamedTuple):
    f_px: float
    cx: float
    cy: float
    k1: float
    k2: float
    rotation: np.ndarray  # (3, 3)
    translation_mm: np.ndarray  # (3,)


def looking_down(distance_mm, view_mm, tilt_deg, azimuth_deg, roll_deg, cx, cy, k1, k2) -> Camera:
    """A camera over the belt's origin, `view_mm` of belt across the picture, tilted off the vertical to `azimuth`."""
    tilt, azimuth, roll = np.radians([tilt_deg, azimuth_deg, roll_deg])
    back = np.array([np.sin(tilt) * np.cos(azimuth), np.sin(tilt) * np.sin(azimuth), np.cos(tilt)])
    up = np.array([-np.sin(roll), np.cos(roll), 0.0])
    down = -(up - (up @ back) * back)
    down /= np.linalg.norm(down)
    rotation = np.stack([np.cross(down, -back), down, -back])
    return Camera(PICTURE_PX * distance_mm / view_mm, cx, cy, k1, k2, rotation, -rotation @ (back * distance_mm))


def position_mm(camera: Camera) -> np.ndarray:
    """Where the camera stands, world mm."""
    return -camera.rotation.T @ camera.translation_mm


def to_pixels(camera: Camera, points_mm) -> np.ndarray:
    """World points (N, 3) to picture pixels (N, 2)."""
    seen = np.asarray(points_mm) @ camera.rotation.T + camera.translation_mm
    xy = seen[:, :2] / seen[:, 2:]
    r2 = (xy**2).sum(1, keepdims=True)
    return xy * (1 + camera.k1 * r2 + camera.k2 * r2**2) * camera.f_px + (camera.cx, camera.cy)


def film_grid(camera: Camera, per_pixel: int) -> np.ndarray:
    """For `per_pixel` x `per_pixel` places in each picture pixel: where they lie on the film, film pixels (H, W, 2)."""
    at = (np.arange(PICTURE_PX * per_pixel) + 0.5) / per_pixel
    x, y = np.meshgrid((at - camera.cx) / camera.f_px, (at - camera.cy) / camera.f_px)
    distorted = np.stack([x, y], -1)
    xy = distorted
    for _ in range(10):  # fixed point: converges by |k1| r^2 < 0.02 a round
        r2 = (xy**2).sum(-1, keepdims=True)
        xy = distorted / (1 + camera.k1 * r2 + camera.k2 * r2**2)
    return xy * camera.f_px + FILM_PX / 2


def mm_per_px(camera: Camera, height_mm: float) -> float:
    """Millimetres a pixel spans at a plane `height_mm` above the belt, across the view, over the belt's origin."""
    depth = camera.rotation[2, 2] * height_mm + camera.translation_mm[2]
    return float(depth / camera.f_px)
