"""A line that says ten sentences a part into a stderr that nobody reads: python -m tests.line.talkative STORE PARTS"""

import os
import sys
from pathlib import Path

from lineside.line.log import open_log
from lineside.line.said import Said
from lineside.line.sink.sink import Sink
from lineside.line.source.frame import Frame, Source
from lineside.line.tables import Log as LogSettings
from lineside.store.open import open_store
from tests.line.tiny import RED, picture, run, stub


def main(store: str, parts: str) -> None:
    os.set_blocking(2, False)
    try:
        while os.write(2, b"x" * 4096):
            pass
    except BlockingIOError:
        os.set_blocking(2, True)
    said = 0

    def frames():
        for n in range(1, int(parts) + 1):
            yield Frame(f"p{n}", n, "x", picture=picture(RED))

    def tell(group):
        for one in group:
            for _ in range(10):
                say(Said("note", f"about {one.part_id}: " + "word " * 40))

    def say(what):
        nonlocal said
        said += 1
        log.say(what)

    engine = open_store(Path(store))
    with open_log(LogSettings(), "l", {}) as log:
        source = Source("mem:", frames(), int(parts))
        summary = run(stub(), source, [Sink("talk:", tell, lambda: None)], engine, say=say)
    engine.dispose()
    print(said, summary.stored, log.dropped, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
