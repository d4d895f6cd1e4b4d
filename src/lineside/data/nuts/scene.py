"""One part as a Mitsuba 3 scene: path-traced radiance, and exact truth from the same geometry.

Lights are real soft boxes near the part (rectangles) in a dim room (an environment map), so that metal has something
to reflect. The variant is scalar_rgb with a box filter: the same pixels for the same seed, whatever the threads.
"""

from typing import NamedTuple

import drjit
import mitsuba as mi
import numpy as np

from lineside.data.nuts.camera import FILM_PX, Camera, position_mm
from lineside.data.nuts.damage import Worn
from lineside.data.nuts.mesh import face_normals
from lineside.data.nuts.textures import BELT_MM, FINISH_MM, Surface, noise

TRUTH_PER_PX = 2  # rays per film pixel and side for masks: edges are right to a quarter of a pixel
BARE = {"zinc": (0.60, 0.58, 0.56), "brass": (0.85, 0.63, 0.30), "black_oxide": (0.60, 0.58, 0.56)}


class Truth(NamedTuple):
    nut: np.ndarray  # (FILM * TRUTH_PER_PX,) * 2 bool
    damage: np.ndarray  # the same
    seen_mm: np.ndarray  # (.., .., 3) what the ray met, world


def start(threads: int) -> None:
    """Choose the variant and the threads of this process: call once, before anything else here."""
    mi.set_variant("scalar_rgb")
    drjit.set_thread_count(threads)


def _bitmap(array, raw=True):
    array = np.ascontiguousarray(np.atleast_3d(array), dtype=np.float32)
    return {"type": "bitmap", "bitmap": mi.Bitmap(array), "raw": raw, "wrap_mode": "repeat"}


def _metal(tint, roughness, material):
    """`roughness` is the perceived one (its square is GGX's alpha): a number, or (N, N)."""
    alpha = _bitmap(roughness**2) if isinstance(roughness, np.ndarray) else roughness**2
    if material == "black_oxide":  # a thin dark oxide, kept oily: dielectric over something dark
        alpha = float(np.mean(roughness) ** 2)
        oxide = {"type": "roughplastic", "distribution": "ggx", "alpha": alpha, "int_ior": 1.9}
        return oxide | {"diffuse_reflectance": tint}
    metal = {"type": "roughconductor", "distribution": "ggx", "material": "none", "alpha": alpha}
    return metal | {"specular_reflectance": tint}


def _ordered(children):
    """Build each child by itself: within one load_dict they load in parallel and land in any order, so the emitters'
    order, and with it every random choice among them, would change from run to run."""
    return {name: mi.load_dict(child) if isinstance(child, dict) else child for name, child in children.items()}


def _blend(weight, a, b):
    return {"type": "blendbsdf", "weight": weight} | _ordered({"a": a, "b": b})


def _nut_bsdf(worn: Worn, surface: Surface, material):
    metal = _metal(_bitmap(surface.colour), surface.roughness, material)
    metal = {"type": "bumpmap", "texture": _bitmap(surface.height_mm), "scale": 1.0, "bsdf": metal}
    if worn.bare.any():  # a blend evaluates both its sides: leave out what weighs nothing
        bare = _metal({"type": "rgb", "value": BARE[material]}, 0.24, "bare")
        metal = _blend({"type": "mesh_attribute", "name": "vertex_bare"}, metal, bare)
    if worn.rust.any():
        rust = {"type": "diffuse", "reflectance": {"type": "mesh_attribute", "name": "vertex_rust_colour"}}
        metal = _blend({"type": "mesh_attribute", "name": "vertex_rust"}, metal, rust)
    return {"type": "twosided", "bsdf": metal}  # a torn burr shows its back


def _rust_colour(worn, rng):
    """Dark brown where it is deep, orange at its rim. (V, 3) linear RGB."""
    deep = np.clip(0.5 + 0.1 * rng.normal() + 0.5 * (worn.rust - 0.5), 0, 1)[:, None]
    grain = 1 + 0.25 * rng.normal(size=(len(worn.rust), 1))
    colour = deep * np.array([0.10, 0.035, 0.014]) + (1 - deep) * np.array([0.30, 0.11, 0.03])
    return np.clip(colour * grain, 0.01, 0.6)


