"""`lineside nets [PATTERN…]`: which nets there are, what they cost and reach, whether their weights are to be had."""

import argparse

from lineside.cli.numbers import above_zero


def arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this verb."""
    parser.add_argument("patterns", metavar="PATTERN", nargs="*", help="only names like this: 'resnet*'; default: all")
    parser.add_argument("--max-params", metavar="M", type=above_zero, help="at most so many million parameters")
    parser.add_argument("--max-mmac", metavar="M", type=above_zero, help="at most so many million multiply-adds")
    parser.add_argument("--min-top1", metavar="P", type=above_zero, help="at least so many percent top-1, as published")
    parser.add_argument(
        "--weights", choices=("here", "any"), help="only nets with published weights: on this machine, or any"
    )
    parser.add_argument(
        "--sort", choices=("name", "params", "macs", "top1"), default="name", help="cheapest or best first"
    )
    parser.add_argument("--json", action="store_true", help="the list as JSON on stdout, with the stages' names")


def run(args: argparse.Namespace) -> int:
    """List; 0, or 1 where no net fits."""
    import json

    from lineside.nets.listing import nets, text
    from lineside.settings import plain

    found = nets(
        args.patterns,
        max_params=args.max_params and args.max_params * 1e6,
        max_macs=args.max_mmac and args.max_mmac * 1e6,
        min_top1=args.min_top1,
        weights=args.weights,
        sort=args.sort,
    )
    print(json.dumps(plain(found), indent=1, ensure_ascii=False) if args.json else text(found))
    return 0 if found else 1
