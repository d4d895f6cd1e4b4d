"""`lineside soak LINE`: run the line for long, and report what it did: times, counts that must agree, growth."""

import argparse
from pathlib import Path

from lineside.cli.numbers import above_zero, at_least_one


def arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this verb."""
    parser.add_argument("line", metavar="LINE", type=Path, help="line.toml, which describes the whole line")
    parser.add_argument("--parts", type=at_least_one, metavar="N", help="stop after N parts")
    parser.add_argument(
        "--minutes", type=above_zero, metavar="M", help="stop after M minutes; the first of both counts"
    )
    parser.add_argument(
        "-o", "--output", metavar="REPORT", type=Path, required=True, help="the page; REPORT with .json is beside it"
    )
    parser.add_argument("--keep", action="store_true", help="put soak.json into the bundle of every camera, too")
    parser.add_argument(
        "--sign", metavar="KEY", type=Path, help="with --keep: sign the bundles again with this key (PEM)"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Soak; 1 where a part has no verdict or counts do not agree."""
    import os
    import queue
    import sys
    import threading
    from dataclasses import replace

    from lineside import whole
    from lineside.bundle.folder import outside
    from lineside.cli.run import on_signal, opened_line
    from lineside.errors import HaltError, LineError, SettingsError
    from lineside.line import soak_page
    from lineside.line.messages import Finish, Inbox
    from lineside.line.open import work
    from lineside.line.settings import read_line
    from lineside.line.soak import keep, kept, signer, soak
    from lineside.line.summary import text
    from lineside.store.journal import memory

    settings = read_line(args.line)
    if args.parts is not None:
        settings = replace(settings, parts=replace(settings.parts, limit=args.parts))
    if settings.parts.limit is None and args.minutes is None:
        raise SettingsError("how long? Give --parts N or --minutes M")
    if args.sign and not args.keep:
        raise SettingsError("--sign is for the bundles that --keep changes: add --keep")
    beside = args.output.with_suffix(".json")
    if beside == args.output:
        raise SettingsError(f"{args.output}: is the page; its numbers go beside it as {beside.name}: name it .html")
    bundles = settings.bundles_of(settings.first_product)
    for bundle in bundles:
        outside(bundle, args.output)
    whole.free(args.output, whole.PAGE)
    whole.free(beside, soak_page.JSON_HEAD)
    sign = signer(bundles, args.sign) if args.keep else None  # before the soak: a wrong key must not cost the night
    inbox: Inbox = queue.SimpleQueue()
    journal = memory(os.environ)
    timer = None if args.minutes is None else threading.Timer(60 * args.minutes, lambda: inbox.put(Finish()))
    with opened_line(settings, inbox) as (it, say, window):
        try:
            with on_signal(lambda: inbox.put(Finish())):
                if timer:
                    timer.daemon = True
                    timer.start()
                found = soak(
                    lambda sink: work(it, inbox=inbox, say=say, journal=journal, window=window, more=[sink]),
                    window,
                    lambda run_id: kept(it.store, run_id),
                )
        finally:
            if timer:
                timer.cancel()
    numbers = soak_page.as_json(found)
    out = sys.stderr if any(url.startswith("stdout:") for url in settings.sinks) else sys.stdout
    print(numbers if args.json else f"{text(found.summary)}\n\n{soak_page.text(found)}", file=out)  # before the disk
    whole.output(args.output, soak_page.render(found), whole.PAGE)
    whole.output(beside, numbers, soak_page.JSON_HEAD)
    if args.keep:
        for bundle in bundles:
            keep(bundle, found, numbers, sign)
    if not args.json:
        print(f"report: {args.output} and {beside.name}" + (", soak.json in the bundle" if args.keep else ""), file=out)
    if found.fault:
        kind = HaltError if found.summary.halted else LineError
        raise kind(f"the line stopped, and rejected what was in flight: {found.fault}")
    return 0 if found.passed else 1
