"""`lineside history STORE`: what happened, by time, verdict and part; as a table, JSON, CSV or Parquet."""

import argparse
from pathlib import Path

from lineside.cli.numbers import at_least_one


def arguments(parser: argparse.ArgumentParser) -> None:
    from lineside.store.records import KINDS

    parser.add_argument("store", metavar="STORE", help="the file that `lineside run` wrote, or postgresql://…")
    parser.add_argument("--since", metavar="TIME", help="2026-11-22T14:00+01:00 (UTC if it names no zone), 12h, 7d")
    parser.add_argument("--verdict", choices=("accept", "hold", "reject"), help="only these, as the machine said")
    parser.add_argument("--part", metavar="ID", help="only this part")
    parser.add_argument("--line", metavar="NAME", help="only of this line, where several write to one store")
    parser.add_argument("--overridden", action="store_true", help="only results on which a person has given his word")
    parser.add_argument(
        "--events", choices=("all", *KINDS), metavar="KIND", help=f"events instead of results: all, {', '.join(KINDS)}"
    )
    parser.add_argument("--limit", type=at_least_one, metavar="N", help="the newest N")
    out = parser.add_mutually_exclusive_group()
    out.add_argument("--json", action="store_true", help="one JSON object a line")
    out.add_argument("--csv", type=Path, metavar="FILE", help="write them to a new CSV file")
    out.add_argument("--parquet", type=Path, metavar="FILE", help="write them to a new Parquet file")


def run(args: argparse.Namespace) -> int:
    import sys
    from contextlib import closing
    from datetime import UTC, datetime
    from functools import partial

    from lineside.errors import SettingsError
    from lineside.line import export
    from lineside.store.events import events
    from lineside.store.history import Question, history, moment
    from lineside.store.lines import names
    from lineside.store.open import open_store, reading
    from lineside.store.outbox import waiting

    if args.events and (args.verdict or args.part or args.overridden):
        raise SettingsError("--events: --verdict, --part and --overridden ask for results; leave them out")
    since = moment(args.since, datetime.now(UTC)) if args.since else None
    engine = open_store(args.store, make=False)
    try:
        lines = names(engine)
        if args.line is not None and args.line not in lines:
            there = f"there are: {', '.join(lines)}" if lines else "none has said its name"
            raise SettingsError(f"--line {args.line}: no such line has written here; {there}")
        if args.events:
            kind = None if args.events == "all" else args.events
            columns, table, what = export.EVENTS, export.event_table, "events"
            asked = events(engine, since=since, kind=kind, line=args.line, limit=args.limit)
            rows = map(export.event, asked)
        else:
            columns, what = export.INSPECTIONS, "inspections"
            table = partial(export.table, lines=len(lines) > 1 and args.line is None)
            question = Question(since, args.verdict, args.part, args.line, args.limit, args.overridden)
            asked = history(engine, question)
            rows = map(export.inspection, asked)
        with closing(asked):
            if args.csv or args.parquet:
                write, path = (export.write_csv, args.csv) if args.csv else (export.write_parquet, args.parquet)
                print(f"{path}: {write(rows, columns, path):,} {what}", file=sys.stderr)
            else:
                empty = True
                for line in export.json_lines(rows) if args.json else table(rows):
                    print(line)
                    empty = False
                if empty:
                    print(f"no {what}", file=sys.stderr)
        with reading(engine) as connection:
            for key, pending in waiting(connection).items():
                print(f"{pending.count:,} results wait in the outbox for {key}", file=sys.stderr)
    finally:
        engine.dispose()
    return 0
