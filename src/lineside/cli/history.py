"""`lineside history STORE`: what happened, by time, verdict and part; as a table, JSON, CSV or Parquet."""

import argparse
from pathlib import Path

from lineside.cli.numbers import at_least_one


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", metavar="STORE", help="the file that `lineside run` wrote, or postgresql://…")
    parser.add_argument("--since", metavar="TIME", help="2026-11-22T14:00+01:00 (UTC if it names no zone), 12h, 7d")
    parser.add_argument("--verdict", choices=("accept", "hold", "reject"), help="only these")
    parser.add_argument("--part", metavar="ID", help="only this part")
    parser.add_argument("--limit", type=at_least_one, metavar="N", help="the newest N")
    out = parser.add_mutually_exclusive_group()
    out.add_argument("--json", action="store_true", help="one JSON object a line")
    out.add_argument("--csv", type=Path, metavar="FILE", help="write them to a new CSV file")
    out.add_argument("--parquet", type=Path, metavar="FILE", help="write them to a new Parquet file")


def run(args: argparse.Namespace) -> int:
    import sys
    from contextlib import closing
    from datetime import UTC, datetime

    from lineside.line import export
    from lineside.store.history import Question, history, moment
    from lineside.store.open import open_store, reading
    from lineside.store.outbox import waiting

    at = moment(args.since, datetime.now(UTC)) if args.since else None
    engine = open_store(args.store, make=False)
    try:
        with closing(history(engine, Question(at, args.verdict, args.part, args.limit))) as found:
            if args.csv or args.parquet:
                write, path = (export.write_csv, args.csv) if args.csv else (export.write_parquet, args.parquet)
                print(f"{path}: {write(found, path):,} inspections", file=sys.stderr)
            else:
                for line in export.json_lines(found) if args.json else export.table(found):
                    print(line)
        with reading(engine) as connection:
            for key, pending in waiting(connection).items():
                print(f"{pending.count:,} results wait in the outbox for {key}", file=sys.stderr)
    finally:
        engine.dispose()
    return 0