def nut_shape(worn: Worn, rotation_deg, x_mm, y_mm, surface: Surface, material, seed):
    """The part as a Mitsuba mesh, turned and placed on the belt. Corners are not shared: facets stay flat."""
    mesh = worn.mesh
    local = mesh.vertices[mesh.faces]  # (F, 3, 3)
    normal = np.abs(face_normals(mesh))
    middle = local.mean(1)
    uv = local[..., :2] / FINISH_MM  # top and bottom: as seen from above
    flank = normal[:, 2] < 0.5
    sideways = np.where((normal[:, 0] > normal[:, 1])[:, None], local[..., 1], local[..., 0])
    lifted = np.stack([sideways + middle[:, :1] * 0.5, local[..., 2] + 3.0], -1) / FINISH_MM
    uv = np.where(flank[:, None, None], lifted, uv) + 0.5
    c, s = np.cos(np.radians(rotation_deg)), np.sin(np.radians(rotation_deg))
    world = local @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + (x_mm, y_mm, 0)
    props = mi.Properties()
    props["bsdf"] = mi.load_dict(_nut_bsdf(worn, surface, material))
    props["face_normals"] = True
    count = len(mesh.faces)
    shape = mi.Mesh("nut", 3 * count, count, props=props, has_vertex_texcoords=True)
    params = mi.traverse(shape)
    params["vertex_positions"] = world.reshape(-1).astype(np.float32)
    params["vertex_texcoords"] = uv.reshape(-1).astype(np.float32)
    params["faces"] = np.arange(3 * count, dtype=np.uint32)
    params.update()
    flat = mesh.faces.reshape(-1)
    rust_colour = _rust_colour(worn, np.random.default_rng(seed))
    shape.add_attribute("vertex_bare", 1, worn.bare[flat].astype(np.float32))
    shape.add_attribute("vertex_rust", 1, 0.97 * worn.rust[flat].astype(np.float32))
    shape.add_attribute("vertex_rust_colour", 3, rust_colour[flat].reshape(-1).astype(np.float32))
    return shape


def belt_shape(surface: Surface, turn_deg, shift):
    """The belt: a plane of 8 textures' width, turned and shifted under the camera."""
    half = 4 * BELT_MM
    to_world = mi.ScalarTransform4f().rotate([0, 0, 1], float(turn_deg)).scale([half, half, 1])
    to_uv = mi.ScalarTransform3f().translate([float(shift[0]), float(shift[1])]).scale([8, 8])
    to_uv = {"to_uv": to_uv}
    bsdf = {"type": "roughplastic", "distribution": "ggx", "alpha": surface.roughness**2, "int_ior": 1.4}
    bsdf |= {"diffuse_reflectance": _bitmap(surface.colour) | to_uv}
    bsdf = {"type": "bumpmap", "texture": _bitmap(surface.height_mm) | to_uv, "scale": 1.0, "bsdf": bsdf}
    return {"type": "rectangle", "to_world": to_world, "bsdf": bsdf}


def card_shape():
    """A white card on the belt, to set the exposure of a lot: reflects 0.9 evenly."""
    bsdf = {"type": "diffuse", "reflectance": {"type": "rgb", "value": 0.9}}
    return {"type": "rectangle", "to_world": mi.ScalarTransform4f().scale([200, 200, 1]), "bsdf": bsdf}


def _box(azimuth_deg, elevation_deg, away_mm, width_mm, height_mm, radiance):
    a, e = np.radians([azimuth_deg, elevation_deg])
    at = away_mm * np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    look = mi.ScalarTransform4f().look_at(origin=list(at), target=[0, 0, 2], up=[0, 0.01, 1])
    return {
        "type": "rectangle",
        "to_world": look @ mi.ScalarTransform4f().scale([width_mm / 2, height_mm / 2, 1]),
        "emitter": {"type": "area", "radiance": {"type": "rgb", "value": list(radiance)}},
    }


def lights(rig: dict, reach_mm: float) -> dict:
    """The rig's emitters. `reach_mm`: the camera's distance; boxes scale with it, so a rig looks alike at all sizes."""
    rng = np.random.default_rng(rig["room_seed"])
    warm = np.array([1 + rig["warmth"], 1.0, 1 - rig["warmth"]])
    azimuth, elevation, size = rig["azimuth_deg"], rig["elevation_deg"], rig["size"]
    d, found = reach_mm, {}
    if rig["name"] == "two_bars":
        for k, (turn, power) in enumerate(((0, 1.0), (180 + rng.uniform(-30, 30), rng.uniform(0.35, 1.0)))):
            found[f"bar{k}"] = _box(azimuth + turn, elevation, d, 1.1 * d * size, 0.28 * d, 11 * power * warm)
    elif rig["name"] == "ring":
        for k in range(10):
            found[f"led{k}"] = _box(azimuth + 36 * k, 58, 0.9 * d, 0.26 * d, 0.16 * d * size, 9 * warm)
    elif rig["name"] == "softbox":
        found["key"] = _box(azimuth, elevation + 8, d, 0.75 * d * size, 0.75 * d, 8 * warm)
        found["kicker"] = _box(azimuth + 130, 25, 1.1 * d, 0.5 * d, 0.2 * d, 5 * warm[::-1])
    elif rig["name"] == "dome":
        for k in range(4):
            found[f"panel{k}"] = _box(azimuth + 90 * k, 42, 0.9 * d, 0.9 * d * size, 0.5 * d, (2.2, 3.4)[k % 2] * warm)
    elif rig["name"] == "window":
        for k in range(3):  # three panes side by side
            found[f"pane{k}"] = _box(azimuth + 24 * (k - 1), elevation, 1.2 * d, 0.36 * d, 0.8 * d * size, 9 * warm)
    found["room"] = {"type": "envmap", "bitmap": mi.Bitmap(_room(rng, rig["fill_light"])), "to_world": _z_up()}
    return found


