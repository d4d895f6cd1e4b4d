"""lineside run LINE: the line. Pictures in, verdicts out, every result stored. No logic here: line/run.py has it."""

import argparse
import atexit
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from lineside.cli.numbers import above_zero, at_least_one

if TYPE_CHECKING:
    from lineside.line.messages import Inbox
    from lineside.line.open import Opened
    from lineside.line.said import Say
    from lineside.line.settings import Settings
    from lineside.line.snapshot import Window
    from lineside.progress import Progress

STAND_IN_THE_FILE = {  # flag: the setting of line.toml in its place
    "source": "cameras",
    "max_fps": "parts.max_fps",
    "deadline_ms": "parts.deadline_ms",
    "to": "sinks",
    "gate": "gate",
    "store": "store.url",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "line",
        metavar="LINE",
        type=Path,
        help="line.toml, which describes the whole line; or a BUNDLE (a folder or a .zip) with --source",
    )
    parser.add_argument("--source", metavar="URL", help="folder:PATH, basler:SERIAL, nuts: …; docs/sources.md")
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
    parser.add_argument(
        "--check",
        action="store_true",
        help="open everything, take one picture of each camera, say what was found, move nothing; exit 1 if it fails",
    )
    parser.add_argument("--json", action="store_true", help="print the summary, or the findings, as JSON")


def run(args: argparse.Namespace) -> int:
    import json
    import queue

    from lineside.errors import HaltError, LineError
    from lineside.line.messages import Finish, Inbox
    from lineside.line.open import work
    from lineside.line.summary import text
    from lineside.line.systemd import service
    from lineside.settings import plain
    from lineside.store.journal import memory

    settings = _settings(args)
    if args.check:
        return _check(settings, args.json)
    inbox: Inbox = queue.SimpleQueue()
    with (
        opened_line(settings, inbox) as (it, say, window),
        on_signal(lambda: inbox.put(Finish())),
        _bar() as progress,
    ):
        summary = work(
            it,
            inbox=inbox,
            say=say,
            journal=memory(os.environ),
            service=service(os.environ, os.getpid()),
            window=window,
            progress=progress,
        )
    if summary.hangs:  # to end the interpreter under a running inference would abort it, and its answer with it
        atexit.register(_leave)
    # Where results go to stdout, nothing else does.
    out = sys.stderr if any(sink.url.startswith("stdout:") for sink in it.sinks) else sys.stdout
    try:
        print(json.dumps(plain(summary), indent=1) if args.json else text(summary), file=out)
    finally:  # whoever leaves before the summary must not take the fault with him
        if summary.fault:
            kind = HaltError if summary.halted else LineError
            raise kind(f"the line stopped, and rejected what was in flight: {summary.fault}")
    return 130 if summary.interrupted else 0


def _leave() -> None:
    """End at once, with what was said told: the exit code of a line that stopped by itself."""
    from lineside.errors import LineError

    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(LineError.exit_code)


def _check(settings: "Settings", as_json: bool) -> int:
    """0 if everything will do, 1 if not."""
    import json

    from lineside.line import check

    findings: list[check.Found] = []
    for one in check.check(settings):
        findings.append(one)
        if not as_json:
            print(one.line(), flush=True)
    if as_json:
        print(json.dumps(check.as_json(findings), indent=1))
    return 0 if all(one.ok for one in findings) else 1


def _settings(args: argparse.Namespace) -> "Settings":
    """The line of line.toml, or of the flags."""
    from dataclasses import replace

    from lineside.errors import SettingsError
    from lineside.line.settings import of_flags, read_line

    if args.line.suffix.lower() == ".toml":
        for flag, key in STAND_IN_THE_FILE.items():
            if getattr(args, flag):
                raise SettingsError(f"--{flag.replace('_', '-')}: {args.line} says that: set {key} there")
        line = read_line(args.line)
        return line if args.parts is None else replace(line, parts=replace(line.parts, limit=args.parts))
    if args.source is None:
        raise SettingsError(
            f"{args.line}: expected line.toml, or a bundle and where its pictures come from: --source URL"
        )
    return of_flags(
        args.line,
        args.source,
        sinks=args.to,
        gate=args.gate,
        store=args.store,
        max_fps=args.max_fps,
        deadline_ms=args.deadline_ms,
        limit=args.parts,
    )


def _bar() -> "AbstractContextManager[Progress]":
    """Only on a terminal: a pipe that nobody reads must not keep the line from its end."""
    from lineside.progress import bar, silent

    return bar("line", unit="parts") if sys.stderr.isatty() else nullcontext(silent)


@contextmanager
def opened_line(settings: "Settings", inbox: "Inbox") -> "Iterator[tuple[Opened, Say, Window]]":
    """The line, its log and what it shows, when its notes are said; its threads share malloc's room.

    While it is being opened SIGTERM does what Ctrl-C does: what is open is let go, and files are put away.
    """
    import numpy as np

    from lineside.line.open import opened, told
    from lineside.line.process import share_arenas
    from lineside.line.said import Said

    share_arenas(os.environ)
    with told(settings) as (say, window), ExitStack() as line:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            it = line.enter_context(opened(settings, np.random.default_rng(0), inbox.put))
            for note in it.notes:
                say(Said("note", note))
        finally:
            signal.signal(signal.SIGTERM, before)
        yield it, say, window


@contextmanager
def on_signal(finish: Callable[[], None]) -> Iterator[None]:
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
