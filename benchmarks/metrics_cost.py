"""What /metrics costs a line: times per part with nobody scraping, with a scrape every second, and ten a second.

    python -m benchmarks.metrics_cost [--rounds 5] [--parts 300]

The line of line_overhead.py's 192 × 192 picture (EfficientNet-Lite0, ONNX Runtime, float32; SQLite with synchronous =
FULL, CSV sink), a part every 50 ms by the clock, as on a conveyor. A process of its own scrapes over HTTP; the page has
everything but a PLC. The three take turns in every round, so that all see the same load of the machine. Prometheus
itself asks every 15 s.

overhead_ms   per part: trigger → verdict, less the engine's own time; over all parts of all rounds
scrape_ms     one scrape as its client sees it: median, p95
collect_ms    of the line's own interpreter for one page, measured alone: how long it may have to wait; median of 200
"""

import argparse
import multiprocessing
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np

from benchmarks import line_overhead, record

FPS = 20.0
EVERY_S = {"nobody": None, "every second": 1.0, "ten a second": 0.1}


def scrape(url: str, every_s: float, stop, took) -> None:
    """In a process of its own."""
    times = []
    while not stop.wait(every_s):
        begun = time.perf_counter()
        with urllib.request.urlopen(url, timeout=10) as answer:
            answer.read()
        times.append(1000 * (time.perf_counter() - begun))
    took.put(times)


def measure(rounds: int, parts: int, folder: Path) -> dict:
    from prometheus_client import generate_latest

    from lineside.evidence.drift import Detector
    from lineside.line.metrics import registry, serve
    from lineside.line.pace import Pace
    from lineside.line.run import run
    from lineside.line.sink.catalog import open_sink
    from lineside.line.sink.sink import Sink
    from lineside.line.snapshot import Window
    from lineside.line.source.frame import Frame, Source
    from lineside.line.view import only
    from lineside.store.open import open_store

    spawn = multiprocessing.get_context("spawn")
    worker = spawn.Process(target=line_overhead.export, args=(folder / "m.onnx",))
    worker.start()
    worker.join()
    engine = line_overhead.model((folder / "m.onnx").read_bytes())
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (192, 192, 3)).astype(np.uint8) for _ in range(8)]
    calibrate = {name: {"margin": rng.normal(0, 1, 200)} for name in line_overhead.CLASSES}
    store = open_store(folder / "line.db")
    over: dict[str, list[float]] = {name: [] for name in EVERY_S}
    took: dict[str, list[float]] = {name: [] for name in EVERY_S}
    alone: list[float] = []
    for _ in range(rounds):
        for name, every_s in EVERY_S.items():
            told: list = []
            sinks = [open_sink(f"csv:{folder}/r.csv"), Sink("list:", told.extend, lambda: None)]
            window = Window("benchmark")
            frames = (Frame(str(n), n, "memory", picture=pictures[n % 8]) for n in range(1, parts + 1))
            views = only(engine, Source("memory:", frames, parts), Detector(calibrate, rng=rng))
            with serve("127.0.0.1:0", window) as page:
                stop, answers, client = spawn.Event(), spawn.Queue(), None
                if every_s is not None:
                    client = spawn.Process(target=scrape, args=(page.url, every_s, stop, answers))
                    client.start()
                    time.sleep(2)  # its interpreter is up before the first part
                summary = run(views, sinks, store, pace=Pace(max_fps=FPS), window=window)
                if client is not None:
                    stop.set()
                    took[name] += answers.get()
                    client.join()
            sinks[0].close()
            assert summary.stored == summary.parts == parts
            over[name] += [one.total_ms - one.infer_ms for one in told]
        found = registry(window)
        for _ in range(200 // rounds):
            begun = time.perf_counter()
            generate_latest(found)
            alone.append(1000 * (time.perf_counter() - begun))
    store.dispose()
    quantiles = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    rows: dict = {
        name: {
            "parts": len(values),
            "overhead_ms": {q: round(float(np.quantile(values, at)), 3) for q, at in quantiles.items()},
            "scrapes": len(took[name]),
            "scrape_ms": [round(float(np.quantile(took[name], at)), 2) for at in (0.5, 0.95)] if took[name] else None,
        }
        for name, values in over.items()
    }
    return rows | {"collect_ms": round(float(np.median(alone)), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", type=int, default=300, help="per round and kind")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        rows = measure(args.rounds, args.parts, Path(folder))
    packages = ("numpy", "onnxruntime", "sqlalchemy", "prometheus_client")
    print(record.write("metrics_cost", (__doc__ or "").splitlines()[0], rows, packages).read_text())


if __name__ == "__main__":
    main()
