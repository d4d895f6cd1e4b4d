"""The ledger against the peers that count: how long a layer table takes, and who counts right.

    speed         ResNet-152 at 224 px, batch 1, built beforehand: our rows, lines and printed table against torchinfo's
                  summary and its text, taking turns; ours from a net on meta and from one with its weights on the CPU,
                  as torchinfo (which can not tell a meta net's device by itself: it is told)
    correctness   MACs of nets whose true number follows from their papers' tables, by every peer that is installed

Peers are not among our dependencies: torchinfo, calflops (with transformers), ptflops; where one is missing its column
says so. torchvision, where it can be imported, gives ViT-B/16 and Swin-B; else ours are taken, where the catalog has
them. Writes benchmarks/results/ledger.json.

    pip install torchinfo calflops ptflops
    python -m benchmarks.ledger [--rounds 30] [--dry]
"""

import argparse
import contextlib
import io
import os
import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch
from torch import nn

from benchmarks import record
from lineside.ledger.cost import cost
from lineside.ledger.sheet import sheet
from lineside.ledger.table import text
from lineside.nets.catalog import NETS

PEERS = ("torchinfo", "calflops", "ptflops")
SHAPE = (1, 3, 224, 224)
TRUTH = {  # MACs of convolutions, linear layers and products, by arithmetic on the papers' tables
    "resnet152": 11_513_626_624,
    "vit_b_16": 17_563_828_224,  # 12 blocks of 197 tokens: 12 · 197 · 12 · 768² + 24 · 197² · 768; patches; classes
    "swin_b": 15_430_946_816,  # the paper's table 1 says 15.4 G
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="timings of each")
    parser.add_argument("--dry", action="store_true", help="print, and write no result")
    args = parser.parse_args()
    missing = [peer for peer in PEERS if find_spec(peer) is None]
    if missing:
        print(f"not installed, so not compared: {', '.join(missing)}; pip install {' '.join(missing)}")
    rows = {"speed": speed(args.rounds), "correctness": correctness()}
    if not args.dry:
        what = (
            "ms for a layer table of ResNet-152, median and quartiles, taking turns, and its ratio to torchinfo's; "
            "MACs by each counter"
        )
        print(record.write("ledger", what, rows, ("torch", *(peer for peer in PEERS if peer not in missing))))


def speed(rounds: int) -> list[dict]:
    """A row for each way to a layer table; ratio: torchinfo's time over ours in the same round."""
    with torch.device("meta"):
        light = resnet152()
    heavy = resnet152()
    ways: dict[str, Callable[[], object]] = {
        "ours, net on meta": lambda: text(sheet(cost(light, SHAPE), "deck", None)),
        "ours, net on the CPU": lambda: text(sheet(cost(heavy, SHAPE), "deck", None)),
        "ours, with training memory": lambda: text(sheet(cost(light, SHAPE), "deck", light)),
    }
    if find_spec("torchinfo"):
        from torchinfo import summary

        ways["torchinfo, net on meta"] = lambda: str(summary(light, SHAPE, verbose=0, device="meta", depth=99))
        ways["torchinfo, net on the CPU"] = lambda: str(summary(heavy, SHAPE, verbose=0, depth=99))
    for run in ways.values():
        run()
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            begun = time.perf_counter()
            run()
            took[name].append(1e3 * (time.perf_counter() - begun))
    found = []
    for name, times in took.items():
        quickest = [took[peer] for peer in took if peer.startswith("torchinfo")]
        ratio = np.median(np.min(quickest, axis=0) / np.array(times)) if quickest else None
        low, middle, high = np.quantile(times, [0.25, 0.5, 0.75])
        found.append(
            {
                "way": name,
                "n": rounds,
                "ms": {"median": round(middle, 2), "p25": round(low, 2), "p75": round(high, 2)},
                "torchinfo_over_it": None if ratio is None else round(float(ratio), 2),
            }
        )
        faster = "" if ratio is None else f"   torchinfo's faster way takes ×{ratio:.2f}"
        print(f"{name:<28} {middle:8.1f} ms  ({low:.1f} to {high:.1f}){faster}", flush=True)
    return found


def resnet152() -> nn.Sequential:
    return NETS["resnet152"].build(1000).eval()


def correctness() -> list[dict]:
    """A row a net: what each counter says, in GMAC, and how far that is from the truth."""
    found = []
    for name, net in nets():
        said: dict[str, float | None] = {"ours": cost(net, SHAPE).macs}
        for peer, count in COUNTERS.items():
            if find_spec(peer):
                try:
                    said[peer] = count(net)
                except Exception as error:  # peers fail in many ways; that is a finding too
                    print(f"{name}: {peer} failed: {type(error).__name__}: {str(error)[:200]}")
                    said[peer] = None
        row = {
            "net": name,
            "gmac_truth": round(TRUTH[name] / 1e9, 4),
            "gmac": {who: value and round(value / 1e9, 4) for who, value in said.items()},
            "share_of_truth": {who: value and round(value / TRUTH[name], 4) for who, value in said.items()},
        }
        found.append(row)
        print(f"{name}: truth {row['gmac_truth']:.2f} G; " + "; ".join(f"{w} {v}" for w, v in row["gmac"].items()))
    return found


def nets() -> list[tuple[str, nn.Module]]:
    """The nets that can be had here, with weights (not all peers take a net on meta)."""
    found: list[tuple[str, nn.Module]] = [("resnet152", resnet152())]
    if find_spec("torchvision"):
        from torchvision import models

        found += [("vit_b_16", models.vit_b_16().eval()), ("swin_b", models.swin_b().eval())]
    else:
        found += [(name, NETS[name].build(1000).eval()) for name in ("vit_b_16", "swin_b") if name in NETS]
    return found


def by_torchinfo(net: nn.Module) -> float:
    from torchinfo import summary

    return summary(net, SHAPE, verbose=0).total_mult_adds


def by_calflops(net: nn.Module) -> float:
    from calflops import calculate_flops

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    _, macs, _ = calculate_flops(net, SHAPE, print_results=False, output_as_string=False)
    return macs


def by_ptflops(net: nn.Module) -> float:
    from ptflops import get_model_complexity_info

    with contextlib.redirect_stdout(io.StringIO()):
        macs, _ = get_model_complexity_info(net, SHAPE[1:], as_strings=False, print_per_layer_stat=False)
    assert macs is not None
    return float(macs)


COUNTERS: dict[str, Callable[[nn.Module], float]] = {
    "torchinfo": by_torchinfo,
    "calflops": by_calflops,
    "ptflops": by_ptflops,
}

if __name__ == "__main__":
    main()
