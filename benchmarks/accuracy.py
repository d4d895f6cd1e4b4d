"""What `lineside train` and `lineside evaluate` reach on real data, as a user types them, with intervals.

    python -m benchmarks.accuracy [--only neu-det ...] [--folder KEEP]

Each row: the two commands, without what `lineside check --quarantine` lists; the recipe, seconds, and the metrics that
`evaluate --json` gives on test. A bundle that stands in KEEP already (benchmarks/training.py leaves its own there) is
not trained again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import real_data, record

# Garments have a left and a right that mean nothing, and an up and a down that do; they are never turned by much.
GARMENTS = "[augment]\nflip_vertical = false\nrotate_deg = 5.0\nbrightness = 0.0\ncontrast = 0.1\n"
CASES = {  # name: (data set, net, recipe)
    "nuts": ("nuts", "auto", ""),
    "elpv": ("elpv", "auto", ""),
    "magnetic-tile": ("magnetic-tile", "auto", ""),
    "neu-det": ("neu-det", "auto", ""),
    "fashion-mnist, LeNet-5": ("fashion-mnist", "lenet5", f"epochs = 10\nbatch = 128\nrate = 0.003\n{GARMENTS}"),
    "fashion-mnist, ResNet-20": ("fashion-mnist", "resnet20", f"epochs = 6\nbatch = 128\nrate = 0.003\n{GARMENTS}"),
}


def lineside(*args: str, contradicted: bool = False) -> str:
    """The command's stdout; its stderr goes to ours. SystemExit where it fails; contradicted: ending with 1 is none."""
    done = subprocess.run([sys.executable, "-m", "lineside", *args], stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, contradicted):
        raise SystemExit(f"lineside {' '.join(args)} ended with {done.returncode}")
    return done.stdout


def asked(name: str, source: str, folder: Path) -> tuple[str, list[str], list[str]]:
    """The data of a case, what `train` is asked for beside it, and what `check` found that is to be left out."""
    data, net, recipe = CASES[name]
    written, left_out = folder / f"{name.replace(', ', '-')}.toml", folder / f"{data}.quarantine.csv"
    if data == "fashion-mnist":
        source = str(Path(source) / "fashion.csv")
    written.write_text(recipe)
    lineside("check", source, "--quarantine", str(left_out))  # Fashion-MNIST has pictures of train in its test part
    accept = [word for one in real_data.ACCEPT[data] for word in ("--accept", one)]
    without = ["--quarantine", str(left_out)] if left_out.exists() else []
    return source, ["--net", net, "--recipe", str(written), *accept], without


def measure(name: str, source: str, folder: Path) -> dict:
    source, flags, without = asked(name, source, folder)
    bundle = folder / f"{name.replace(', ', '-')}.bundle"
    if not bundle.exists():
        lineside("train", source, "-o", str(bundle), *flags, *without)
    evaluated = json.loads(lineside("evaluate", str(bundle), source, "--json", *without, contradicted=True))
    folder_of_run = bundle.with_name(bundle.name + ".run")
    run = json.loads((folder_of_run / "ended.json").read_text())
    steps_s = run["seconds"]
    if (history := folder_of_run / "history.jsonl").is_file():  # counts the starts before a kill, too
        steps_s |= {"training": json.loads(history.read_text().splitlines()[-1])["seconds"]}
    for place in ("bundle", "data", "report"):  # temporary paths
        evaluated.pop(place)
    row = {
        "data": name,
        "recipe": CASES[name][2],
        "train_s": round(sum(run["seconds"].values()), 1),
        "steps_s": run["seconds"],
        **evaluated,
    }
    print(name, json.dumps(row)[:600], flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--folder", type=Path, help="keep data and bundles here instead of a temporary folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        sources = real_data.at_hand(dict.fromkeys(CASES[name][0] for name in args.only), folder)
        new = {name: measure(name, source, folder) for name in args.only if (source := sources.get(CASES[name][0]))}
    if not new:
        return
    rows = {row["data"]: row for row in record.rows("accuracy")} | new
    what = "lineside train, then lineside evaluate on the test part; 95 % intervals"
    print(record.write("accuracy", what, [rows[name] for name in CASES if name in rows], ("torch", "onnxruntime")))


if __name__ == "__main__":
    main()
