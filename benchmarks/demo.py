"""How long `lineside demo` takes and what it reaches, as a user types it. There is no peer that does the same.

    python -m benchmarks.demo [--runs 1]

Seconds of the whole process, each run into a new folder; the figures are those that the bundle and its shift of parts
tell. The same seed: only the seconds can differ.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks import record
from lineside.bundle.folder import open_bundle
from lineside.settings import plain


def run(folder: Path) -> tuple[float, list[str]]:
    """Seconds, and what the demo says at its end, a line each. SystemExit where it fails."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "lineside", "demo", "-o", str(folder)], stdout=subprocess.PIPE, text=True
    )
    took = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(f"lineside demo ended with {done.returncode}")
    said = done.stdout[done.stdout.rindex("\naccuracy") :].strip().splitlines()
    return took, [line for line in said if str(folder) not in line]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1, choices=range(1, 100), metavar="N")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / str(n) for n in range(args.runs)]
        runs = [run(folder) for folder in folders]
        manifest = open_bundle(next(folders[-1].glob("*.bundle"))).manifest
    seconds, said = [round(took, 1) for took, _ in runs], runs[-1][1]
    print(seconds, *said, sep="\n")
    row = {"seconds": seconds, "median_s": median(seconds), "n": len(seconds), "said": said}
    row["metrics"] = {name: plain(value) for name, value in manifest.metrics.items()}
    print(record.write("demo", "lineside demo, whole process", [row], ("torch", "onnxruntime")))


if __name__ == "__main__":
    main()
