"""What the line costs beside its engine: frame in memory → verdict, and the share of the engine's rate that is left.

    python -m benchmarks.line_overhead [--rounds 9] [--parts 120]

Engine: EfficientNet-Lite0 (the quickest net here, so the hardest case) and ResNet-50 as a bundle has them (one graph
from raw pictures; random weights: they cost the same), ONNX Runtime, float32, on all cores, where whatever the line
does takes time from the engine, or on one, where another is free for it. In every round the bare
engine, the loop that a user would write instead (OpenCV's BGR pictures to RGB, ONNX Runtime with the same file and its
own defaults, a threshold, a row of CSV: no store, no deadline, nobody told) and the whole line (station, journal,
SQLite store with synchronous = FULL, CSV sink) take the same pictures, so that all see the same load of the machine.
The loop is left out without its package, which is none of ours: pip install opencv-python-headless

overhead_ms   per part: trigger → verdict, less the engine's own time; p50 and p99 over all parts of all rounds, each
              part triggered when the one before has its verdict
actuator_ms   the same to the moment at which the gate has the PLC's confirmation of the verdict: the whole line again,
              with a PLC double (Modbus TCP, pymodbus, a process of its own on this machine: its time counts, too)
share         parts/s of the line ÷ parts/s of the bare engine, and of the loop; median, least and greatest over rounds.
              sustained: parts come faster than they can be judged, up to 16 are in flight.
              one by one: each part is triggered when the one before has its verdict
commit_ms     of the store alone: one group of rows, by group size and synchronous level; median of 60
"""

import argparse
import csv
import multiprocessing
import os
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks import record
from lineside.line.gate.catalog import open_gate
from lineside.line.latency import Histogram, Latency
from lineside.line.process import share_arenas
from tests.line.gate.doubles import plc

LITE, HEAVY = "efficientnet_lite0", "resnet50"
ALL, ONE = None, 1  # the engine's threads
ROWS = {  # net, height, width, threads of engine and loop
    "192 x 192": (LITE, 192, 192, ALL),
    "1 megapixel": (LITE, 1000, 1000, ALL),
    "1 megapixel, ResNet-50": (HEAVY, 1000, 1000, ALL),
    "192 x 192, engine on one core": (LITE, 192, 192, ONE),
    "1 megapixel, engine on one core": (LITE, 1000, 1000, ONE),
}
CLASSES = ("defective", "good")


class Each:
    """A gate's histogram that keeps each time, too, in the order of the parts."""

    def __init__(self) -> None:
        self.all_ms: list[float] = []
        self._counted = Histogram()

    def add(self, ms: float) -> None:
        self.all_ms.append(ms)
        self._counted.add(ms)

    def latency(self) -> Latency:
        return self._counted.latency()


def export(path: Path, name: str = LITE) -> None:
    """In a process of its own: the line's must not have torch in it."""
    from lineside.bundle.export import to_onnx
    from lineside.nets.catalog import NETS
    from lineside.nets.input import Input

    net = NETS[name]
    entry = Input(net.size_px, net.mean, net.std)
    path.write_bytes(to_onnx(net.build(len(CLASSES)).eval(), entry, 1.0))


def model(graph: bytes, threads: int | None):
    from lineside.bundle.engine import open_model
    from lineside.bundle.manifest import Data, Input, Manifest, Served
    from lineside.bundle.model import Model
    from lineside.evidence.operating import choose

    served = Served("onnxruntime", "float32", "model.onnx")
    margins = np.linspace(-3, 3, 400)
    manifest = Manifest(
        format=1,
        task="classify",
        created="2026-11-22T00:00:00Z",
        classes=CLASSES,
        accept=("good",),
        input=Input(224, (0.5,) * 3, (0.5,) * 3, 8, (8, 4000), (8, 4000)),
        net="efficientnet_lite0",
        temperature=1.0,
        served=(served,),
        data=Data(source="", root="", counts={}, sha256="0" * 64),
        files={"model.onnx": "0" * 64},
        operating_point=choose(margins, margins > 0, max_escape=0.05),
    )
    return Model(Path("lite0.bundle"), manifest, "0" * 64, served, open_model("onnxruntime", graph, "float32", threads))


def plain(graph: Path, pictures: list[np.ndarray], log: Path, threads: int | None):
    """parts → parts/s of the loop that a user would write."""
    import cv2
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0  # 0: ONNX Runtime's own default
    session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    seen = [cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) for picture in pictures]  # as OpenCV's cameras give them

    def loop(parts: int) -> float:
        with log.open("w", newline="") as file:
            rows = csv.writer(file)
            begun = time.perf_counter()
            for n in range(parts):
                picture = cv2.cvtColor(seen[n % len(seen)], cv2.COLOR_BGR2RGB)
                (scores,) = session.run(["scores"], {session.get_inputs()[0].name: picture[None]})
                good = float(scores[0][CLASSES.index("good")])
                rows.writerow([n, "accept" if good > 0.5 else "reject", good])
                file.flush()
            return parts / (time.perf_counter() - begun)

    loop(8)
    return loop


