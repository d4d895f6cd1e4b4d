"""Six damages of known kind, place and size, done to the mesh of a nut as it lies.

chip           a scoop broken out of an edge, corner or rim; its floor is rough bare metal
scratch        one to three grooves with raised lips, cut through the plating
dent           a smooth pressed hollow with a low rim
burr           a ragged lip of metal standing up along an edge
rust_stain     red-brown corrosion in the surface (on brass: a stain carried over from steel); no change of shape
missing_thread the bore drilled but never tapped

Each takes the mesh, a `Spot` (where) and a severity in 0..1, and returns the damaged `Worn` part: which faces are
damaged (the truth's mask), how bare and how rusty each vertex is, and the size in mm as written in the JSON. Sizes
scale with the width across flats: 1 at M10 (16 mm), so a pixel of damage means the same at every size.
"""

from typing import NamedTuple

import numpy as np

from lineside.data.nuts.dimensions import dimensions_mm, widest_mm
from lineside.data.nuts.mesh import Mesh, face_normals, first_hit, refined, solid_noise

DAMAGES = ("chip", "scratch", "dent", "burr", "rust_stain", "missing_thread")
PLACES = {  # where each damage may sit; a place a nut lacks (a flange) is left out by places_of
    "chip": ("corner", "top_edge", "flange_rim"),
    "scratch": ("top_face", "flange_face"),
    "dent": ("top_face", "top_edge", "flange_face", "side_face"),
    "burr": ("top_edge", "bore_edge", "flange_rim"),
    "rust_stain": ("top_face", "top_edge", "side_face", "flange_face"),
    "missing_thread": ("bore",),
}


class Spot(NamedTuple):
    point: np.ndarray  # (3,) on the surface, mm, part coordinates as it lies
    normal: np.ndarray  # (3,) outward, unit; on an edge: between its two faces
    angle_rad: float  # about the nut's axis
    place: str


class Worn(NamedTuple):
    mesh: Mesh
    damaged: np.ndarray  # (F,) bool
    bare: np.ndarray  # (V,) 0..1
    rust: np.ndarray  # (V,) 0..1
    size_mm: dict[str, float]


def sound(mesh: Mesh) -> Worn:
    """A part with nothing wrong."""
    count = len(mesh.vertices)
    return Worn(mesh, np.zeros(len(mesh.faces), bool), np.zeros(count), np.zeros(count), {})


def places_of(damage: str, kind: str, flange_up: bool) -> tuple[str, ...]:
    """Places of this damage that this nut has and shows."""
    if kind != "flanged_hex_nut":
        return tuple(p for p in PLACES[damage] if not p.startswith("flange"))
    if flange_up:  # the hexagon is hidden below: its top edge is then the rim of the flange
        return tuple(p for p in PLACES[damage] if p in ("top_face", "bore_edge", "flange_rim", "bore"))
    return PLACES[damage]


