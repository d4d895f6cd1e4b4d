"""`lineside verify BUNDLE`: is it whole, unchanged, signed, and does it still give its answers. Exit 0, 1 or 4.

`lineside verify --store FILE`: was an inspection or event changed, taken out or put in afterwards. Exit 0, 1 or 6.
"""

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this verb."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("bundle", metavar="BUNDLE", nargs="?", type=Path, help="a bundle, folder or .zip")
    what.add_argument("--store", metavar="FILE", help="a store instead: a file or postgresql://…")
    parser.add_argument("--pictures", action="store_true", help="with --store: every picture that is kept, too")
    parser.add_argument("--key", metavar="PUB", type=Path, help="the Ed25519 public key (PEM) that must have signed it")
    parser.add_argument("--json", action="store_true", help="the checks as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Every check as a table; 0 if all passed, 1 if one did not. What is no bundle at all is a BundleError, exit 4."""
    import json

    from lineside.errors import SettingsError

    if args.store:
        return _store(args)
    if args.pictures:
        raise SettingsError("--pictures: is for a store; name it with --store FILE")

    from lineside.bundle import signature
    from lineside.bundle.verify import verify
    from lineside.settings import plain
    from lineside.tasks.classify.backed import backed
    from lineside.terminal import shown

    checks = verify(args.bundle, signature.load_public(args.key) if args.key else None, {"evidence": backed})
    good = all(check.ok for check in checks)
    if args.json:
        print(json.dumps({"bundle": str(args.bundle), "good": good, "checks": plain(checks)}, indent=1))
    else:
        for check in checks:
            print(f"{'ok' if check.ok else 'NO':<4}{check.name:<11}{shown(check.found)}")
        print(f"{args.bundle}: {'good' if good else 'do not use it'}")
    return 0 if good else 1


def _store(args: argparse.Namespace) -> int:
    import json
    import socket

    from lineside.settings import plain
    from lineside.store.audit import audit
    from lineside.store.open import open_store
    from lineside.store.picture_check import check

    engine = open_store(args.store, make=False)
    try:
        found = audit(engine)
        seen = check(engine, socket.gethostname()) if args.pictures else None
    finally:
        engine.dispose()
    wrong = seen.wrong if seen else ()
    good = found.broken is None and not wrong
    if args.json:
        said = {"store": args.store, "good": good, "audit": plain(found)} | ({"pictures": plain(seen)} if seen else {})
        print(json.dumps(said, indent=1))
        return 0 if good else 1
    fit = f"{found.inspections:,} inspections and {found.events:,} events fit"
    print(f"{fit}; the last is row {found.place}, hash {found.hash}")
    if found.deleted:
        print(f"{found.deleted:,} before them were deleted by retention")
    if seen:
        print(f"{seen.pictures:,} pictures are as promised, {len(wrong):,} are not")
        for sentence in (*wrong, *seen.elsewhere):
            print(sentence)
    print(f"{args.store}: {found.broken or ('good' if good else 'pictures are wrong')}")
    return 0 if good else 1
