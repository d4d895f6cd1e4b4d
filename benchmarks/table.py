"""The README's tables and what it says of inference and of the line, made from benchmarks/results/.

`python -m benchmarks.table` writes them between their markers, a test compares.
"""

import textwrap
from pathlib import Path

from benchmarks.record import rows

README = Path(__file__).parents[1] / "README.md"
NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
TIMES, SHORT_MS = 3, 5.0  # so many times as fast as eager; an engine's time beside which the rest weighs


def rate(estimate: dict | None) -> str:
    """97.4 % (96.1–98.3), or a dash where it was not measured."""
    if not estimate or estimate["value"] is None:
        return "–"
    return f"{100 * estimate['value']:.1f} % ({100 * estimate['low']:.1f}–{100 * estimate['high']:.1f})"


def points(estimate: dict | None) -> str:
    """+6.6 (+1.4 to +11.9): a difference of two rates, in points of percent; a dash where it is not known."""
    if estimate is None:
        return "–"
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * estimate[key] for key in ("value", "low", "high")))


def table(head: str, lines: list[str]) -> list[str]:
    """A Markdown table; nothing where nothing was measured."""
    return [head, "|" + "---|" * (head.count("|") - 1), *lines, ""] if lines else []


def accuracy() -> list[str]:
    lines = []
    for row in rows("accuracy"):
        found = row["metrics"]
        cells = (
            row["data"],
            f"{row['pictures']['test']:,}",
            rate(found["test top-1"]),
            rate(found["test macro recall"]),
            promise(row["operating_point"], row.get("verdict")),
            among(found.get("test escape")),
            *(rate(found.get(f"test {name}")) for name in ("good accepted", "overkill", "hold")),
            f"{row['train_s']:.0f} s",
        )
        lines.append(f"| {' | '.join(cells)} |")
    what = ("data", "test n", "top-1", "balanced accuracy", "promised escape", "escape on test", "good accepted")
    return table(f"| {' | '.join((*what, 'overkill', 'held', 'training'))} |", lines)


def promise(point: dict | None, verdict: str | None) -> str:
    """≤ 1 %: shown; or what calibrate's bad parts do show; and where test contradicts it."""
    if point is None:
        return "–"
    said = "shown" if point["shown"] else f"not shown; ≤ {100 * point['escape_bound']:.2g} % is"
    against = "; **contradicted by test**" if verdict == "contradicted" else ""
    return f"≤ {100 * point['max_escape']:g} %: {said}{against}"


def among(estimate: dict | None) -> str:
    """A rate among bad parts, with their number."""
    return rate(estimate) + (f" of {estimate['n']:,}" if estimate else "")


def reached(row: dict) -> int:
    """The plain loop's epoch that came to the target."""
    return 1 + next(n for n, (_, top1) in enumerate(row["curve_plain"]) if top1 >= row["target_calibrate_top1"])