def find_spot(mesh: Mesh, kind: str, size: str, flange_up: bool, place: str, angle_rad: float, along: float):
    """The surface point of a place at an angle about the axis, `along` (0..1) within the place; None if absent."""
    dims = dimensions_mm(kind, size)
    top, bore = mesh.vertices[:, 2].max(), dims["thread_diameter"] / 2
    out = np.array([np.cos(angle_rad), np.sin(angle_rad), 0.0])
    down = np.array([0, 0, -1.0])
    up = -down
    if place == "corner":
        turn = np.pi / 2 if kind == "square_nut" else np.pi / 3
        first = np.pi / 4 if kind == "square_nut" else 0.0
        angle_rad = first + turn * np.round((angle_rad - first) / turn)
        out = np.array([np.cos(angle_rad), np.sin(angle_rad), 0.0])
    if place in ("corner", "side_face"):
        # from outside towards the axis; low enough to meet the flank below the chamfer
        bottom = dims.get("flange_edge_thickness", 0.0) * 3
        height = bottom + (top - bottom) * (0.72 if place == "corner" else 0.35 + 0.4 * along)
        hit = first_hit(mesh, out * 60 + up * height, -out)
        if hit is None or hit[1][2] > 0.5:
            return None
        point, normal = hit
        if place == "corner":
            point, normal = point * (1, 1, 0) + up * top * 0.93, _unit(out + up)
        return Spot(point, normal, angle_rad, place)
    radii = np.arange(bore * 1.02, widest_mm(kind, size) / 2 + 0.05, 0.05)
    hits = [first_hit(mesh, out * r + up * 60, down) for r in radii]
    heights = np.array([h[0][2] if h else -1.0 for h in hits])
    flat = radii[heights > top - 1e-3]
    if place == "top_face":
        radius = flat[0] + (flat[-1] - flat[0]) * (0.3 + 0.5 * along)
        return Spot(out * radius + up * top, up, angle_rad, place)
    if place == "top_edge" and not flange_up:
        return Spot(out * flat[-1] + up * top, _unit(out * 0.8 + up), angle_rad, place)
    if place == "bore_edge":
        return Spot(out * bore + up * top, _unit(up - out * 0.5), angle_rad, place)
    on_flange = np.flatnonzero((heights > 0) & (heights < top * 0.45))
    if place == "flange_face" and len(on_flange) > 4:
        hit = hits[on_flange[int(len(on_flange) * (0.25 + 0.5 * along))]]
        assert hit is not None  # its height is known
        return Spot(hit[0], hit[1], angle_rad, place)
    if place == "flange_rim" and kind == "flanged_hex_nut":
        rim = np.flatnonzero(heights > 0)[-1]
        return Spot(out * radii[rim] + up * heights[rim], _unit(out + up), angle_rad, place)
    return None


def damaged(damage: str, mesh: Mesh, plain: Mesh, kind: str, size: str, spot, severity: float, rng) -> Worn:
    """The part with one damage. `plain` is the same nut without thread, lying the same way."""
    scale = dimensions_mm(kind, size)["across_flats"] / 16.0
    if damage == "missing_thread":
        return _untapped(plain, kind, size)
    if damage == "chip":
        return _chip(mesh, spot, scale * (1.1 + 1.5 * severity), rng)
    if damage == "dent":
        return _dent(mesh, spot, scale * (0.9 + 1.3 * severity), scale * (0.22 + 0.4 * severity), rng)
    if damage == "scratch":
        return _scratch(mesh, spot, scale * (3.0 + 5.0 * severity), scale * (0.13 + 0.12 * severity), severity, rng)
    if damage == "burr":
        return _burr(mesh, spot, scale * (2.2 + 3.5 * severity), scale * (0.30 + 0.5 * severity), scale * 0.32, rng)
    if damage == "rust_stain":
        return _rust(mesh, spot, scale * (0.9 + 2.2 * severity), rng)
    raise ValueError(f"damage {damage!r}: expected one of {', '.join(DAMAGES)}")


def _unit(v):
    return v / np.linalg.norm(v)


def _split(points, spot):
    """Offsets from the spot: along its normal (N,), and across it (N,)."""
    offset = points - spot.point
    along = offset @ spot.normal
    return along, np.linalg.norm(offset - along[:, None] * spot.normal, axis=1)


def _any_of(faces, vertex_flag):
    return vertex_flag[faces].sum(1) >= 2  # most of the face, so the mask does not creep one face outwards


def _chip(mesh, spot, radius, rng):
    depth = radius * rng.uniform(0.45, 0.6)
    mesh = refined(mesh, spot.point[None], radius * 1.6, max(radius / 14, 0.05))
    v = mesh.vertices.copy()
    along, across = _split(v, spot)
    rough = solid_noise(v, rng, radius * 0.55) * 0.10 * depth + solid_noise(v, rng, radius * 0.15) * 0.03 * depth
    # everything above a hollow paraboloid through the spot's surroundings is gone
    excess = along + depth * (1 - (across / radius) ** 2) + rough
    cut = (excess > 0) & (across < radius * 1.5) & (np.abs(along) < 2 * depth)
    v[cut] -= excess[cut, None] * spot.normal
    count = len(v)
    deep = cut & (excess > 0.04 * radius)
    size = {"width": round(2 * radius, 2), "depth": round(depth, 2)}
    return Worn(Mesh(v, mesh.faces), _any_of(mesh.faces, deep), np.where(cut, 1.0, 0.0), np.zeros(count), size)


