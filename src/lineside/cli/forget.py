"""`lineside forget STORE --before TIME`: delete old inspections and events that every consumer has acknowledged."""

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", metavar="STORE", help="the file that `lineside run` wrote, or postgresql://…")
    parser.add_argument("--before", required=True, metavar="TIME", help="2026-11-22T14:00+01:00 (or UTC), 12h, 90d")


def run(args: argparse.Namespace) -> int:
    import socket
    from datetime import UTC, datetime

    from lineside.progress import bar
    from lineside.store.history import moment
    from lineside.store.open import open_store
    from lineside.store.pictures import sweep
    from lineside.store.retention import forget

    now = datetime.now(UTC)
    before = moment(args.before, now, "--before")
    engine = open_store(args.store, make=False)
    try:
        with bar("forget", unit="inspections") as progress:
            found = forget(engine, before, now, lambda done, total: progress(done, total, ""))
        pictures, notes = sweep(engine, socket.gethostname())
    finally:
        engine.dispose()
    gone = f"{found.inspections:,} inspections and {found.events:,} events"
    print(f"{args.store}: {gone} from before {before:%Y-%m-%d %H:%M} UTC are deleted")
    if pictures:
        print(f"{pictures:,} pictures of which no inspection speaks any more are deleted")
    for note in notes:
        print(note)
    if found.waiting:
        print(f"{found.waiting:,} more are as old and stay: a consumer has not acknowledged them, or one before them")
    return 0
