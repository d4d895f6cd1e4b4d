"""`lineside cost NET|BUNDLE|FILE.onnx …`: what a net costs, layer by layer; several are compared."""

import argparse
from pathlib import Path

from lineside.cli.numbers import at_least_one


def arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this verb."""
    parser.add_argument(
        "nets",
        metavar="NET",
        nargs="+",
        help="a net of `lineside nets`, resnet_1d, inceptiontime, a bundle, or an .onnx file",
    )
    parser.add_argument(
        "--size",
        metavar="N",
        type=at_least_one,
        help="pictures of N × N px, signals of N samples; default: the net's own",
    )
    parser.add_argument(
        "--convention",
        choices=("deck", "paper", "torch"),
        default="deck",
        help="what counts as memory and as a flop, and whose figures are explained",
    )
    parser.add_argument("--measure", action="store_true", help="also time every layer, beside the machine's best")
    parser.add_argument("--html", metavar="FILE", type=Path, help="also write a page: tables, charts, the blocks drawn")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="also write every layer of every net, exact")
    parser.add_argument("--json", action="store_true", help="print everything as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Count, and print; 0."""
    import json

    from lineside import whole
    from lineside.ledger import table
    from lineside.ledger.compare import compare
    from lineside.ledger.subject import sheet_of

    for place, own in ((args.html, whole.PAGE), (args.csv, table.CSV_HEAD)):
        if place:
            whole.free(place, own)
    sheets = [
        sheet_of(name, size_px=args.size, convention=args.convention, measured=args.measure) for name in args.nets
    ]
    if args.json:
        print(json.dumps([table.as_json(sheet) for sheet in sheets], indent=1, ensure_ascii=False, allow_nan=False))
    elif len(sheets) == 1:
        print(table.text(sheets[0]))
    else:
        print(compare(sheets))
    if args.csv:
        whole.output(args.csv, table.as_csv(sheets), table.CSV_HEAD)
    if args.html:
        from lineside.ledger.page import render

        whole.output(args.html, render(sheets), whole.PAGE)
        if not args.json:
            print(f"page: {args.html}")
    return 0
