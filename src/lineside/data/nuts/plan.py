"""The seeded plan: everything about every lot and part, decided before anything is rendered.

Deck     which part has which class, kind, size, material, damage and lot. Each is dealt in turn, so every lot holds
         every class, and within a class sizes and materials come equally often: none of them betrays the class.
Lot      what parts made together share: belt, lights, camera, sensor, the look of each material.
Part     the rest: pose, belt position, finish, and where and how bad the damage is. Part i draws from
         numpy's default_rng([seed, i]); a draft that cannot be used (the damage does not show) is drawn again from the
         same generator, so draft 2 of part 17 is always the same.
"""

from typing import NamedTuple

import numpy as np

from lineside.data.nuts.damage import DAMAGES, places_of
from lineside.data.nuts.dimensions import SIZES, dimensions_mm, widest_mm
from lineside.data.nuts.textures import BELTS

SHARES = {"hex_nut": 370, "flanged_hex_nut": 230, "square_nut": 230, "defective": 410}
DEFECTIVE_KINDS = ("hex_nut", "hex_nut", "flanged_hex_nut", "square_nut")  # hexagon nuts twice: they are what is sold
CLASSES = tuple(SHARES)
MATERIALS = ("zinc", "brass", "black_oxide")
RIGS = ("two_bars", "ring", "softbox", "dome", "window")
PARTS_PER_LOT = 26
SEED_LOT, SEED_DECK = 1_000_003, 1_000_033  # keep these streams apart from the parts'


class Slot(NamedTuple):
    number: int  # 0..count - 1: which part of the plan
    id: int  # 1..count in an order that says nothing about the class
    label: str
    kind: str
    size: str
    material: str
    damage: str | None
    lot: int


class Lot(NamedTuple):
    name: str
    belt: dict
    rig: dict
    camera: dict
    sensor: dict
    materials: dict


class Part(NamedTuple):
    slot: Slot
    draft: int
    turned_over: bool
    x_mm: float
    y_mm: float
    rotation_deg: float
    camera: dict
    belt_shift: tuple[float, float]
    finish: dict
    damage: dict | None
    render_seed: int


def deck(seed: int, count: int) -> list[Slot]:
    """The parts of a data set of `count`, shares as in SHARES (largest remainder), in part order."""
    rng = np.random.default_rng([seed, SEED_DECK])
    lots = max(1, round(count / PARTS_PER_LOT))
    ids = rng.permutation(count) + 1
    shuffled_lots = rng.permutation(lots)
    labels = _shares(count)
    looks = [(s, m) for s in SIZES for m in MATERIALS]
    slots, dealt = [], {}

    def deal(name, cards):
        if not dealt.get(name):
            dealt[name] = [cards[k] for k in rng.permutation(len(cards))]
        return dealt[name].pop()

    for index, label in enumerate(labels):
        size, material = deal(label, looks)
        damage = deal("damage", DAMAGES) if label == "defective" else None
        kind = deal(f"kind {damage}", DEFECTIVE_KINDS) if damage else label
        lot = int(shuffled_lots[index % lots])
        slots.append(Slot(index, int(ids[index]), label, kind, size, material, damage, lot))
    return slots


def _shares(count):
    total = sum(SHARES.values())
    exact = {label: count * share / total for label, share in SHARES.items()}
    given = {label: int(x) for label, x in exact.items()}
    for label in sorted(exact, key=lambda k: given[k] - exact[k])[: count - sum(given.values())]:
        given[label] += 1
    return [label for label in CLASSES for _ in range(given[label])]


