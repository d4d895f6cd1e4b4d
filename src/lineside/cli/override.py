"""`lineside override STORE RESULT_ID VERDICT --who NAME --why TEXT`: a person's word on a result, for the audit."""

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("store", metavar="STORE", help="the file that `lineside run` wrote, or postgresql://…")
    parser.add_argument("result", metavar="RESULT_ID", help="the result's id: `lineside history STORE` shows it")
    parser.add_argument("verdict", choices=("accept", "hold", "reject"), help="what it is, in this person's word")
    parser.add_argument("--who", required=True, metavar="NAME", help="who says so")
    parser.add_argument("--why", required=True, metavar="TEXT", help="the reason")


def run(args: argparse.Namespace) -> int:
    import uuid
    from datetime import UTC, datetime

    from lineside.store.open import open_store
    from lineside.store.override import override
    from lineside.terminal import shown

    engine = open_store(args.store, make=False)
    try:
        done = override(
            engine,
            args.result,
            args.verdict,
            who=args.who,
            reason=args.why,
            at=datetime.now(UTC),
            new_id=uuid.uuid4().hex,
        )
    finally:
        engine.dispose()
    detail = done.event.detail
    said = [
        f"{args.result}: {detail['before']} → {detail['verdict']} (the machine: {detail['machine']}), {done.event.who}",
        *(f"{key}: waits in the outbox as event {done.event.id}; a line with this sink sends it" for key in done.told),
        *(
            f"{key}: knows the result and is NOT told, it takes no events; if it was not let go, add events=true to "
            "the sink's URL"
            for key in done.untold
        ),
    ]
    for line in said:
        print(shown(line))
    return 0
