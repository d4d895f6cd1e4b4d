"""How long one picture takes: the bundle's runtime end to end, against eager PyTorch and against the bare engine.

For each net and served engine, at batch 1, in one process, taking turns picture by picture:

    bundle    file → data/picture.py → Model.infer → margin and verdict     (what the line does)
    eager     file → PIL → resize and net in eager float32 torch → threshold: what a user would write instead
    ready     Model's engine on a decoded array, session.run alone: the bare engine

Ratios are taken picture by picture, so that a busy machine slows both sides, and given as a median with its quartiles.
Writes benchmarks/results/inference.json.

    python -m benchmarks.inference DATA [--nets resnet18 …] [--pictures 100] [--threads 2]
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks import record
from lineside.bundle import engine, export
from lineside.data import picture, read
from lineside.evidence.operating import choose
from lineside.nets.catalog import NETS
from lineside.nets.input import Input
from lineside.tasks.classify.decode import decider, margin

DEFAULT_NETS = ("resnet18", "resnet50", "mobilenet_v2", "efficientnet_lite0")
ENGINES = (("onnxruntime", "float32"), ("openvino", "float32"), ("openvino", "bfloat16"))
CLASSES, ACCEPT = ("a", "b", "c"), ("a",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("--nets", nargs="+", default=DEFAULT_NETS)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    dataset = read.read(args.data)
    step = max(1, len(dataset.pictures) // args.pictures)
    files = [one.path for one in dataset.pictures[::step]][: args.pictures]
    rows = [row for name in args.nets for row in measure(name, files, args.threads)]
    height, width = picture.load(files[0]).shape[:2]
    what = (
        f"one picture from its file ({width}x{height} px) at batch 1, {args.threads} threads, random weights: "
        "ms and picture-by-picture ratios, median and quartiles"
    )
    print(record.write("inference", what, rows, ("torch", "onnxruntime", "openvino", "numpy", "pillow")))


def measure(name: str, files: list[Path], threads: int) -> list[dict]:
    """A row for each engine."""
    torch.manual_seed(0)
    row = NETS[name]
    net = row.build(len(CLASSES)).eval()
    net_input = Input(row.size_px, row.mean, row.std)
    graph = export.to_onnx(net, net_input, 1.0)
    rng = np.random.default_rng(0)
    is_good = np.arange(200) % 2 == 0
    point = choose(rng.normal(size=200) + 4 * is_good, is_good, max_escape=0.05)
    decide = decider(CLASSES, ACCEPT, point)
    eager = eager_loop(net, net_input, point.accept_at)
    rows = []
    for which, precision in ENGINES:
        infer = engine.open_model(which, graph, precision, threads)
        pictures = {file: picture.load(file)[None] for file in files}
        took = race(
            files,
            {
                "bundle": lambda file, infer=infer: decide(infer(picture.load(file)[None])[0]),
                "ready": lambda file, infer=infer, pictures=pictures: infer(pictures[file]),
                "decode": picture.load,
                "eager": eager,
            },
        )
        rows.append(
            {
                "net": name,
                "engine": which,
                "precision": precision,
                "n": len(files),
                "ms": {kind: spread(times) for kind, times in took.items()},
                "eager_over_bundle": spread(took["eager"] / took["bundle"]),
                "bundle_over_ready": spread(took["bundle"] / took["ready"]),
                "bundle_over_decode_and_ready": spread(took["bundle"] / (took["decode"] + took["ready"])),
            }
        )
        last = rows[-1]
        print(
            f"{name:<20}{which:<12}{precision:<9} bundle {last['ms']['bundle']['median']:7.2f} ms"
            f"   eager ×{last['eager_over_bundle']['median']:.2f}"
            f"   over the bare engine ×{last['bundle_over_ready']['median']:.3f}",
            flush=True,
        )
    return rows


def eager_loop(net: torch.nn.Module, net_input: Input, accept_at: float) -> Callable[[Path], bool]:
    """What a user would write: PIL, the resize in torch, the net, a threshold."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    side = net_input.size_px

    def run(file: Path) -> bool:
        with Image.open(file) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB")))
        with torch.inference_mode():
            x = pixels.permute(2, 0, 1)[None].float() / 255
            x = torch.nn.functional.interpolate(x, (side, side), mode="bilinear", antialias=True, align_corners=False)
            logits = net((x - mean) / std)
        return bool(margin(logits.numpy(), [0])[0] >= accept_at)

    return run


def race(files: list[Path], kinds: dict[str, Callable[[Path], object]]) -> dict[str, np.ndarray]:
    """ms of every kind on every file, one after the other for each file, in an order that changes."""
    took: dict[str, list[float]] = {kind: [] for kind in kinds}
    order = list(kinds)
    for run in kinds.values():
        for file in files[:5]:
            run(file)
    for file in files:
        order.append(order.pop(0))
        for kind in order:
            begun = time.perf_counter()
            kinds[kind](file)
            took[kind].append(1e3 * (time.perf_counter() - begun))
    return {kind: np.array(times) for kind, times in took.items()}


def spread(values: np.ndarray) -> dict[str, float]:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"median": round(float(middle), 4), "p25": round(float(low), 4), "p75": round(float(high), 4)}


if __name__ == "__main__":
    main()
