"""The command `lineside`: finds the verb, reads its flags, turns errors into sentences and exit codes.

A verb is a module with `arguments(parser)` and `run(args) -> int`. It is imported only when it is asked for, so
`lineside --help` answers at once. Exit codes are those of errors.py.
"""

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence

from lineside import __version__
from lineside.errors import LinesideError, MissingExtra, SettingsError
from lineside.terminal import lines_shown

VERBS = {  # verb: (module, what it does)
    "demo": ("lineside.cli.demo", "the whole chain on the built-in nuts, in under four minutes"),
    "check": ("lineside.cli.check", "the data doctor: what is wrong with a folder of pictures"),
    "train": ("lineside.cli.train", "split, train, calibrate and write a bundle"),
    "evaluate": ("lineside.cli.evaluate", "how good a bundle is, with intervals and a report"),
    "combine": ("lineside.cli.combine", "several bundles as one: an ensemble, or a soup of their weights"),
    "explain": ("lineside.cli.explain", "what the net looked at: activation maps, filters, feature maps"),
    "export": ("lineside.cli.export", "another engine or precision, if parity allows it"),
    "verify": ("lineside.cli.verify", "is a bundle whole, unchanged and signed; does a store fit its hash chain"),
    "nets": ("lineside.cli.nets", "which nets there are, what they cost and reach"),
    "cost": ("lineside.cli.cost", "what a net costs, layer by layer; several are compared"),
    "recommend": ("lineside.cli.recommend", "which net, within a budget, by measurement on this machine"),
    "run": ("lineside.cli.run", "the line: pictures in, verdicts out, every result stored"),
    "control": ("lineside.cli.control", "tell a running line what to do: product, stop, reset, master parts …"),
    "override": ("lineside.cli.override", "a person's word on a result, beside the machine's, with who and why"),
    "soak": ("lineside.cli.soak", "run the line for long, and report times, counts that must agree, growth"),
    "forget": (
        "lineside.cli.forget",
        "delete old inspections that all consumers have acknowledged; let a consumer go",
    ),
    "history": ("lineside.cli.history", "what happened: inspections out of a store, as a table, CSV or Parquet"),
}
EXIT_CODES = """exit codes: 0 done · 1 an honest no (errors found, refused, nothing fits, a promise asked for with
`evaluate --max-escape` or `--confidence` not shown, an operating point contradicted by test) · 2 flags or
settings, or a file that can not be used · 3 data · 4 bundle · 5 training · 6 source, sink or store · 7 an
optional part is not installed · 8 the station halted: a person has to look · 130 Ctrl-C · 141 nobody read the
answer to its end

`train`, `combine`, and `evaluate` without those two say whether the bundle's own promise is shown, and end
with 0 either way: its thresholds are as strict as its parts could show. `evaluate --json` has it as "verdict"."""
SPINS = "3000"  # turns of a thread of torch's that waits for others, before it sleeps
BROKEN_PIPE = 141  # 128 + SIGPIPE, as a shell says of others


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code."""
    _say_what_can_be_said()
    let_threads_sleep()
    code = _answer(sys.argv[1:] if argv is None else list(argv))
    try:
        sys.stdout.flush()
        return code
    except OSError as error:  # Python would try again when it exits, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code or _unwritten(error)


def _say_what_can_be_said() -> None:
    """A letter that the terminal's encoding lacks (ISO-8859-1 has no ≤) is printed as \\u2264, a file name that is no
    Unicode likewise: an answer that took an hour is not lost to one letter."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def let_threads_sleep() -> None:
    """torch's threads wait for each other at every layer. With libgomp's own 300,000 turns a training step takes many
    times as long beside programs that keep the cores busy; with few it shares the cores, and alone it is about as quick
    (benchmarks/busy_machine.py). Read when torch is loaded; who has chosen otherwise keeps his choice."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def _answer(argv: list[str]) -> int:
    try:
        args = _parser(only=argv[0] if argv and argv[0] in VERBS else None).parse_args(argv)
        return args.run(args)
    except LinesideError as error:
        return _say(error)
    except KeyboardInterrupt:
        print("lineside: stopped by Ctrl-C", file=sys.stderr)
        return 130
    except OSError as error:  # the last resort: a verb knows better what was wanted
        return _unwritten(error)
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in EXTRA_OF:
            return _say(MissingExtra("this command", error.name.split(".")[0], EXTRA_OF[error.name.split(".")[0]]))
        raise


EXTRA_OF = {  # what can be missing on a machine that runs only the running half: its extra
    "torch": "train",
    "onnx": "train",
    "onnxscript": "train",
    "safetensors": "train",
    "tensorboard": "train",
    "matplotlib": "train",
    "filelock": "train",
    "openvino": "openvino",
    "mitsuba": "render",
    "bd_warehouse": "render",
    "watchfiles": "watch",
    "av": "video",
    "pypylon": "basler",
    "harvesters": "genicam",
    "gi": "aravis",
    "pymodbus": "modbus",
    "snap7": "s7",
    "asyncua": "opcua",
    "paho": "mqtt",
    "prometheus_client": "metrics",
    "psycopg": "postgres",
    "pyarrow": "parquet",
}


def _say(error: LinesideError) -> int:
    print(f"lineside: {lines_shown(str(error))}", file=sys.stderr)
    return error.exit_code


def _unwritten(error: OSError) -> int:
    """What the system refused, as a sentence. Of a reader who has seen enough (`lineside check … | head`): nothing."""
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    where = f"{error.filename}: " if error.filename else ""
    return _say(SettingsError(f"{where}{error.strerror or error}; look at the name, its permissions and the disk"))


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Names a default where there is one: "(default: None)" behind a flag tells nobody anything."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return super()._get_help_string(action) if action.default else action.help


def _parser(only: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lineside",
        description="Turn a folder of images into an inspection one can trust, and run it on the line.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"lineside {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, (module, summary) in VERBS.items():
        sub = verbs.add_parser(name, help=summary, description=summary, formatter_class=_Help)
        if name == only:
            verb = importlib.import_module(module)
            verb.arguments(sub)
            sub.set_defaults(run=verb.run)
    return parser
