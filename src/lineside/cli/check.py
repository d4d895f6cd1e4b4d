"""lineside check DATA: the data doctor."""

import argparse
from pathlib import Path

from lineside.cli.numbers import at_least_one


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help="a folder per class, a CSV path,label[,split,group], or nuts:")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page with the pictures")
    parser.add_argument("--json", action="store_true", help="every finding as JSON on stdout instead of the table")
    parser.add_argument(
        "--quarantine", type=Path, metavar="FILE", help="write the files with errors to a CSV and go on"
    )
    parser.add_argument(
        "--bundle", type=Path, metavar="BUNDLE", help="also look for wrong labels with this trained model"
    )
    parser.add_argument("--workers", type=at_least_one, metavar="N", help="decoding processes; by default one a core")


def run(args: argparse.Namespace) -> int:
    from datetime import datetime

    from rich.console import Console

    from lineside import whole
    from lineside.data.doctor import check, to_leave_out
    from lineside.data.page import write_page
    from lineside.data.quarantine import HEAD, write_quarantine
    from lineside.data.read import read
    from lineside.data.table import as_json, print_table
    from lineside.progress import bar

    for place, own in ((args.html, whole.PAGE), (args.quarantine, HEAD)):
        if place:
            whole.free(place, own)
    dataset = read(args.data)
    with bar("checking") as progress:
        checkup = check(dataset, workers=args.workers, progress=progress)
    if args.bundle:
        from lineside.tasks.classify.doubt import with_label_errors

        with bar("looking at labels") as progress:
            checkup = with_label_errors(checkup, args.bundle, progress=progress)
    left_out = write_quarantine(to_leave_out(checkup), args.quarantine) if args.quarantine else ""
    if args.json:
        print(as_json(checkup))
    else:
        print_table(checkup, Console(), left_out)
    if args.html:
        write_page(checkup, args.html, when=datetime.now().astimezone())
    # an error about no file in particular (one class only) is beyond any quarantine
    return 1 if any(not (args.quarantine and error.names) for error in checkup.errors) else 0
