"""A line in a process of its own, to be killed: python -m tests.faults.line STORE URL PARTS FPS"""

import sys
from pathlib import Path

from lineside.line.sink.catalog import open_sink
from lineside.line.source.frame import Frame, Source
from lineside.store.open import open_store
from tests.line.tiny import RED, picture, run, stub


def main(store: str, url: str, parts: str, fps: str) -> None:
    frames = (Frame(f"p{n}", n, f"{n}.png", picture=picture(RED)) for n in range(1, int(parts) + 1))
    engine = open_store(Path(store))
    summary = run(stub(), Source("mem:", frames, int(parts)), [open_sink(url)], engine, max_fps=float(fps))
    engine.dispose()
    print(summary.stored, summary.outboxes[0].pending, summary.fault)


if __name__ == "__main__":
    main(*sys.argv[1:])
