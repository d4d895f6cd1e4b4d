"""Time and memory of one epoch of `lineside train` on 12,500 to 100,000 generated pictures, and the slope.

    python -m benchmarks.scale_train [--sizes 12500 25000 50000 100000]

The pictures are those of scale_check.py. Memory is the peak of the process's own pages (RssAnon in /proc, sampled): the
feature cache is a mapped file, whose pages the system drops when it wants. One rank, LeNet-5, one epoch; the steps'
seconds are those that the run folder records; `cache_mb` is what lies on the disk.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks import record
from benchmarks.scale_check import CLASSES, generate, slope


def rss_anon_mb(pid: int) -> int:
    """The process's own memory now; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("RssAnon")), 0)


def measure(folder: Path, pictures: int) -> dict:
    """One `lineside train` of all that is in the folder."""
    bundle, recipe = folder.parent / f"{pictures}.bundle", folder.parent / "recipe.toml"
    recipe.write_text("epochs = 1\nbatch = 128\n")
    command = [sys.executable, "-m", "lineside", "train", str(folder), "-o", str(bundle), "--net", "lenet5"]
    start, peak = time.monotonic(), 0
    process = subprocess.Popen([*command, "--recipe", str(recipe)], stderr=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, rss_anon_mb(process.pid))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"train ended with {process.returncode}")
    run = folder.parent / f"{pictures}.bundle.run"
    return {
        "pictures": pictures,
        "all_s": round(time.monotonic() - start, 1),
        "steps_s": json.loads((run / "ended.json").read_text())["seconds"],
        "peak_own_mb": peak,
        "cache_mb": round(sum(p.stat().st_size for p in (run / "cache").iterdir()) / 1e6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[12_500, 25_000, 50_000, 100_000])
    args = parser.parse_args()
    rows, made = [], 0
    with tempfile.TemporaryDirectory() as top, ProcessPoolExecutor() as pool:
        folder = Path(top) / "data"
        for label in range(CLASSES):
            (folder / f"class {label}").mkdir(parents=True)
        for size in sorted(args.sizes):
            list(pool.map(generate, [(str(folder), at, min(at + 500, size)) for at in range(made, size, 500)]))
            made = size
            rows.append(measure(folder, size))
            print(rows[-1], flush=True)
    result = {"runs": rows, "slope_of_time": slope([r["pictures"] for r in rows], [r["all_s"] for r in rows])}
    print(record.write("scale_train", "lineside train, one epoch of LeNet-5, n = 1 a size", result, ("torch", "numpy")))


if __name__ == "__main__":
    main()
