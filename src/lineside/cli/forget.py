"""`lineside forget STORE`: delete old inspections that all consumers have acknowledged, or let a consumer go."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Engine


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", metavar="STORE", help="the file that `lineside run` wrote, or postgresql://…")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--before", metavar="TIME", help="2026-11-22T14:00+01:00 (or UTC), 12h, 90d")
    what.add_argument(
        "--sink", metavar="KEY", help="nothing is kept any more for this consumer, named as `history` does"
    )
    parser.add_argument("--who", metavar="NAME", default="", help="with --sink: who says so")
    parser.add_argument("--why", metavar="TEXT", default="", help="with --sink: the reason")


def run(args: argparse.Namespace) -> int:
    from lineside.errors import SettingsError
    from lineside.store.open import open_store

    if args.before is not None and (args.who or args.why):
        raise SettingsError("--who, --why: belong to --sink; leave them out")
    engine = open_store(args.store, make=False)
    try:
        said = _old(engine, args) if args.sink is None else _consumer(engine, args)
    finally:
        engine.dispose()
    for line in said:
        print(line)
    return 0


def _old(engine: "Engine", args: argparse.Namespace) -> list[str]:
    import socket
    from datetime import UTC, datetime

    from lineside.progress import bar
    from lineside.store.history import moment
    from lineside.store.pictures import sweep
    from lineside.store.retention import forget

    now = datetime.now(UTC)
    before = moment(args.before, now, "--before")
    with bar("forget", unit="inspections") as progress:
        found = forget(engine, before, now, lambda done, total: progress(done, total, ""))
    pictures, notes = sweep(engine, socket.gethostname())
    gone = f"{found.inspections:,} inspections and {found.events:,} events"
    said = [f"{args.store}: {gone} from before {before:%Y-%m-%d %H:%M} UTC are deleted"]
    if pictures:
        said.append(f"{pictures:,} pictures of which no inspection speaks any more are deleted")
    said += notes
    if found.waiting:
        said.append(
            f"{found.waiting:,} more are as old and stay: a consumer has not acknowledged them, or one before them"
        )
    return said


def _consumer(engine: "Engine", args: argparse.Namespace) -> list[str]:
    import uuid
    from datetime import UTC, datetime

    from lineside.store.release import release
    from lineside.terminal import shown

    done = release(engine, args.sink, who=args.who, reason=args.why, at=datetime.now(UTC), new_id=uuid.uuid4().hex)
    what = f"{done.results:,} results and {done.events:,} events that waited for it are never sent"
    return [shown(f"{args.sink}: let go by {done.event.who}; {what}; the audit has it as event {done.event.id}")]
