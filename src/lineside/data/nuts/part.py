"""One part: its plan rendered to a picture and the truth about it.

A draft is used when the whole nut is in the picture and, on a damaged part, the damage shows: it covers at least
SHOWN_PX pixels and changes them by SHOWN_GREY grey levels against the same part undamaged in the same light. Else the
next draft of the plan is tried.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter

from lineside.data.nuts import scene
from lineside.data.nuts.camera import FILM_MARGIN_PX, FILM_PX, PICTURE_PX, Camera, looking_down, mm_per_px
from lineside.data.nuts.coco import box_xywh, encode_mask
from lineside.data.nuts.damage import Spot, damaged, find_spot, sound
from lineside.data.nuts.dimensions import dimensions_mm
from lineside.data.nuts.geometry import nut_mesh
from lineside.data.nuts.mesh import turned_over
from lineside.data.nuts.plan import CLASSES, Lot, Part, Slot, lot_plan, part_plan
from lineside.data.nuts.sensor import calm, develop, picture_masks, tone
from lineside.data.nuts.textures import belt, finish

DRAFTS = 40  # before a part is given up
SHOWN_PX = 25
SHOWN_GREY = 8.0  # of 255, mean over the damage
EDGE_PX = 2  # between the nut and the picture's edge
CHECK_SPP = 16


def rendered(seed: int, slot: Slot, meshes: Path, spp: int) -> tuple[np.ndarray, dict, dict]:
    """Picture (H, W, 3) uint8, its camera and its annotation as the JSON has them. `meshes`: folder of CAD meshes."""
    lot = lot_plan(seed, slot.lot)
    for draft in range(DRAFTS):
        found = _draft(seed, part_plan(seed, slot, lot, draft), lot, meshes, spp)
        if found is not None:
            return found
    raise RuntimeError(f"part {slot.number} of seed {seed}: its {slot.damage} did not show in {DRAFTS} drafts")


@lru_cache(maxsize=64)
def _meshes(kind, size, turned, folder: Path):
    both = [nut_mesh(kind, size, threaded, folder) for threaded in (True, False)]
    return [turned_over(m) for m in both] if turned else both


@lru_cache(maxsize=4)
def _belt(style, shade, wear, seed):
    return belt(style, shade, wear, np.random.default_rng(seed))


@lru_cache(maxsize=64)
def _gain(seed, lot_index):
    """Exposure of a lot: a white card under its lights, seen from a nominal camera, becomes 0.9."""
    lot, view_mm = lot_plan(seed, lot_index), 33.0
    reach_mm = view_mm * lot.camera["distance_per_view"]
    camera = looking_down(reach_mm, view_mm, 8, 0, 0, PICTURE_PX / 2, PICTURE_PX / 2, 0, 0)
    window = (FILM_PX // 2 - 16, FILM_PX // 2 - 16, FILM_PX // 2 + 16, FILM_PX // 2 + 16)
    card = scene.radiance({"card": scene.card_shape()}, scene.lights(lot.rig, reach_mm), camera, 64, 1, window)
    return 0.9 / float(np.median(card[..., 1]))


def _worn(part: Part, threaded, plain):
    """The part with its damage, and where that is; None where this nut has no such place."""
    kind, size, hurt = part.slot.kind, part.slot.size, part.damage
    axis = Spot(np.array([0, 0, threaded.vertices[:, 2].max() / 2]), np.array([0, 0, 1.0]), 0.0, "bore")
    if hurt is None:
        return sound(threaded), axis
    spot, flange_up = axis, kind == "flanged_hex_nut" and part.turned_over
    if hurt["place"] != "bore":
        angle_rad = np.radians(hurt["angle_deg"])
        spot = find_spot(threaded, kind, size, flange_up, hurt["place"], angle_rad, hurt["along"])
    if spot is None:
        return None
    rng = np.random.default_rng(hurt["seed"])
    worn = damaged(hurt["kind"], threaded, plain, kind, size, spot, hurt["severity"], rng)
    return (worn, spot) if worn.damaged.any() else None


def _draft(seed, part: Part, lot: Lot, meshes, spp):
    """(picture, camera, annotation), or None where the damage or the whole nut does not show."""
    slot, own = part.slot, part.finish
    threaded, plain = _meshes(slot.kind, slot.size, part.turned_over, meshes)
    found = _worn(part, threaded, plain)
    if found is None:
        return None
    worn, spot = found
    camera = looking_down(**part.camera)
    metal = lot.materials[slot.material]
    surface_rng = np.random.default_rng(own["seed"])
    surface = finish(slot.material, metal["tint"], metal["rough"], own["oil"], own["dust"], surface_rng)
    place = (part.rotation_deg, part.x_mm, part.y_mm, surface, slot.material, own["seed"])
    nut = scene.nut_shape(worn, *place)
    painted = _belt(*(lot.belt[k] for k in ("style", "shade", "wear", "seed")))
    ground = scene.belt_shape(painted, lot.belt["turn_deg"], part.belt_shift)
    seen = scene.truth(nut, worn.damaged, ground, camera)
    mask, hurt_mask = picture_masks((seen.nut, seen.damage), camera)
    x, y, width, height = box_xywh(mask)
    if min(x, y, PICTURE_PX - x - width, PICTURE_PX - y - height) < EDGE_PX:
        return None
    emitters = scene.lights(lot.rig, part.camera["distance_mm"])
    gain = _gain(seed, slot.lot)
    damage = None
    if part.damage is not None:
        if hurt_mask.sum() < SHOWN_PX:
            return None
        pair = (nut, scene.nut_shape(sound(threaded), *place))
        exposure, shoulder = gain * lot.sensor["exposure"], lot.sensor["shoulder"]
        change = _change(pair, ground, emitters, camera, hurt_mask, exposure, shoulder, part.render_seed)
        if change < SHOWN_GREY:
            return None
        damage = _damage(part, worn, spot, hurt_mask, change)
    light = scene.radiance({"nut": nut, "belt": ground}, emitters, camera, spp, part.render_seed)
    picture = develop(light, camera, gain, lot.sensor, np.random.default_rng(part.render_seed))
    return picture, _calibration(camera, dimensions_mm(slot.kind, slot.size)["height"]), _annotation(part, mask, damage)


def _change(pair, ground, emitters, camera: Camera, hurt_mask, exposure, shoulder, seed):
    """Mean change of grey level the damage makes where it shows: the damaged and the sound part in the same light."""
    around = np.pad(binary_dilation(hurt_mask, iterations=2), FILM_MARGIN_PX)
    x, y, width, height = box_xywh(around)
    grey = []
    for nut in pair:
        window = (x, y, x + width, y + height)
        light = calm(scene.radiance({"nut": nut, "belt": ground}, emitters, camera, CHECK_SPP, seed, window))
        grey.append(gaussian_filter(tone(light * exposure, shoulder).mean(-1), 0.7))  # px: quieter than a pixel is
    inside = np.pad(hurt_mask, FILM_MARGIN_PX)[y : y + height, x : x + width]
    return float(np.abs(grey[0] - grey[1])[inside].mean())


def _damage(part, worn, spot, mask, change):
    hurt, turn = part.damage, np.radians(part.rotation_deg)
    x, y, z = spot.point
    on_belt = (x * np.cos(turn) - y * np.sin(turn) + part.x_mm, x * np.sin(turn) + y * np.cos(turn) + part.y_mm, z)
    return {
        "kind": hurt["kind"],
        "place": hurt["place"],
        "point_mm": [round(float(c), 3) for c in on_belt],
        "severity": round(hurt["severity"], 3),
        "size_mm": worn.size_mm,
        "segmentation": encode_mask(mask),
        "bbox": box_xywh(mask),
        "visible_px": int(mask.sum()),
        "grey_change": round(change, 1),
    }


def _annotation(part, mask, damage):
    slot = part.slot
    up = ("hexagon", "flange") if slot.kind == "flanged_hex_nut" else ("first", "second")
    return {
        "id": slot.id,
        "image_id": slot.id,
        "category_id": CLASSES.index(slot.label) + 1,
        "bbox": box_xywh(mask),
        "area": int(mask.sum()),
        "iscrowd": 0,
        "segmentation": encode_mask(mask),
        "kind": slot.kind,
        "size": slot.size,
        "material": slot.material,
        "pose": {
            "x_mm": round(part.x_mm, 3),
            "y_mm": round(part.y_mm, 3),
            "rotation_deg": round(part.rotation_deg, 2),
            "side_up": up[part.turned_over],
        },
        "dimensions_mm": dimensions_mm(slot.kind, slot.size),
        "damage": damage,
        "draft": part.draft,
    }


def _calibration(camera: Camera, height_mm):
    return {
        "fx": round(camera.f_px, 3),
        "fy": round(camera.f_px, 3),
        "cx": round(camera.cx, 3),
        "cy": round(camera.cy, 3),
        "k1": round(camera.k1, 5),
        "k2": round(camera.k2, 5),
        "rotation": [round(float(r), 6) for r in camera.rotation.reshape(-1)],
        "translation_mm": [round(float(t), 4) for t in camera.translation_mm],
        "mm_per_px_belt": round(mm_per_px(camera, 0.0), 5),
        "mm_per_px_top": round(mm_per_px(camera, height_mm), 5),
    }