def _dent(mesh, spot, radius, depth, rng):
    mesh = refined(mesh, spot.point[None], radius * 1.8, max(radius / 14, 0.05))
    v = mesh.vertices.copy()
    tangent = _unit(np.cross(spot.normal, rng.normal(size=3)))
    stretch = rng.uniform(1.0, 1.5)
    along, _ = _split(v, spot)
    offset = v - spot.point
    a = offset @ tangent / stretch
    b = offset @ np.cross(spot.normal, tangent)
    reach = np.hypot(a, b) / radius * (1 + 0.06 * solid_noise(v, rng, radius))
    near = np.abs(along) < radius * 1.2
    hollow = np.where(reach < 1, (1 - reach**2) ** 2, 0) - 0.16 * np.exp(-(((reach - 1.12) / 0.22) ** 2))
    sink = depth * hollow * near
    v -= sink[:, None] * spot.normal
    size = {"length": round(2 * radius * stretch, 2), "width": round(2 * radius, 2), "depth": round(depth, 2)}
    flag = near & (reach < 0.85)
    return Worn(Mesh(v, mesh.faces), _any_of(mesh.faces, flag), np.zeros(len(v)), np.zeros(len(v)), size)


def _strokes(mesh, spot, length, rng):
    """Paths on the surface: up to three nearly parallel strokes, each stopped where the surface ends. (N, 3) each."""
    tangent = _unit(np.cross(spot.normal, rng.normal(size=3)))
    beside = np.cross(spot.normal, tangent)
    strokes = []
    for k in range(rng.integers(1, 4)):
        start = spot.point + beside * (k * rng.uniform(0.5, 0.9)) + tangent * rng.uniform(-0.2, 0.2) * length * (k > 0)
        bend, turn = rng.normal(0, 0.12), rng.normal(0, 0.06)
        for sign in (1, -1):
            path = []
            for s in np.arange(0, length / 2, 0.08):
                reach = sign * s
                p = start + reach * (tangent + beside * (turn + bend * reach / length))
                hit = first_hit(mesh, p + spot.normal * 30, -spot.normal)
                if hit is None or abs((hit[0] - spot.point) @ spot.normal) > 0.35:
                    break
                path.append(hit[0])
            strokes.append(np.array(path).reshape(-1, 3))
    return [s for s in strokes if len(s) > 2]


def _scratch(mesh, spot, length, half_width, severity, rng):
    strokes = _strokes(mesh, spot, length, rng)
    if not strokes:
        return sound(mesh)
    path = np.concatenate(strokes)
    depth = half_width * (0.35 + 0.25 * severity)
    mesh = refined(mesh, path[::2], half_width * 2.4, half_width / 2.2)
    v = mesh.vertices.copy()
    near = np.linalg.norm(v[:, None] - path[None, ::8], axis=2).min(1) < 1.0  # mm; the rest can't be in the groove
    distance = np.full(len(v), np.inf)
    distance[near] = np.linalg.norm(v[near][:, None] - path[None], axis=2).min(1)
    t = distance / (half_width * (1 + 0.15 * solid_noise(v, rng, 0.8)))
    groove = np.where(t < 1, 1 - t**2, 0) - 0.45 * np.exp(-(((t - 1.35) / 0.3) ** 2))
    v -= (depth * groove)[:, None] * spot.normal
    bare = np.clip(1.25 - t, 0, 1) * (0.75 + 0.25 * np.tanh(solid_noise(v, rng, 1.0) + 1))
    total = sum(np.linalg.norm(np.diff(s, axis=0), axis=1).sum() for s in strokes)
    size = {"length": round(float(total), 2), "width": round(2 * half_width, 2), "depth": round(depth, 3)}
    return Worn(Mesh(v, mesh.faces), _any_of(mesh.faces, t < 1.2), bare, np.zeros(len(v)), size)


