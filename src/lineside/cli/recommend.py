"""`lineside recommend`: which net, within a budget, by measurement on this machine."""

import argparse

from lineside.cli.numbers import above_zero, at_least_one


def arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this verb."""
    parser.add_argument(
        "--for", dest="aim", choices=("accuracy", "mobile"), default="accuracy", help="what matters most"
    )
    parser.add_argument("--max-mmac", metavar="M", type=above_zero, help="at most so many million multiply-adds")
    parser.add_argument("--max-params", metavar="M", type=above_zero, help="at most so many million parameters")
    parser.add_argument(
        "--max-latency-ms", metavar="X", type=above_zero, help="most milliseconds a picture may take here"
    )
    parser.add_argument("--from-scratch", action="store_true", help="also nets without published weights")
    parser.add_argument(
        "--most", metavar="N", type=at_least_one, default=5, help="nets to time, the most accurate first"
    )
    parser.add_argument("--json", action="store_true", help="everything as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    """Measure, and recommend; 0, or 1 where nothing keeps the budget."""
    import json

    from lineside.bundle.latency import latency_ms
    from lineside.ledger.measure import best_macs_per_s
    from lineside.ledger.recommend import recommend, text
    from lineside.nets.listing import Listed
    from lineside.progress import bar
    from lineside.settings import plain

    def measure(net: Listed) -> float:
        side = net.size, net.size
        return latency_ms(net.name, net.size, 1000, (side, side))

    with bar("timing", unit="nets") as progress:
        answer = recommend(
            args.aim,
            measure,
            best_macs_per_s(),
            max_macs=args.max_mmac and args.max_mmac * 1e6,
            max_params=args.max_params and args.max_params * 1e6,
            max_latency_ms=args.max_latency_ms,
            from_scratch=args.from_scratch,
            most=args.most,
            progress=progress,
        )
    print(json.dumps(plain(answer), indent=1, ensure_ascii=False) if args.json else text(answer))
    return 0 if answer.chosen else 1
