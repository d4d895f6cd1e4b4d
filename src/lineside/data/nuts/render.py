"""The entry: plan, render in parallel, resume, write `nuts.json`.

    python -m lineside.data.nuts.render --seed 1 --count 1240 --out DIR [--workers 2] [--limit N]

DIR gets pictures/<class>/n0001.webp ..., nuts.json, and .work/ (CAD meshes, and one record a part with the
fingerprint of its plan: a second run skips the parts whose record and picture still agree). --limit renders only the
first N ids of the plan, for a look.
"""

import argparse
import hashlib
import io
import json
import time
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

from PIL import Image

from lineside.data.nuts import scene
from lineside.data.nuts.camera import PICTURE_PX
from lineside.data.nuts.part import rendered
from lineside.data.nuts.plan import CLASSES, Slot, deck, lot_plan, part_plan

GENERATOR_VERSION = "1.0"
SPP = 16  # samples a pixel: the noise left is about the sensor's
WEBP_QUALITY = 92


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    slots = sorted(deck(options.seed, options.count), key=lambda s: s.id)[: options.limit]
    slots.sort(key=lambda s: s.lot)  # parts of a lot together: they share a belt, which is slow to paint
    (options.out / ".work").mkdir(parents=True, exist_ok=True)
    jobs = [(options.seed, slot, options.out, options.spp) for slot in slots]
    records, started = [], time.monotonic()
    with get_context("spawn").Pool(options.workers, initializer=scene.start, initargs=(1,)) as pool:
        for record in pool.imap(_job, jobs):
            records.append(record)
            if len(records) % 20 == 0 or len(records) == len(jobs):
                print(f"{len(records)}/{len(jobs)} parts, {time.monotonic() - started:.0f} s", flush=True)
    records.sort(key=lambda r: r["image"]["id"])
    (options.out / "nuts.json").write_text(json.dumps(_coco(options, records), separators=(",", ":")) + "\n")


def _options(arguments):
    parser = argparse.ArgumentParser(description="Render the built-in data set of nuts.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1240)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=int, default=None, help="render only the first ids of the plan")
    parser.add_argument("--spp", type=int, default=SPP, help="samples a pixel")
    return parser.parse_args(arguments)


def _job(job):
    return render_part(*job)


def render_part(seed: int, slot: Slot, out: Path, spp: int = SPP) -> dict:
    """Render one part, or take its record from an earlier run. Returns {"image": .., "annotation": ..} for the JSON."""
    lot = lot_plan(seed, slot.lot)
    record_path = out / ".work" / f"n{slot.id:04d}.json"
    picture_path = out / "pictures" / slot.label / f"n{slot.id:04d}.webp"
    plan = [GENERATOR_VERSION, seed, spp, slot, lot, part_plan(seed, slot, lot, 0)]
    fingerprint = hashlib.sha256(json.dumps(plan).encode()).hexdigest()
    if record_path.exists() and picture_path.exists():
        record = json.loads(record_path.read_text())
        same = record["image"]["sha256"] == hashlib.sha256(picture_path.read_bytes()).hexdigest()
        if record["fingerprint"] == fingerprint and same:
            return record
    picture, camera, annotation = rendered(seed, slot, out / ".work" / "meshes", spp)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", quality=WEBP_QUALITY, method=6)
    picture_path.parent.mkdir(parents=True, exist_ok=True)
    picture_path.write_bytes(buffer.getvalue())
    rig = {k: round(lot.rig[k], 2) for k in ("azimuth_deg", "elevation_deg", "warmth", "fill_light")}
    image = {
        "id": slot.id,
        "file_name": picture_path.relative_to(out).as_posix(),
        "width": PICTURE_PX,
        "height": PICTURE_PX,
        "lot": lot.name,
        "sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        "camera": camera,
        "lighting": {"rig": lot.rig["name"]} | rig,
        "belt": {"style": lot.belt["style"], "wear": round(lot.belt["wear"], 2)},
    }
    record = {"fingerprint": fingerprint, "image": image, "annotation": annotation}
    record_path.write_text(json.dumps(record))
    return record


def _coco(options, records):
    info = {
        "description": "Lineside nuts: path-traced hexagon, flanged and square nuts, sound and damaged",
        "version": "1.0",
        "generator_version": GENERATOR_VERSION,
        "seed": options.seed,
        "count": options.count,
        "samples_per_pixel": options.spp,
        "made_with": {name: version(name) for name in ("mitsuba", "bd_warehouse", "numpy", "pillow")},
        "license": "Apache-2.0",
        "camera": "X_camera = rotation (row by row) X_world + translation_mm; the belt is z = 0; x = X/Z; "
        "x_d = x (1 + k1 r^2 + k2 r^4); u = fx x_d + cx, where the first pixel's centre is 0.5",
        "segmentation": "COCO compressed run lengths",
    }
    return {
        "info": info,
        "licenses": [{"id": 1, "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}],
        "images": [r["image"] for r in records],
        "annotations": [r["annotation"] for r in records],
        "categories": [{"id": k + 1, "name": name, "supercategory": "nut"} for k, name in enumerate(CLASSES)],
    }


if __name__ == "__main__":
    main()
