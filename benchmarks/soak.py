"""Does a line hold: an hour and more with two cameras, a PLC, an MES behind a broker, a store, pictures and /metrics.

    python -m benchmarks.soak [--minutes 75] [--fps 5] [--bundle BUNDLE] [--only ROW]

`lineside soak` runs the whole line in a process of its own, as a user does; PLC, broker (mosquitto) and MES are those
of examples/plant, each a process. The cameras are two synthetic ones with lost, torn and dark pictures by plan.
Rejects' pictures are kept under a quota, which is reached, so that old ones go. Without --bundle one is trained first.

slopes_b_per_s      resident memory, and what malloc has given out: bytes a second with 95 % intervals, by blocks
second_half_b_per_s the same of the second half of the soak alone: where caches and pools have their size
mib_every_minute    resident memory, and what malloc has given out, the sample nearest to each whole minute

Then ten minutes at 12 parts a second, as the line is and with as many of malloc's arenas as glibc would have (eight
a core): what the line gains by having its threads share two (lineside/line/process.py).
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks import record

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "plant"))
import plant  # a script beside its helpers, no package

DEADLINE_MS = 1500.0
QUOTA_GB = 0.1
FAST_MINUTES, FAST_FPS = 10.0, 12.0
ARENAS = 8 * len(os.sched_getaffinity(0))  # glibc's own number
MIB = 2**20


def line_toml(bundle: Path, mqtt: str, gate: str, fps: float) -> str:
    return f"""\
name = "soak"
sinks = ["csv:results.csv", "{mqtt}"]
gate = "{gate}"

[products.hex_nut]
bundle = {json.dumps(str(bundle))}

[[cameras]]
name = "top"
source = "nuts:seed=1,view=1,{plant.FAULTS}"
[[cameras]]
name = "side"
source = "nuts:seed=1,view=2,dark=90"

[parts]
max_fps = {fps}
deadline_ms = {DEADLINE_MS}

[store]
url = "line.db"
pictures = "rejects"
quota_gb = {QUOTA_GB}

[web]
metrics = "127.0.0.1:{plant.free_port()}"
"""


def run(bundle: Path, minutes: float, fps: float, folder: Path, **environ: str) -> dict:
    """soak.json of `lineside soak`; its page lies in folder, too."""
    with contextlib.ExitStack() as stack:
        settings = folder / "line.toml"
        settings.write_text(line_toml(bundle, *plant.plc_and_mes(stack, folder), fps))
        command = ["soak", str(settings), "--minutes", str(minutes), "-o", str(folder / "soak.html")]
        subprocess.run([*plant.lineside(), *command], check=True, env=os.environ | environ)
    return json.loads((folder / "soak.json").read_text())


def row(found: dict, fps: float) -> dict:
    """What of soak.json is worth keeping: all but the samples, of which one a minute."""
    from lineside.evidence.slope import slope

    samples = found.pop("samples")
    times = np.array(samples["t_s"])
    minutes = range(round(times[-1] / 60) + 1)
    named = {"resident": "rss_bytes", "held": "held_bytes"}
    series = {name: np.array(samples[key], float) for name, key in named.items()}
    late = times >= 0.375 * times[-1]  # slope() leaves out a fifth of it: the second half is left
    nearest = [int(np.abs(times - 60 * minute).argmin()) for minute in minutes]
    return {
        "parts_per_second_asked": fps,
        "slopes_b_per_s": {"resident": found["memory"], "held": found["held"]},
        "second_half_b_per_s": {name: asdict(slope(times[late], values[late])) for name, values in series.items()},
        "mib_every_minute": {
            name: [round(float(values[at]) / MIB, 1) for at in nearest] for name, values in series.items()
        },
        **found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=75)
    parser.add_argument("--fps", type=float, default=5.0, help="parts a second; two pictures each")
    parser.add_argument("--bundle", type=Path, help="one that decides about nuts; trained if not given")
    parser.add_argument("--only", metavar="ROW", help="the rows that begin so; the others stay as they were measured")
    args = parser.parse_args()
    wanted: dict[str, tuple[float, float, dict[str, str]]] = {
        "two cameras": (args.minutes, args.fps, {}),
        "fast": (FAST_MINUTES, FAST_FPS, {}),
        f"fast, {ARENAS} malloc arenas": (FAST_MINUTES, FAST_FPS, {"MALLOC_ARENA_MAX": str(ARENAS)}),
    }
    rows = record.rows("soak") or {}
    with tempfile.TemporaryDirectory(dir=".") as place:
        folder = Path(place).resolve()
        bundle = (args.bundle or plant.trained(folder)).resolve()
        for name, (minutes, fps, environ) in wanted.items():
            if not name.startswith(args.only or ""):
                continue
            here = folder / name.replace(" ", "-")
            here.mkdir()
            rows[name] = row(run(bundle, minutes, fps, here, **environ), fps)
    packages = ("numpy", "onnxruntime", "sqlalchemy", "paho-mqtt", "pymodbus")
    print(record.write("soak", (__doc__ or "").splitlines()[0], rows, packages).read_text())


if __name__ == "__main__":
    main()