def lot_plan(seed: int, lot: int) -> Lot:
    """What the parts of one lot share."""
    rng = np.random.default_rng([seed, SEED_LOT, lot])
    u = rng.uniform
    belt = {
        "style": list(BELTS)[rng.integers(len(BELTS))],
        "shade": u(0.65, 1.4),
        "wear": u(0.1, 1.0),
        "turn_deg": u(-4, 4),
        "seed": int(rng.integers(2**31)),
    }
    rig = {
        "name": RIGS[rng.integers(len(RIGS))],
        "azimuth_deg": u(0, 360),
        "elevation_deg": u(30, 62),
        "size": u(0.7, 1.4),
        "warmth": u(-0.12, 0.12),
        "fill_light": u(0.10, 0.30),
        "room_seed": int(rng.integers(2**31)),
    }
    camera = {
        "distance_per_view": u(2.3, 3.3),
        "fill": u(0.46, 0.56),
        "tilt_deg": u(4, 13),
        "azimuth_deg": u(0, 360),
        "roll_deg": u(-180, 180),
        "cx": 88 + u(-2, 2),
        "cy": 88 + u(-2, 2),
        "k1": u(-0.15, 0.05),
        "k2": u(-0.05, 0.05),
    }
    sensor = {
        "exposure": u(0.62, 0.95),
        "blur_px": u(0.35, 0.75),
        "full_well_e": u(2500, 9000),
        "read_noise_e": u(4, 14),
        "red_gain": u(0.94, 1.06),
        "blue_gain": u(0.94, 1.06),
        "vignette": u(0.0, 0.25),
        "shoulder": u(0.6, 0.8),
    }
    materials = {
        "zinc": {"tint": _tint((0.70, 0.71, 0.73), rng), "rough": u(0.20, 0.38)},
        "brass": {"tint": _tint((0.78, 0.57, 0.25), rng), "rough": u(0.18, 0.36)},
        "black_oxide": {"tint": _tint((0.022, 0.021, 0.022), rng, 0.3), "rough": u(0.24, 0.42)},
    }
    return Lot(f"L{lot + 1:02d}", belt, rig, camera, sensor, materials)


def _tint(colour, rng, spread=0.07):
    return [float(c) for c in np.array(colour) * rng.normal(1, 0.025, 3) * rng.normal(1, spread)]


def part_plan(seed: int, slot: Slot, lot: Lot, draft: int) -> Part:
    """Draft number `draft` of one part."""
    rng = np.random.default_rng([seed, slot.number])
    for _ in range(draft):
        _draw(rng, slot, lot, 0)
    return _draw(rng, slot, lot, draft)


def _draw(rng, slot, lot, draft):
    u = rng.uniform
    view_mm = dimensions_mm("hex_nut", slot.size)["across_corners"] / lot.camera["fill"]
    room = max(view_mm * 0.43 - widest_mm(slot.kind, slot.size) / 2 * 1.08, 0.02 * view_mm)
    away, towards = room * np.sqrt(u()), u(0, 2 * np.pi)
    camera = {
        "distance_mm": view_mm * lot.camera["distance_per_view"],
        "view_mm": view_mm,
        "tilt_deg": lot.camera["tilt_deg"] + rng.normal(0, 0.4),
        "azimuth_deg": lot.camera["azimuth_deg"] + rng.normal(0, 2),
        "roll_deg": lot.camera["roll_deg"] + rng.normal(0, 0.5),
    } | {k: lot.camera[k] for k in ("cx", "cy", "k1", "k2")}
    # a flanged nut seldom lies on its hexagon; the others have no favourite side
    turned_over = bool(u() < (0.2 if slot.kind == "flanged_hex_nut" else 0.5))
    finish = {"oil": float(np.clip(rng.normal(0.2, 0.35), 0, 1)), "dust": u(0, 1), "seed": int(rng.integers(2**31))}
    rotation = u(0, 360)
    damage_seed, which, severity, along = int(rng.integers(2**31)), u(), rng.beta(1.1, 1.1), u()
    # a flank shows only on the camera's side
    facing = lot.camera["azimuth_deg"] - rotation + rng.normal(0, 35)
    angle = u(0, 360)
    damage = None
    if slot.damage:
        places = places_of(slot.damage, slot.kind, slot.kind == "flanged_hex_nut" and turned_over)
        place = places[int(which * len(places))]
        angle = facing if place in ("side_face", "corner") else angle
        damage = {"kind": slot.damage, "place": place, "angle_deg": angle % 360, "along": along}
        damage |= {"severity": severity, "seed": damage_seed}
    return Part(
        slot, draft, turned_over, float(away * np.cos(towards)), float(away * np.sin(towards)), rotation, camera,
        (u(), u()), finish, damage, int(rng.integers(2**31)),
    )  # fmt: skip
