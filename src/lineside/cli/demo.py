"""`lineside demo`: the whole chain on the built-in nuts, as the commands one would type.

check → train → evaluate → verify → a simulated shift of 300 parts; each command is shown before it runs. No logic of
its own: the closing lines are read from the bundle and from what the line said.
"""

import argparse
import contextlib
import io
import json
import sys
from pathlib import Path
from time import monotonic

from lineside.cli.numbers import at_least_one

PARTS = 300
# Enough to show the chain within four minutes on two cores, also where they have no bfloat16; the defaults (15 epochs,
# 8 views, from stage4 on) make a better net in three times as long.
RECIPE = 'epochs = 6\nviews = 6\nfreeze_below = "stage5"\n'
# What calibrate can show: its 162 bad parts come in lots, which makes them worth about 70 (docs/operating-point.md).
PROMISE = "0.05"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this verb."""
    parser.add_argument("-o", "--output", metavar="FOLDER", type=Path, default=Path("demo"), help="where it all goes")
    parser.add_argument("--parts", metavar="N", type=at_least_one, default=PARTS, help="parts of the simulated shift")


def run(args: argparse.Namespace) -> int:
    """The chain; the exit code of the first command that fails, else 0."""
    from lineside.cli.main import main
    from lineside.errors import SettingsError

    start = monotonic()
    bundle, recipe = str(args.output / "nuts.bundle"), args.output / "demo.toml"
    try:
        args.output.mkdir(parents=True, exist_ok=True)
        recipe.write_text(RECIPE)
    except OSError as error:
        raise SettingsError(
            f"{args.output}: the demo can not write there ({error.strerror}); name another folder with -o"
        ) from None
    train = ["train", "nuts:", "-o", bundle, "--accept", "hex_nut", "--max-escape", PROMISE, "--recipe", str(recipe)]
    shift = io.StringIO()
    for command, into in (
        (["check", "nuts:", "--html", str(args.output / "check.html")], sys.stdout),
        (train, sys.stdout),
        (["evaluate", bundle, "nuts:"], sys.stdout),
        (["verify", bundle], sys.stdout),
        (["run", bundle, "--source", "nuts:seed=1", "--parts", str(args.parts), "--json"], shift),
    ):
        print(f"\n$ lineside {' '.join(command)}", flush=True)
        with contextlib.redirect_stdout(into):
            code = main(command)
        if code:
            print(shift.getvalue(), end="")
            return code
    for line in closing(Path(bundle), json.loads(shift.getvalue())):
        print(line)
    print(f"all of it  {monotonic() - start:.0f} s")
    return 0


def closing(bundle: Path, shift: dict) -> list[str]:
    """What was achieved, a line each; shift is what `lineside run --json` said."""
    from lineside.bundle.folder import open_bundle
    from lineside.bundle.parity import read_rows
    from lineside.settings import plain

    opened = open_bundle(bundle)
    manifest = opened.manifest
    (row, *_) = read_rows(opened.read("parity.json"), "parity.json")
    assert manifest.operating_point is not None, "the demo trains with --accept"
    total = shift["latency_ms"]["total"]["percentiles"]
    verdicts = ", ".join(f"{n} {verdict}" for verdict, n in shift["verdicts"].items())
    return [
        f"\naccuracy   {rate(plain(manifest.metrics['test top-1']))} of nuts it has never seen",
        f"promise    {manifest.operating_point.sentence()}",
        f"the shift  {shift['parts']} parts: {verdicts}",
        f"escape     {rate(shift['escape'])} of bad parts accepted",
        f"overkill   {rate(shift['overkill'])} of good parts rejected",
        f"passed     {rate(shift['good_accepted'])} of good parts accepted",
        f"speed      {total['p50']:.1f} ms per part (p99 {total['p99']:.1f} ms), from trigger to verdict",
        f"parity     {row.engine} against torch on {row.n} pictures: {row.verdict_flips} verdicts changed, "
        f"scores moved by {row.score_max:.0e} at most",
        f"report     {bundle / 'report.html'}",
        f"bundle     {bundle}",
    ]


def rate(estimate: dict) -> str:
    """A share with its n and 95 % interval."""
    if not estimate["n"]:
        return "unknown share (n = 0)"
    return "{:.1%} (n = {}, 95 %: {:.1%} to {:.1%})".format(*(estimate[key] for key in ("value", "n", "low", "high")))
