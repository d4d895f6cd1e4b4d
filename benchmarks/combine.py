"""What combining gains: nets fine-tuned from the same weights at several rates, as an ensemble and as a greedy soup.

    python -m benchmarks.combine [--data nuts magnetic-tile] [--rates 0.001 0.002 0.004] [--folder KEEP]

For each data set `lineside train` at each rate (default net, one split), then `lineside combine` both ways: the gain in
top-1 over the bundle that is best on calibrate, on test, with its interval, and the ms of a picture of each.
"""

import argparse
import json
import tempfile
from pathlib import Path

from benchmarks import real_data, record
from benchmarks.accuracy import lineside


def measure(data: str, source: str, rates: list[float], folder: Path) -> dict:
    accept = [word for one in real_data.ACCEPT[data] for word in ("--accept", one)]
    bundles = []
    for rate in rates:
        bundle, recipe = folder / f"{data}-{rate:g}.bundle", folder / f"{rate:g}.toml"
        recipe.write_text(f"rate = {rate}\nepochs = 10\n")
        if not bundle.exists():
            lineside("train", source, "-o", str(bundle), "--recipe", str(recipe), *accept)
        bundles.append(str(bundle))
    row: dict = {"data": data, "rates": rates}
    for how in ("ensemble", "soup"):
        target = str(folder / f"{data}-{how}.bundle")
        done = json.loads(combined(*bundles, source, "-o", target, "--how", how))
        keep = ("used", "calibrate_nll", "calibrate_top1", "test_top1", "test_nll", "median_ms", "p95_ms")
        row["bundles"] = [{"rate": rate_of(one["name"]), **{k: one[k] for k in keep}} for one in done["bundles"]]
        row[how] = {k: done["combined"][k] for k in keep[1:]} | {"used": [one["used"] for one in done["bundles"]]}
        row[how] |= {"gain": {k: v for k, v in done["gain"].items() if k not in ("over", "sentence")}}
    print(json.dumps(row)[:1500], flush=True)
    return row


def combined(*args: str) -> str:
    """What the command says as JSON, also where test contradicts the promise."""
    return lineside("combine", *args, "--json", contradicted=True)


def rate_of(bundle: str) -> float:
    """The rate in the name that measure gave it."""
    return float(Path(bundle).stem.rsplit("-", 1)[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["nuts", "magnetic-tile"])
    parser.add_argument("--rates", nargs="+", type=float, default=[0.001, 0.002, 0.004])
    parser.add_argument("--folder", type=Path, help="keep data and bundles here instead of a temporary folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        sources = real_data.at_hand(args.data, folder)
        new = {data: measure(data, source, args.rates, folder) for data, source in sources.items()}
    if not new:
        return
    rows = {row["data"]: row for row in record.rows("combine")} | new
    what = "an ensemble and a greedy soup of nets fine-tuned at several rates, against the best of them; 95 % intervals"
    print(record.write("combine", what, list(rows.values()), ("torch", "onnxruntime")))


if __name__ == "__main__":
    main()