def _z_up():
    return mi.ScalarTransform4f().rotate([1, 0, 0], 90)


def _room(rng, level):
    """A dim hall: lighter above, some lamps and machines at random. (64, 128, 3), latitude from the zenith down."""
    polar = np.linspace(0, np.pi, 64)[:, None]
    base = level * (0.35 + 0.9 * np.clip(np.cos(polar), 0, 1)) * np.ones((64, 128))
    blobs = noise(128, rng, 22.0, 2)[:64]
    base = base * np.exp(0.6 * blobs)
    for _ in range(rng.integers(2, 6)):
        row, column = rng.integers(4, 26), rng.integers(0, 120)
        base[row : row + rng.integers(2, 5), column : column + rng.integers(4, 9)] += rng.uniform(1, 5) * level * 3
    base[np.linspace(0, np.pi, 64) < 0.2] *= 0.25  # the camera and its mount hide the zenith
    tone = 1 + 0.08 * rng.normal(size=3)
    return np.ascontiguousarray(base[..., None] * tone, dtype=np.float32)


def _sensor(camera: Camera, per_px: int, spp: int, window=None):
    at = position_mm(camera)
    ahead, up = camera.rotation[2], -camera.rotation[1]
    film_px = FILM_PX * per_px
    film = {"type": "hdrfilm", "width": film_px, "height": film_px, "rfilter": {"type": "box"}, "pixel_format": "rgb"}
    film |= {"component_format": "float32"}
    if window is not None:
        x0, y0, x1, y1 = (int(w) for w in window)
        film |= {"crop_offset_x": x0, "crop_offset_y": y0, "crop_width": x1 - x0, "crop_height": y1 - y0}
    return mi.load_dict({
        "type": "perspective",
        "fov": float(np.degrees(2 * np.arctan(FILM_PX / 2 / camera.f_px))),
        "fov_axis": "x",
        "near_clip": 1.0,
        "far_clip": 5000.0,
        "to_world": mi.ScalarTransform4f().look_at(origin=list(at), target=list(at + ahead), up=list(up)),
        "film": film,
        "sampler": {"type": "multijitter", "sample_count": spp},  # at 16 samples as quiet as twice that at random
    })  # fmt: skip


def radiance(shapes: dict, emitters: dict, camera: Camera, spp: int, seed: int, window=None) -> np.ndarray:
    """Path-traced linear RGB, (H, W, 3) of the film or of its window xyxy."""
    paths = {"type": "path", "max_depth": 6}
    scene = mi.load_dict({"type": "scene", "integrator": paths} | _ordered(shapes | emitters))
    return np.array(mi.render(scene, sensor=_sensor(camera, 1, spp, window), spp=spp, seed=seed))


def truth(nut, damaged_faces, belt, camera: Camera) -> Truth:
    """Which film places see the nut, and which see damaged faces of it."""
    aovs = {"type": "aov", "aovs": "shape:shape_index,face:prim_index,at:position"}
    scene = mi.load_dict({"type": "scene", "integrator": aovs} | _ordered({"nut": nut, "belt": belt}))
    layers = np.array(mi.render(scene, sensor=_sensor(camera, TRUTH_PER_PX, 1), spp=1, seed=0))
    index, face, at = layers[..., 0], layers[..., 1], layers[..., 2:5]
    nut_index = [s.id() for s in scene.shapes()].index("nut") + 1  # 0: nothing hit
    is_nut = np.rint(index).astype(int) == nut_index
    hurt = np.zeros(is_nut.shape, bool)
    hurt[is_nut] = damaged_faces[np.rint(face[is_nut]).astype(int)]
    return Truth(is_nut, hurt, at)
