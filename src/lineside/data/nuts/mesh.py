"""A triangle mesh as two arrays: weld it, refine it near a place, cast rays at it, give it noise.

Millimetres throughout. Faces wind counter-clockwise seen from outside. Refinement splits edges, never faces alone, so
neighbours stay joined: after it a dent can be pressed by moving vertices only.
"""

from typing import NamedTuple

import numpy as np


class Mesh(NamedTuple):
    vertices: np.ndarray  # (V, 3) float64, mm
    faces: np.ndarray  # (F, 3) int64


def weld(vertices, faces, grid_mm=1e-4) -> Mesh:
    """Join vertices closer than the grid and drop faces that collapse: CAD tessellates each surface by itself."""
    cells = np.round(vertices / grid_mm).astype(np.int64)
    _, first, joined = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    faces = joined.reshape(-1)[faces]
    sound = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return Mesh(np.asarray(vertices)[first], faces[sound])


def face_normals(mesh: Mesh) -> np.ndarray:
    """Unit normals, (F, 3)."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)


def turned_over(mesh: Mesh) -> Mesh:
    """The part lying on its other face: half a turn about x, then back up onto z = 0."""
    vertices = mesh.vertices * (1, -1, -1)
    vertices[:, 2] -= vertices[:, 2].min()
    return Mesh(vertices, mesh.faces)


def refined(mesh: Mesh, centres: np.ndarray, radius_mm: float, edge_mm: float) -> Mesh:
    """Split every edge longer than `edge_mm` that comes within `radius_mm` of one of the `centres` (K, 3)."""
    vertices, faces = mesh
    for _ in range(14):  # an edge halves each round: 14 rounds take 20 mm below 2 um
        ends = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1)  # (F, 3 edges, 2): edge k joins corners k, k + 1
        ends = np.sort(ends.reshape(-1, 2), axis=1)
        key, which = np.unique(ends[:, 0] * len(vertices) + ends[:, 1], return_inverse=True)
        edges, which = np.stack([key // len(vertices), key % len(vertices)], axis=1), which.reshape(-1, 3)
        start, along = vertices[edges[:, 0]], vertices[edges[:, 1]] - vertices[edges[:, 0]]
        length = np.linalg.norm(along, axis=1)
        split = np.flatnonzero(length > edge_mm)
        near = _segment_distance(start[split], along[split], centres) < radius_mm
        split = split[near]
        if not len(split):
            break
        middle = np.full(len(edges), -1)
        middle[split] = len(vertices) + np.arange(len(split))
        vertices = np.concatenate([vertices, start[split] + along[split] / 2])
        faces = _split_faces(faces, middle[which])
    return Mesh(vertices, faces)


def _segment_distance(start, along, centres):
    best = np.full(len(start), np.inf)
    squared = np.maximum((along**2).sum(1), 1e-18)
    for centre in centres:
        t = np.clip(((centre - start) * along).sum(1) / squared, 0, 1)
        best = np.minimum(best, np.linalg.norm(start + along * t[:, None] - centre, axis=1))
    return best


def _split_faces(faces, middle):
    """`middle` (F, 3): the new vertex on each edge, or -1. One, two or three split edges give 2, 3 or 4 faces."""
    cut = middle >= 0
    count = cut.sum(1)
    out = [faces[count == 0]]
    for turn in range(3):  # rotate so that the pattern starts at edge 0
        f, m, c = np.roll(faces, -turn, axis=1), np.roll(middle, -turn, axis=1), np.roll(cut, -turn, axis=1)
        one = (count == 1) & c[:, 0]
        a, b, d, p = f[one, 0], f[one, 1], f[one, 2], m[one, 0]
        out += [np.stack([a, p, d], 1), np.stack([p, b, d], 1)]
        two = (count == 2) & c[:, 0] & c[:, 1]
        a, b, d, p, q = f[two, 0], f[two, 1], f[two, 2], m[two, 0], m[two, 1]
        out += [np.stack([p, b, q], 1), np.stack([a, p, q], 1), np.stack([a, q, d], 1)]
    three = count == 3
    (a, b, d), (p, q, r) = faces[three].T, middle[three].T
    out += [np.stack([a, p, r], 1), np.stack([p, b, q], 1), np.stack([r, q, d], 1), np.stack([p, q, r], 1)]
    return np.concatenate(out)


def first_hit(mesh: Mesh, origin, direction) -> tuple[np.ndarray, np.ndarray] | None:
    """Nearest point on the mesh along a ray and its normal, or None (Moeller and Trumbore 1997)."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    ab, ac = b - a, c - a
    p = np.cross(direction, ac)
    det = (ab * p).sum(1)
    ok = np.abs(det) > 1e-12
    inverse = np.where(ok, 1 / np.where(ok, det, 1), 0)
    s = origin - a
    u = (s * p).sum(1) * inverse
    q = np.cross(s, ab)
    v = (q * direction).sum(1) * inverse
    t = (q * ac).sum(1) * inverse
    ok &= (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & (t > 1e-9)
    if not ok.any():
        return None
    hit = np.flatnonzero(ok)[np.argmin(t[ok])]
    normal = np.cross(ab[hit], ac[hit])
    return np.asarray(origin) + t[hit] * np.asarray(direction), normal / np.linalg.norm(normal)


def solid_noise(points, rng, wavelength_mm, waves=40) -> np.ndarray:
    """Smooth noise in space, about N(0, 1): plane waves of random direction, octaves around `wavelength_mm`."""
    direction = rng.normal(size=(waves, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    octave = 2.0 ** rng.uniform(-1.5, 1.0, waves)
    phase = rng.uniform(0, 2 * np.pi, waves)
    wave = direction * (2 * np.pi / wavelength_mm * octave)[:, None]
    return np.cos(points @ wave.T + phase).sum(1) * np.sqrt(2 / waves)
