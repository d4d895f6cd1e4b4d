"""lineside control LINE ORDER: tell a running line what to do. No logic here: line/desk.py speaks with it."""

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    from lineside.line.states import ORDERS

    parser.add_argument("line", metavar="LINE", type=Path, help="line.toml, whose [control] names a socket")
    parser.add_argument(
        "order",
        metavar="ORDER",
        choices=["status", *ORDERS],
        help="status, or one of: " + ", ".join(ORDERS),
    )
    parser.add_argument("--product", default="", metavar="NAME", help="which one to prepare")
    parser.add_argument(
        "--expect",
        nargs="+",
        default=[],
        choices=["accept", "hold", "reject"],
        metavar="VERDICT",
        help="calibrate: what the next parts are, one by one; none of them is passed, and the audit says who was right",
    )
    parser.add_argument("--why", default="", metavar="TEXT", help="stands in the audit, beside your user name")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")


def run(args: argparse.Namespace) -> int:
    import json

    from lineside.errors import SettingsError
    from lineside.line.desk import Request, send
    from lineside.line.settings import read_line
    from lineside.settings import plain
    from lineside.terminal import shown

    socket = read_line(args.line).control.socket
    if socket is None:
        raise SettingsError(f'{args.line}: names no socket to reach the line: [control] with socket = "line.sock"')
    reply = send(socket, Request(args.order, args.product, tuple(args.expect), args.why))
    if args.json:
        print(json.dumps(plain(reply)))
    else:
        stands = ", product ".join(word for word in (reply.state, reply.product) if word)
        stands += f": {reply.detail}" if reply.detail else ""
        for line in (reply.refused and f"refused: {reply.refused}", stands):
            if line:
                print(shown(line))
    return 1 if reply.refused else 0