def measure(
    net: str, size: tuple[int, int], threads: int | None, rounds: int, parts: int, folder: Path, plc_port: int
) -> dict:
    from lineside.line.gate.gate import Gate
    from lineside.line.pace import Pace
    from lineside.line.run import run
    from lineside.line.sink.catalog import open_sink
    from lineside.line.sink.sink import Sink
    from lineside.line.source.frame import Frame, Source
    from lineside.line.view import only
    from lineside.store.journal import memory
    from lineside.store.open import open_store

    name = f"{net}-{size[0]}-{threads or 'all'}"
    graph = folder / f"{name}.onnx"
    worker = multiprocessing.get_context("spawn").Process(target=export, args=(graph, net))
    worker.start()
    worker.join()
    engine = model(graph.read_bytes(), threads)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for _ in range(8)]
    told: list = []
    sinks = [open_sink(f"csv:{folder}/{name}.csv"), Sink("list:", told.extend, lambda: None)]
    store = open_store(folder / f"{name}.db")
    loop = plain(graph, pictures, folder / "plain.csv", threads) if find_spec("cv2") else None
    bare_ms: list[float] = []
    loop_ms: list[float] = []
    shares: dict[str, list[float]] = {"one by one": [], "sustained": []}
    loop_shares: dict[str, list[float]] = {"one by one": [], "sustained": []}
    one_by_one: list = []
    at_actuator: list[float] = []

    def line(max_fps: float | None, gate: Gate | None = None) -> float:
        """parts → parts/s of the whole line; what it decided is in told."""
        frames = (Frame(str(n), n, "memory", picture=pictures[n % 8]) for n in range(1, parts + 1))
        told.clear()
        views, pace = only(engine, Source("memory:", frames, parts)), Pace(max_fps=max_fps)
        summary = run(views, sinks, store, pace=pace, gate=gate, journal=memory({}))
        assert not summary.fault, summary.fault
        assert summary.stored == summary.parts == parts
        assert summary.parts_per_second is not None
        return summary.parts_per_second

    for _ in range(rounds):
        begun = time.perf_counter()
        for n in range(parts):
            engine.infer(pictures[n % 8][None])
        bare = parts / (time.perf_counter() - begun)
        bare_ms.append(1000 / bare)
        if loop:
            looped = loop(parts)
            loop_ms.append(1000 / looped)
        for way, max_fps in (("one by one", None), ("sustained", 1e4)):
            reached = line(max_fps)
            shares[way].append(reached / bare)
            if loop:
                loop_shares[way].append(reached / looped)
            one_by_one += told if max_fps is None else []
        gate = open_gate(f"modbus://127.0.0.1:{plc_port}?deadline_ms=1000&pass_ms=2")
        gate.ends = ends = Each()
        line(None, gate)
        at_actuator += (ms - one.infer_ms for ms, one in zip(ends.all_ms, told, strict=True))
    store.dispose()
    over = [one.total_ms - one.infer_ms for one in one_by_one]
    return {
        "net": net,
        "picture": list(size),
        "engine_threads": threads or "all cores",
        "parts": len(over),
        "rounds": rounds,
        "bare_engine_ms_median": round(float(np.median(bare_ms)), 3),
        "overhead_ms": quantiles(over),
        "actuator_ms": quantiles(at_actuator),
        "share_of_engine_rate": {way: spread(found) for way, found in shares.items()},
        "plain_loop_ms_median": round(float(np.median(loop_ms)), 3) if loop else None,
        "share_of_plain_loops_rate": {way: spread(found) for way, found in loop_shares.items()} if loop else None,
    }


def quantiles(times_ms: list[float]) -> dict[str, float]:
    return {f"p{100 * q:.0f}": round(float(np.quantile(times_ms, q)), 3) for q in (0.5, 0.99)}


def spread(found: list[float]) -> dict[str, float]:
    return {
        "median": round(float(np.median(found)), 3),
        "least": round(min(found), 3),
        "greatest": round(max(found), 3),
    }


def commits(folder: Path) -> dict:
    """Milliseconds per commit of the store, by synchronous level and rows per commit."""
    from dataclasses import asdict

    from sqlalchemy import insert

    from lineside.store import open as opening
    from lineside.store.records import Inspection, Run
    from lineside.store.tables import INSPECTION, RUN

    now = datetime.now(UTC)
    one = Inspection(
        "", "r", 0, "1", "good/000001.png", "0" * 64, "good", 0.99, {"defective": 0.01, "good": 0.99}, 4.6, "accept",
        "decided", "", "good", now, now, 0.5, 5.0, 0.01, 5.9,
    )  # fmt: skip
    found = {}
    for level in ("FULL", "NORMAL"):
        opening.PRAGMAS, before = (f"synchronous = {level}",), opening.PRAGMAS
        engine = opening.open_store(folder / f"{level}.db")
        with engine.begin() as connection:
            connection.execute(insert(RUN), asdict(Run("r", now, "", "", "", "", {})))
        sequence = 0
        for size in (1, 20):
            times = []
            for _ in range(60):
                rows = []
                for _ in range(size):
                    sequence += 1
                    rows.append(asdict(replace(one, id=f"{sequence:032}", sequence=sequence)))
                begun = time.perf_counter()
                with engine.begin() as connection:
                    connection.execute(insert(INSPECTION), rows)
                times.append(1000 * (time.perf_counter() - begun))
            found[f"{level}, {size} rows"] = round(float(np.median(times)), 3)
        engine.dispose()
        opening.PRAGMAS = before
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--parts", type=int, default=120, help="per round")
    args = parser.parse_args()
    share_arenas(os.environ)  # as `lineside run` does
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        with plc(folder) as double:
            rows = {
                name: measure(net, (height, width), threads, args.rounds, args.parts, folder, double.port)
                for name, (net, height, width, threads) in ROWS.items()
            }
        rows["commit_ms"] = commits(folder)
    packages = ("numpy", "onnxruntime", "sqlalchemy", "pymodbus")
    path = record.write("line_overhead", (__doc__ or "").splitlines()[0], rows, packages)
    print(path.read_text())


if __name__ == "__main__":
    main()
