"""lineside run BUNDLE: the line. Pictures in, verdicts out, every result stored. No logic here: line/run.py has it."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lineside.cli.numbers import above_zero, at_least_one


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="what `lineside train` wrote: a folder or a .zip")
    parser.add_argument(
        "--source", required=True, metavar="URL", help="folder:PATH, basler:SERIAL, nuts: …; docs/sources.md"
    )
    parser.add_argument("--max-fps", type=above_zero, metavar="N", help="trigger N parts a second, by the clock")
    parser.add_argument("--deadline-ms", type=above_zero, metavar="N", help="reject a part that has no verdict by then")
    parser.add_argument(
        "--to",
        action="append",
        default=[],
        metavar="URL",
        help="csv:PATH, stdout:, mqtt://…, opcua://HOST, webhook:…; repeatable",
    )
    parser.add_argument(
        "--gate", metavar="URL", help="the PLC that moves the parts: modbus://HOST?unit=1 or s7://HOST?db=N"
    )
    parser.add_argument(
        "--store", metavar="FILE", help="where results are kept: a file or postgresql://…; BUNDLE.db if not given"
    )
    parser.add_argument("--parts", type=at_least_one, metavar="N", help="stop after N parts")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(args: argparse.Namespace) -> int:
    import json
    import queue

    import numpy as np

    from lineside.bundle.folder import outside
    from lineside.errors import LineError
    from lineside.line import run as line
    from lineside.line.control import Finish, Inbox
    from lineside.line.decide import doubts
    from lineside.line.gate.catalog import open_gate
    from lineside.line.sink.catalog import open_sink
    from lineside.line.sink.sink import Sink
    from lineside.line.start import start
    from lineside.line.summary import text
    from lineside.line.view import only
    from lineside.progress import bar
    from lineside.settings import plain
    from lineside.store.open import default_store, is_url, open_store

    inbox: Inbox = queue.SimpleQueue()
    with ExitStack() as stack:
        model, source, drift = start(args.bundle, args.source, np.random.default_rng(0))
        stack.callback(source.close)
        sinks = [open_sink(url, args.bundle) for url in args.to]
        for sink in sinks:
            if isinstance(sink, Sink):
                stack.callback(sink.close)
        if args.store and not is_url(args.store):
            outside(args.bundle, args.store)
        store = open_store(args.store or default_store(args.bundle))
        stack.callback(store.dispose)
        gate = open_gate(args.gate) if args.gate else None
        if gate:
            stack.callback(gate.close, "stopped")
        for note in (*doubts(model), *source.notes):
            print(note, file=sys.stderr)
        with _on_signal(lambda: inbox.put(Finish())), bar("line", unit="parts") as progress:
            summary = line.run(
                only(model, source, drift),
                sinks,
                store,
                pace=line.Pace(deadline_ms=args.deadline_ms, max_fps=args.max_fps, parts=args.parts),
                gate=gate,
                inbox=inbox,
                say=lambda sentence: print(sentence, file=sys.stderr),
                progress=progress,
            )
    # Where results go to stdout, nothing else does.
    out = sys.stderr if any(sink.url.startswith("stdout:") for sink in sinks) else sys.stdout
    try:
        print(json.dumps(plain(summary), indent=1) if args.json else text(summary), file=out)
    finally:  # whoever leaves before the summary must not take the fault with him
        if summary.fault:
            raise LineError(f"the line stopped, and rejected what was in flight: {summary.fault}")
    return 130 if summary.interrupted else 0


@contextmanager
def _on_signal(finish: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM lets the part in flight come to its end; a second one acts as it always does."""

    def first(number: int, _: object) -> None:
        for one, handler in before.items():
            signal.signal(one, handler)
        finish()

    before = {number: signal.signal(number, first) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