def _burr(mesh, spot, length, height, width, rng):
    radius = np.hypot(*spot.point[:2])
    half = length / 2 / radius
    angles = spot.angle_rad + np.linspace(-half, half, max(int(length / 0.15), 4))
    if spot.place == "top_edge":  # the chamfer's circle is cut off at flats on some sizes: follow the flat top's end
        hits = [_flat_end(mesh, a, spot) for a in angles]
    else:
        hits = [np.array([radius * np.cos(a), radius * np.sin(a), spot.point[2]]) for a in angles]
    path = np.array(hits)
    mesh = refined(mesh, path, width * 1.5, max(width / 5, 0.04))
    v = mesh.vertices.copy()
    towards = np.linalg.norm(v[:, None] - path[None], axis=2)
    nearest, distance = towards.argmin(1), towards.min(1)
    s = nearest / (len(path) - 1)
    ragged = np.clip(0.55 + 0.45 * solid_noise(path, rng, length / 4) + 0.25 * solid_noise(path, rng, 0.4), 0.1, 1.3)
    taper = np.sin(np.pi * np.clip(s, 0, 1)) ** 0.4
    out = v * (1, 1, 0)
    out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)
    lean = out * (-0.9 if spot.place == "bore_edge" else 0.8) + (0, 0, 0.8)
    lift = height * ragged[nearest] * taper * np.clip(1 - (distance / width) ** 2, 0, 1)
    v += lift[:, None] * lean + (lift * 0.15)[:, None] * np.stack([solid_noise(v, rng, 0.4) for _ in range(3)], 1)
    bare = np.clip(lift / height * 1.2, 0, 1)
    size = {"length": round(length, 2), "height": round(float(height * ragged.max()), 2), "width": round(2 * width, 2)}
    return Worn(Mesh(v, mesh.faces), _any_of(mesh.faces, lift > 0.12 * height), bare, np.zeros(len(v)), size)


def _flat_end(mesh, angle, spot):
    out = np.array([np.cos(angle), np.sin(angle), 0.0])
    radius = np.hypot(*spot.point[:2])
    for r in np.arange(radius + 1.0, radius - 1.5, -0.05):
        hit = first_hit(mesh, out * r + np.array([0, 0, 60.0]), np.array([0, 0, -1.0]))
        if hit is not None and hit[0][2] > spot.point[2] - 1e-3:
            return hit[0]
    return out * radius + np.array([0, 0, spot.point[2]])


def _rust(mesh, spot, radius, rng):
    mesh = refined(mesh, spot.point[None], radius * 1.7, max(radius / 16, 0.09))
    v = mesh.vertices
    distance = np.linalg.norm(v - spot.point, axis=1) / radius
    field = 1.15 - distance + 0.38 * solid_noise(v, rng, radius * 1.1) + 0.16 * solid_noise(v, rng, radius * 0.35)
    rust = np.clip(field / 0.35, 0, 1) * np.clip((1.7 - distance) / 0.2, 0, 1)
    size = {"diameter": round(2 * radius, 2)}
    return Worn(mesh, _any_of(mesh.faces, rust > 0.3), np.zeros(len(v)), rust, size)


def _untapped(plain, kind, size):
    dims = dimensions_mm(kind, size)
    worn = sound(plain)
    radius = np.hypot(*plain.vertices[:, :2].T)
    wall = (radius[plain.faces] < dims["thread_minor_diameter"] / 2 + 0.01).all(1)
    wall &= np.abs(face_normals(plain)[:, 2]) < 0.5
    return worn._replace(damaged=wall, size_mm={"length": dims["height"], "diameter": dims["thread_minor_diameter"]})
