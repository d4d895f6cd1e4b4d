"""`lineside combine BUNDLE BUNDLE… DATA -o BUNDLE --how ensemble|soup`: several bundles as one, and what that gains."""

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this verb."""
    parser.add_argument(
        "bundles", metavar="BUNDLE", type=Path, nargs="+", help="bundles of one split: two folders or .zip, or more"
    )
    parser.add_argument("data", metavar="DATA", help="folder per class, a CSV of path,label[,split,group], or nuts:")
    parser.add_argument("-o", "--output", metavar="BUNDLE", type=Path, required=True, help="where it goes")
    parser.add_argument(
        "--how",
        choices=("ensemble", "soup"),
        required=True,
        help="ensemble: the mean of their scores, any nets; soup: the mean of their weights, one net's cost",
    )
    parser.add_argument(
        "--max-escape",
        metavar="P",
        type=float,
        help="the most bad parts that may pass; default: the strictest of theirs",
    )
    parser.add_argument(
        "--quarantine", metavar="FILE", type=Path, help="leave out the pictures that `check` listed there"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Combine; 1 where test contradicts the promise."""
    import json

    from lineside.bundle import replaced
    from lineside.cli.screen import SCREEN
    from lineside.progress import bar
    from lineside.tasks.classify.combine import combine
    from lineside.tasks.classify.gain import as_json, table
    from lineside.terminal import lines_shown, shown

    was_signed = replaced.signed(args.output)
    done = combine(
        args.bundles,
        args.data,
        args.output,
        args.how,
        max_escape=args.max_escape,
        quarantine=args.quarantine,
        watch=bar,
    )
    for line in replaced.said(done.path, was_signed, 0):
        SCREEN.say(line)
    point = done.manifest.operating_point
    if args.json:
        print(json.dumps(as_json(done), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        print(lines_shown(table(done.rows)))
        print(shown(done.sentence()))
        print(point.sentence() if point else "the bundles only sort, and so does this one: the line can't accept")
        if done.contradicted and done.escape is not None:
            print(f"CONTRADICTED by test: escape {done.escape.percent()}; do not use this operating point")
        print(shown(f"bundle: {done.path}"))
        print(shown(f"next:   lineside evaluate {done.path} {args.data}"))
    return 1 if done.contradicted else 0
