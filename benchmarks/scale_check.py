"""Time and memory of `check` and `split` on 12,500 to 100,000 generated pictures, and the slope.

    python benchmarks/scale_check.py [--sizes 12500 25000 50000 100000] [-o benchmarks/results/scale_check.json]

Each size runs in a fresh process. Pictures are 32 × 32 JPEGs of smooth random blobs, 2 % of them recompressed copies,
in 10 classes. Memory is the peak of the sum over the process and its workers, sampled every 50 ms from /proc:
proportional set size (shared pages counted once), so it is Linux only. slope: of log time over log pictures; 1 is
linear.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from lineside import __version__

ROOT = Path(__file__).parent
CLASSES = 10


def generate(job: tuple[str, int, int]) -> None:
    """Pictures begin..end of the folder, the same for the same number."""
    folder, begin, end = job
    for number in range(begin, end):
        copy = number % 50 == 49
        rng = np.random.default_rng(number - 1 if copy else number)
        small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        label = (number - copy) % CLASSES
        small.resize((32, 32), Image.Resampling.BICUBIC).save(
            f"{folder}/class {label}/{number:06d}.jpg", quality=70 if copy else 90
        )


def measure(folder: str, workers: int | None) -> dict:
    """One size, in this process."""
    from lineside.data.doctor import check
    from lineside.data.read import read
    from lineside.data.split import split

    peak, done = [0], threading.Event()
    sampler = threading.Thread(target=_sample, args=(peak, done))
    sampler.start()
    t0 = time.perf_counter()
    dataset = read(folder)
    t1 = time.perf_counter()
    checkup = check(dataset, workers=workers)
    t2 = time.perf_counter()
    parts = split(checkup)
    t3 = time.perf_counter()
    done.set()
    sampler.join()
    return {
        "pictures": len(dataset.pictures),
        "read_s": round(t1 - t0, 2),
        "check_s": round(t2 - t1, 2),
        "split_s": round(t3 - t2, 2),
        "peak_mb": round(peak[0] / 1024),
        "near_duplicate_findings": sum(f.code in ("near-duplicate", "label-doubt") for f in checkup.findings),
        "train": len(parts.of("train")),
    }


def _sample(peak: list[int], done: threading.Event) -> None:
    while not done.wait(0.05):
        peak[0] = max(peak[0], sum(_kib(pid) for pid in [os.getpid(), *_children(os.getpid())]))


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
        except (OSError, ValueError):
            continue
    return found


def _kib(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def slope(sizes: list[int], seconds: list[float]) -> float:
    return round(float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0]), 3)


def cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[12_500, 25_000, 50_000, 100_000])
    parser.add_argument("--workers", type=int)
    parser.add_argument("-o", type=Path, default=ROOT / "results" / "scale_check.json")
    parser.add_argument("--measure", metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.workers)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as top, ProcessPoolExecutor() as pool:
        made = 0
        for label in range(CLASSES):
            (Path(top) / f"class {label}").mkdir()
        for size in sorted(args.sizes):
            list(pool.map(generate, [(top, at, min(at + 500, size)) for at in range(made, size, 500)]))
            made = size
            command = [sys.executable, __file__, "--measure", top]
            command += ["--workers", str(args.workers)] if args.workers else []
            load = os.getloadavg()[0]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            rows.append(json.loads(done.stdout) | {"load_before": round(load, 1)})
            print(rows[-1], flush=True)
    sizes = [row["pictures"] for row in rows]
    result = {
        "date": date.today().isoformat(),
        "machine": {"cpu": cpu(), "cores": os.cpu_count(), "workers": args.workers or os.cpu_count()},
        "versions": {
            "lineside": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "pillow": PIL.__version__,
        },
        "n": 1,
        "rows": rows,
        "slope_of_time": slope(sizes, [row["read_s"] + row["check_s"] + row["split_s"] for row in rows]),
        "peak_mb_per_doubling": [
            round((b["peak_mb"] - a["peak_mb"]) / math.log2(b["pictures"] / a["pictures"])) for a, b in pairwise(rows)
        ],
    }
    args.o.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
