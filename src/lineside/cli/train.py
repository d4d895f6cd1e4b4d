"""`lineside train DATA -o BUNDLE`: split, train, calibrate and write a bundle.

A recipe's keys: docs/recipe.md.
"""

import argparse
from pathlib import Path

from lineside.cli.numbers import above_zero


def arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this verb."""
    parser.add_argument("data", metavar="DATA", help="folder per class, a CSV of path,label[,split,group], or nuts:")
    parser.add_argument("-o", "--output", metavar="BUNDLE", type=Path, required=True, help="where it goes")
    parser.add_argument("--accept", metavar="CLASS", action="append", default=[], help="a class that may pass")
    parser.add_argument("--net", metavar="NAME", help="a net by name, or auto: chosen by measurement")
    parser.add_argument("--recipe", metavar="FILE", type=Path, help="TOML or JSON with what differs from the defaults")
    parser.add_argument(
        "--max-latency-ms", metavar="X", type=above_zero, help="most milliseconds a picture may take here"
    )
    parser.add_argument("--max-escape", metavar="P", type=float, default=0.01, help="share of bad parts that may pass")
    parser.add_argument("--quarantine", metavar="FILE", type=Path, help="leave out what `check` listed there")


def run(args: argparse.Namespace) -> int:
    """Train; the exit code."""
    from dataclasses import replace

    from lineside.bundle import replaced
    from lineside.cli.screen import SCREEN
    from lineside.learn.recipe import Recipe, read_recipe
    from lineside.tasks.classify.make import make
    from lineside.tasks.classify.promise import Promise

    recipe = read_recipe(args.recipe) if args.recipe else Recipe()
    was_signed = replaced.signed(args.output)
    made = make(
        args.data,
        args.output,
        replace(recipe, net=args.net) if args.net else recipe,
        Promise(tuple(args.accept), args.max_escape),
        max_latency_ms=args.max_latency_ms,
        quarantine=args.quarantine,
        screen=SCREEN,
    )
    for line in replaced.said(made.path, was_signed, made.manifest.evaluations):
        SCREEN.say(line)
    point = made.manifest.operating_point
    print(
        point.sentence() if point else "no class was named with --accept: the bundle sorts, and the line can't accept"
    )
    print(f"bundle: {made.path}\nrun:    {made.run.path}")
    print(f"next:   lineside evaluate {made.path} {args.data}")
    return 0
