"""How long one picture takes: the bundle's runtime end to end, against eager PyTorch and against the bare engine.

For each net and served engine, at batch 1, taking turns picture by picture:

    bundle    file → data/picture.py → the bundle's engine → margin and verdict     (what the line does)
    ready     the same engine on a decoded array, nothing else: the bare engine
    decode    file → data/picture.py alone
    eager     file → PIL → resize and net in eager float32 torch → threshold: what a user would write instead

eager has a process of its own: torch's threads would take a core from whoever runs next in the same one. Ratios are
taken picture by picture, so that a busy machine slows both sides, and given as a median with its quartiles.
Writes benchmarks/results/inference.json.

    python -m benchmarks.inference [DATA] [--nets resnet18 …] [--pictures 60] [--threads 2]
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks import real_data, record
from lineside.bundle import engine, export
from lineside.bundle.manifest import EngineName, Precision
from lineside.bundle.quantise import int8
from lineside.data import picture, read
from lineside.evidence.operating import OperatingPoint, choose
from lineside.nets.catalog import NETS
from lineside.nets.input import Input
from lineside.tasks.classify.decode import decider, margin

DEFAULT_NETS = ("resnet18", "resnet50", "mobilenet_v2", "efficientnet_lite0")
ENGINES: tuple[tuple[EngineName, Precision], ...] = (
    ("onnxruntime", "float32"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("onnxruntime", "int8"),
    ("openvino", "int8"),
)
CLASSES, ACCEPT = ("a", "b", "c"), ("a",)
PAUSE_S = 0.02  # after each run: threads that spin for the next one have gone to sleep
SPAWN = multiprocessing.get_context("spawn")
Kinds = dict[str, Callable[[Path], object]]
Time = Callable[[str, Path], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "data", metavar="DATA", nargs="?", help="as lineside reads it; by default neu-det, if it is here"
    )
    parser.add_argument("--nets", nargs="+", default=DEFAULT_NETS)
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = args.data or real_data.at_hand(["neu-det"], Path(folder)).get("neu-det")
        if source is None:
            return
        dataset = read.read(source)
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
    row = NETS[name]
    graph = export.to_onnx(random_net(name), Input(row.size_px, row.mean, row.std), 1.0)
    narrow = int8(graph, files)
    with racing(partial(eager, name, threads)) as eagerly:
        rows = []
        for which, precision in ENGINES:
            with racing(
                partial(runtime, narrow if precision == "int8" else graph, which, precision, threads, files)
            ) as ours:
                took = race(files, {"bundle": ours, "ready": ours, "decode": ours, "eager": eagerly})
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


def random_net(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return NETS[name].build(len(CLASSES)).eval()


def operating_point() -> OperatingPoint:
    rng = np.random.default_rng(0)
    is_good = np.arange(200) % 2 == 0
    return choose(rng.normal(size=200) + 4 * is_good, is_good, max_escape=0.05)


def runtime(graph: bytes, which: EngineName, precision: Precision, threads: int, files: list[Path]) -> Kinds:
    """What the line does with a file, and its parts."""
    decide = decider(CLASSES, ACCEPT, operating_point())
    infer = engine.open_model(which, graph, precision, threads)
    pictures = {file: picture.load(file)[None] for file in files}
    return {
        "bundle": lambda file: decide(infer(picture.load(file)[None])[0]),
        "ready": lambda file: infer(pictures[file]),
        "decode": picture.load,
    }


def eager(name: str, threads: int) -> Kinds:
    """What a user would write: PIL, the resize in torch, the net, a threshold."""
    torch.set_num_threads(threads)
    net, side, accept_at = random_net(name), NETS[name].size_px, operating_point().accept_at
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def run(file: Path) -> bool:
        with Image.open(file) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB")))
        with torch.inference_mode():
            x = pixels.permute(2, 0, 1)[None].float() / 255
            x = torch.nn.functional.interpolate(x, (side, side), mode="bilinear", antialias=True, align_corners=False)
            logits = net((x - mean) / std)
        return bool(margin(logits.numpy(), [0])[0] >= accept_at)

    return {"eager": run}


def race(files: list[Path], kinds: dict[str, Time]) -> dict[str, np.ndarray]:
    """ms of every kind on every file, one after the other for each file, in an order that changes."""
    took: dict[str, list[float]] = {kind: [] for kind in kinds}
    order = list(kinds)
    for kind, timed in kinds.items():
        for file in files[:10]:
            timed(kind, file)
    for file in files:
        order.append(order.pop(0))
        for kind in order:
            took[kind].append(kinds[kind](kind, file))
    return {kind: np.array(times) for kind, times in took.items()}


@contextmanager
def racing(make: Callable[[], Kinds]) -> Iterator[Time]:
    """A process that has made its kinds and waits: time(kind, file) → ms there."""
    here, there = SPAWN.Pipe()
    process = SPAWN.Process(target=_wait, args=(make, there), daemon=True)
    process.start()

    def timed(kind: str, file: Path) -> float:
        here.send((kind, file))
        return here.recv()

    try:
        yield timed
    finally:
        here.send(None)
        process.join()


def _wait(make: Callable[[], Kinds], pipe: Connection) -> None:
    kinds = make()
    while asked := pipe.recv():
        kind, file = asked
        run = kinds[kind]
        begun = time.perf_counter()
        run(file)
        took = 1e3 * (time.perf_counter() - begun)
        time.sleep(PAUSE_S)
        pipe.send(took)


def spread(values: np.ndarray) -> dict[str, float]:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"median": round(float(middle), 4), "p25": round(float(low), 4), "p75": round(float(high), 4)}


if __name__ == "__main__":
    main()
