"""nuts:, nuts:seed=7,lost=3+9, a synthetic camera over the built-in nuts: a simulated shift, without end, the same for
one seed.

It plays only pictures that the bundle has not learnt or calibrated on (by the sha256 in the bundle's split.csv),
shuffled, and shuffled again each time that all have come. No two exposures are alike: each gets its own exposure time
and its own photon and read noise, by the linear camera model of EMVA 1288 (release 4.0, section 2): variance =
electrons + read noise². The truth is carried with the frame, so that a simulated shift can count escapes. Two cameras
of one station have the same seed and another view: the same nuts in the same order, each in exposures of its own.

Faults by plan, at the given numbers of the shift: lost (no picture), truncated (half of the bytes of a PNG), late
(captured LATE_S before it is handed over), dark (the lamp is out: all pixels 0). No fault moves the other pictures.
"""

import hashlib
import io
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches

import numpy as np

from lineside.bundle.folder import Bundle
from lineside.data.picture import load
from lineside.data.read import Picture, read
from lineside.errors import LineError, SettingsError
from lineside.line.source.frame import Counts, Fate, Frame, Source
from lineside.line.source.learnt import known_to
from lineside.line.source.settings import Camera, refuse

FULL_WELL_E = 10_000  # electrons of a white pixel: a small industrial sensor (Sony IMX-class, 3.45 µm pixels)
READ_NOISE_E = 3.0
STEPS = 16_384  # of light, on the way back to 8 bits: finer than one step of sRGB everywhere
EXPOSURE_SPREAD = 0.02  # of the exposure time and lamp together, one standard deviation, from part to part
LATE_S = 1.0
ONCE = ("seed", "view")
FAULTS = ("lost", "truncated", "late", "dark")


def connect(url: str, where: str, bundle: Bundle, camera: Camera) -> Source:
    refuse(url, camera, "the synthetic camera")
    (seed, view), plan = _plan(url, where)
    learnt = known_to(bundle).learnt
    fresh = [p for p in read("nuts:").pictures if hashlib.sha256(p.path.read_bytes()).hexdigest() not in learnt]
    if not fresh:
        raise LineError(
            f"{url}: {bundle.path} has learnt or calibrated on every built-in nut; none is left to show what it can "
            "do: train with a test part (the default split keeps one)"
        )
    notes = (f"{url}: {len(fresh)} nuts that {bundle.path} has never seen, each exposure with its own noise",)
    if plan:
        notes += (f"{url}: {len(plan)} faults by plan",)
    counts = Counts()
    frames = with_faults(_frames(fresh, seed, view), plan, counts, time.monotonic_ns)
    return Source(url, frames, None, notes, counts=counts)


def with_faults(
    frames: Iterator[Frame], plan: Mapping[int, str], counts: Counts, now_ns: Callable[[], int]
) -> Iterator[Frame]:
    """The frames, with the fault that the plan has for their sequence number; counted."""
    for frame in frames:
        fate: Fate = "delivered"
        match plan.get(frame.sequence):
            case "lost":
                fate, frame = "lost", replace(frame, picture=None, error=f"{frame.name}: lost, by plan")
            case "truncated" if frame.picture is not None:
                fate, frame = "incomplete", replace(frame, picture=None, data=_half_a_png(frame.picture))
            case "late":
                frame = replace(frame, captured_ns=now_ns() - round(LATE_S * 1e9))
                counts.late += 1
            case "dark" if frame.picture is not None:
                frame = replace(frame, picture=np.zeros_like(frame.picture))
        counts.add(fate)
        yield frame


def _half_a_png(picture: np.ndarray) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", compress_level=1)
    return out.getvalue()[: len(out.getvalue()) // 2]


def _plan(url: str, where: str) -> tuple[tuple[int, int], dict[int, str]]:
    """Seed and view, and the fault of each number."""
    given, plan = dict.fromkeys(ONCE, 0), {}
    for item in where.split(",") if where else ():
        key, _, value = item.partition("=")
        numbers = value.split("+")
        if key not in (*ONCE, *FAULTS):
            near = get_close_matches(key, (*ONCE, *FAULTS), n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join((*ONCE, *FAULTS))}"
            raise SettingsError(
                f"{url!r}: {key!r}: {hint} expected nuts: or nuts:seed=N with a whole number N, and faults"
            )
        if not all(n.isdecimal() for n in numbers) or (key in ONCE and len(numbers) > 1):
            raise SettingsError(
                f"{url!r}: expected nuts: or nuts:seed=N with a whole number N, such as nuts:seed=1, and faults by "
                f"their numbers, such as lost=3+9; got {item!r}"
            )
        if key in ONCE:
            given[key] = int(value)
        else:
            for n in map(int, numbers):
                if n in plan:
                    raise SettingsError(f"{url!r}: part {n} has two faults, {plan[n]} and {key}; expected one")
                plan[n] = key
    return (given["seed"], given["view"]), plan


def _frames(pictures: list[Picture], seed: int, view: int) -> Iterator[Frame]:
    order, expose = np.random.default_rng(seed), camera(np.random.default_rng((seed, view)))
    sequence = 0
    while True:
        again = sequence > 0
        for index in order.permutation(len(pictures)):
            sequence += 1
            p = pictures[index]
            picture = expose(load(p.path))
            yield Frame(f"{sequence:06d}", sequence, p.name, picture=picture, truth=p.label, again=again)


def camera(rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """expose(picture) -> one more exposure of the same scene; (H, W, 3) uint8 sRGB in and out. IEC 61966-2-1."""
    s = np.arange(256) / 255
    light = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4) * FULL_WELL_E  # (256,) electrons
    y = np.arange(STEPS) / (STEPS - 1)
    srgb = np.rint(255 * np.where(y <= 0.0031308, 12.92 * y, 1.055 * y ** (1 / 2.4) - 0.055)).astype(np.uint8)
    electrons_of, steps_per_e = light.astype(np.float32), np.float32((STEPS - 1) / FULL_WELL_E)

    def expose(picture: np.ndarray) -> np.ndarray:
        electrons = electrons_of[picture] * np.float32(rng.lognormal(0.0, EXPOSURE_SPREAD))
        electrons += rng.standard_normal(picture.shape, dtype=np.float32) * np.sqrt(electrons + READ_NOISE_E**2)
        return srgb[np.clip(electrons * steps_per_e, 0, STEPS - 1).astype(np.uint16)]

    return expose
