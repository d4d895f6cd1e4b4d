"""Which net? The deck's last slide ("ResNet-50 or 101 for accuracy, MobileNet or ShuffleNet on a phone"), measured.

Accuracy is what publishers say; cost is counted; time is measured on this machine, of the exported graph, one picture.

accuracy   the net with the highest published top-1 within the budget
mobile     of nets within MOBILE_MACS, the limit of the mobile papers (ShuffleNet, NASNet-A: "< 600 M multiply-adds"),
           and within the budget: the fastest here of those that are within CLOSE points of the best

Only nets with published weights are asked, unless nets from scratch are wanted too. Nets are timed from the most
accurate down until one keeps the latency and `most` have been timed; for mobile, every one within CLOSE of the best. A
net whose multiply-adds alone would take longer than the latency at FASTER times this machine's best speed is not timed:
the largest nets take minutes to export, to learn what is known. A published top-1 is of ImageNet: `lineside train --net
auto` decides by your own pictures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

from lineside.nets.listing import Listed, nets
from lineside.progress import Progress, silent

MOBILE_MACS = 600e6
CLOSE = 1.0  # points of top-1
FASTER = (
    2.0  # than a large matrix product by torch: no engine here is, and a measured peak may be low on a busy machine
)
LARGEST_GRAPH = 1.9e9  # bytes of weights; an ONNX file can hold 2 GB


@dataclass(frozen=True)
class Timed:
    net: Listed
    ms: float | None  # None: not measured, and why says it
    why: str = ""


@dataclass(frozen=True)
class Answer:
    """chosen is one of timed, or None where nothing keeps the budget."""

    aim: Literal["accuracy", "mobile"]
    chosen: Timed | None
    timed: tuple[Timed, ...]  # the most accurate first
    sentence: str
    left_out: str = ""  # which nets of the budget were not asked, and why


def recommend(
    aim: Literal["accuracy", "mobile"],
    measure: Callable[[Listed], float],
    peak_macs_per_s: float,
    *,
    max_macs: float | None = None,
    max_params: float | None = None,
    max_latency_ms: float | None = None,
    from_scratch: bool = False,
    most: int = 5,
    progress: Progress = silent,
) -> Answer:
    """The answer within a budget.

    measure: a net → milliseconds a picture takes here (bundle/latency.py). peak_macs_per_s: multiply-adds a second of
    a large matrix product here (ledger/measure.py).
    """
    if aim == "mobile":
        max_macs = min(max_macs or MOBILE_MACS, MOBILE_MACS)
    found = nets(
        reads="pictures",
        max_params=max_params,
        max_macs=max_macs,
        weights=None if from_scratch else "any",
        sort="top1",
    )
    able = [one for one in found if one.top1 is not None]
    most_macs = inf if max_latency_ms is None else max_latency_ms / 1e3 * peak_macs_per_s * FASTER
    asked = [one for one in able if one.macs <= most_macs]
    left_out = _left_out(len(able) - len(asked), most_macs, peak_macs_per_s, max_latency_ms)
    timed: list[Timed] = []
    for i, one in enumerate(asked):
        keeping = _keeping(timed, max_latency_ms)
        near = aim == "mobile" and keeping and (one.top1 or 0) >= (keeping[0].net.top1 or 0) - CLOSE
        if sum(t.ms is not None for t in timed) >= most and keeping and not near:
            break
        progress(i, len(asked), one.name)
        if one.params * 4 > LARGEST_GRAPH:
            timed.append(Timed(one, None, "its weights are more than an ONNX file can hold"))
        else:
            timed.append(Timed(one, measure(one)))
    progress(len(timed), len(timed), "")
    keeping = _keeping(timed, max_latency_ms)
    if not keeping:
        return Answer(aim, None, tuple(timed), _nothing(able, timed, max_latency_ms), left_out)
    best = keeping[0]
    if aim == "accuracy":
        sentence = f"{best.net.name}: the highest published top-1 that keeps the budget"
        return Answer(aim, best, tuple(timed), sentence, left_out)
    near = [t for t in keeping if (t.net.top1 or 0) >= (best.net.top1 or 0) - CLOSE]
    chosen = min(near, key=lambda t: t.ms or 0)
    return Answer(
        aim,
        chosen,
        tuple(timed),
        f"{chosen.net.name}: the fastest here of {len(near)} within {CLOSE:g} point of the best, {best.net.name}",
        left_out,
    )


def _left_out(n: int, most_macs: float, peak_macs_per_s: float, max_latency_ms: float | None) -> str:
    if not n:
        return ""
    return (
        f"not timed: {n} of more than {most_macs / 1e6:,.0f} M multiply-adds, which take more than "
        f"{max_latency_ms:g} ms at {FASTER:g} × this machine's {peak_macs_per_s / 1e9:,.1f} G a second"
    )


def _keeping(timed: Sequence[Timed], max_latency_ms: float | None) -> list[Timed]:
    return [t for t in timed if t.ms is not None and (max_latency_ms is None or t.ms <= max_latency_ms)]


def _nothing(able: Sequence[Listed], timed: Sequence[Timed], max_latency_ms: float | None) -> str:
    if not able:
        return "no net fits the budget of parameters and MACs; give it more room, or --from-scratch"
    measured = [t for t in timed if t.ms is not None]
    if not timed:
        return f"no net can answer within {max_latency_ms:g} ms here; give it more time"
    if not measured:
        return f"none of {len(timed)} nets could be timed here"
    fastest = min(measured, key=lambda t: t.ms or 0)
    return (
        f"no net answers within {max_latency_ms:g} ms here; the fastest is {fastest.net.name} with {fastest.ms:.1f} ms"
    )


def text(answer: Answer) -> str:
    """What was measured, and the answer."""
    wide = max((len(t.net.name) for t in answer.timed), default=3)
    lines = [f"{'net':<{wide}}  top-1  M params     MMAC  ms here"]
    for t in answer.timed:
        mark = "  <" if t is answer.chosen else ""
        ms = t.why if t.ms is None else f"{t.ms:7.1f}"
        lines.append(
            f"{t.net.name:<{wide}}  {t.net.top1:5.2f}  {t.net.params / 1e6:8.2f}  {t.net.macs / 1e6:7.1f}  {ms}{mark}"
        )
    return "\n".join(
        [
            *(lines if answer.timed else []),
            "",
            *([answer.left_out] if answer.left_out else []),
            answer.sentence,
            "top-1 is the publisher's, of ImageNet; your pictures decide: lineside train DATA --net auto",
        ]
    ).strip()
