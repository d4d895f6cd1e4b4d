"""`lineside evaluate BUNDLE DATA`: how good a bundle is on pictures it has not seen, with intervals and a report."""

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this verb."""
    parser.add_argument("bundle", metavar="BUNDLE", type=Path, help="a bundle: folder or .zip")
    parser.add_argument("data", metavar="DATA", help="folder per class, a CSV of path,label[,split,group], or nuts:")
    parser.add_argument(
        "--max-escape",
        metavar="P",
        type=float,
        help="the most bad parts that may pass, exit 1 if that is not shown; default: as the bundle has it",
    )
    parser.add_argument(
        "--confidence",
        metavar="C",
        type=float,
        help="how sure of that, exit 1 if it is not shown; default: as the bundle has it",
    )
    parser.add_argument("-o", "--output", metavar="REPORT", type=Path, help="write the report here too")
    parser.add_argument(
        "--quarantine", metavar="FILE", type=Path, help="leave out the pictures that `check` listed there"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Evaluate; 1 where a promise was asked for by a flag and could not be shown, or test contradicts it."""
    import json
    from dataclasses import replace

    from rich.console import Console

    from lineside import whole
    from lineside.bundle.folder import beside, outside
    from lineside.errors import BundleError, SettingsError
    from lineside.evidence import report as reports
    from lineside.evidence.terminal import show
    from lineside.progress import bar
    from lineside.tasks.classify.evaluate import evaluate, store
    from lineside.tasks.classify.page import as_json, report

    if args.output:
        outside(args.bundle, args.output)
        whole.free(args.output, whole.PAGE)
    evaluation = evaluate(
        args.bundle,
        args.data,
        max_escape=args.max_escape,
        confidence=args.confidence,
        quarantine=args.quarantine,
        watch=bar,
    )
    page = report(evaluation)
    text = reports.render(page)
    try:
        kept, failed = store(evaluation, text), None
    except BundleError as error:  # a full disk, say: what was measured is told first, and nothing that is not so
        kept, failed = False, error
        evaluation = replace(evaluation, fixed="it could not be written")
        text = reports.render(page := report(evaluation))
    place = args.output or (None if kept or failed else beside(args.bundle, ".report.html"))
    if place is not None:
        try:
            whole.output(place, text, whole.PAGE)
        except SettingsError as error:  # likewise
            place, failed = None, failed or error
    packed = f"report.html in {args.bundle}" if args.bundle.is_file() else str(args.bundle / "report.html")
    where = str(place or (packed if kept else ""))
    if args.json:
        print(json.dumps(as_json(evaluation, page, where), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        show(page, Console())
        why = "" if kept or failed else f" ({evaluation.not_stored})"
        print(f"report: {where}{why}" if where else "report: none written; -o REPORT names a place for it")
    if failed:
        raise failed
    asked = args.max_escape is not None or args.confidence is not None
    return 1 if (asked and page.verdict == reports.NOT_SHOWN) or page.verdict == reports.CONTRADICTED else 0