def training() -> list[str]:
    lines = []
    for row in rows("training"):
        cells = (
            row["data"],
            f"{100 * row['target_calibrate_top1']:.1f} %",
            f"{row['seconds_ours']:.0f} s",
            f"{row['seconds_plain']:.0f} s, epoch {reached(row)} of {row['plain_epochs']}",
            f"**{row['times_faster']:.1f} ×**",
            f"{100 * row['test_top1_ours']:.1f} %",
            f"{100 * row['test_top1_plain']:.1f} %",
            points(row["gain"]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    what = ("data", "same calibrate accuracy", "Lineside", "plain PyTorch", "faster", "test: ours", "test: plain")
    return table(f"| {' | '.join((*what, 'ours − plain, points'))} |", lines)


def inference() -> list[str]:
    """A paragraph: against eager PyTorch, and against the bare engine; medians. Nothing where nothing was measured."""
    nets: dict[str, list[dict]] = {}
    for row in rows("inference"):
        nets.setdefault(row["net"], []).append(row)
    if not nets:
        return []
    always, sometimes, others, over, over_short = [], [], [], [], []
    for net, own in nets.items():
        quick = [row for row in own if row["eager_over_bundle"]["median"] >= TIMES]
        others += [row["eager_over_bundle"]["median"] for row in own if row not in quick]
        if len(quick) == len(own):
            always.append(net)
        elif quick:
            sometimes.append(f"with {net} in {' and in '.join(ways(quick))}")
        for row in own:
            (over if row["ms"]["ready"]["median"] >= SHORT_MS else over_short).append(
                row["bundle_over_ready"]["median"]
            )
    fast = [f"with {' and '.join(always)} in every engine and precision"] if always else []
    said = [
        f"at least {TIMES} times as fast as eager PyTorch {', '.join(fast + sometimes)}" if fast + sometimes else "",
        f"{span(others)} times as fast {'elsewhere' if fast + sometimes else 'as eager PyTorch'}" if others else "",
        f"it takes {span(over)} times the bare engine's time" if over else "",
        f"{span(over_short)} times where that is below {SHORT_MS:g} ms" if over_short else "",
    ]
    told = "; ".join(one for one in said if one)
    what = "One picture from file to verdict, medians ([inference](benchmarks/results/inference.json))"
    return textwrap.wrap(f"{what}: {told}.", 140, break_on_hyphens=False)


def ways(measured: list[dict]) -> list[str]:
    """OpenVINO's bfloat16 and int8, an entry an engine."""
    precisions: dict[str, list[str]] = {}
    for row in measured:
        precisions.setdefault(row["engine"], []).append(row["precision"])
    return [f"{NAMES[engine]}'s {' and '.join(own)}" for engine, own in precisions.items()]


def span(values: list[float]) -> str:
    """1.58 to 2.64"""
    return f"{min(values):.2f} to {max(values):.2f}"


def overhead() -> list[str]:
    """A paragraph: what the line adds to a part, and what it leaves of the engine's rate. Nothing if not measured."""
    measured = {name: row for name, row in (rows("line_overhead") or {}).items() if "overhead_ms" in row}
    if not measured:
        return []
    added = [row["overhead_ms"]["p50"] for row in measured.values()]
    confirmed = [row["actuator_ms"]["p50"] for row in measured.values()]
    kept = []
    for name, row in measured.items():
        share = 100 * row["share_of_engine_rate"]["sustained"]["median"]
        kept.append(f"{share:.0f} % ({name}; {row['bare_engine_ms_median']:.0f} ms)")
    return textwrap.wrap(
        f"From the frame in memory to the verdict the line adds {span(added)} ms to a part (p50), with store, journal "
        f"and CSV, and {span(confirmed)} ms until a PLC double on the same two cores has confirmed it by Modbus TCP "
        "([line_overhead](benchmarks/results/line_overhead.json)). Of the rate of its engine alone, on every "
        "core of two unless it says one, with EfficientNet-Lite0 unless it says another net, it keeps, where parts "
        f"come faster than they can be judged: {', '.join(kept)}.",
        140,
        break_on_hyphens=False,
    )


def between(name: str) -> tuple[str, str]:
    """The README's markers around what is made of results."""
    return f"<!-- {name}: python -m benchmarks.table -->\n", f"<!-- end of {name} -->\n"


MADE = {
    "inference": lambda: [*inference(), ""],
    "line": lambda: [*overhead(), ""],
    "results": lambda: [*accuracy(), *training()],
}


def text() -> list[str]:
    """What belongs between each pair of the README's markers, with them."""
    return ["\n".join([between(name)[0], *make(), between(name)[1]]) for name, make in MADE.items()]


def written() -> list[str]:
    """The same as the README has it now."""
    readme = README.read_text()
    pairs = map(between, MADE)
    return [readme[readme.index(begin) : readme.index(end) + len(end)] for begin, end in pairs]


if __name__ == "__main__":
    readme = README.read_text()
    for old, new in zip(written(), text(), strict=True):
        readme = readme.replace(old, new)
    README.write_text(readme)
