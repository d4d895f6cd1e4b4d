"""A soak as one HTML page that loads nothing, as JSON, and as a few lines for a terminal."""

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from lineside.evidence import svg
from lineside.evidence.intervals import Estimate
from lineside.line.latency import PERCENTILES, Latency
from lineside.line.soak import MIB_PER_HOUR, Sample, Soak
from lineside.line.summary import END, STAGES, WIRE
from lineside.settings import plain

if TYPE_CHECKING:
    from markupsafe import Markup

HEIGHT = 220
BINS = 60  # of throughput over time
OFTEN = 12  # ticks at most
JSON_HEAD = '{\n "format": 1,\n "line":'  # what soak.json begins with


def as_json(soak: Soak) -> str:
    """soak.json: every field of Soak; samples as columns."""
    values = plain(soak) | {"passed": soak.passed}
    columns = values["samples"][0].keys() if values["samples"] else ()
    values["samples"] = {name: [one[name] for one in values["samples"]] for name in columns}
    return json.dumps(_finite(values), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def text(soak: Soak) -> str:
    """For a terminal, after the line's own summary."""
    lines = [headline(soak), *sentences(soak)]
    lines += [f"  {one.n:>12,}  {one.what}{'' if one.agrees else '   DOES NOT AGREE'}" for one in soak.counts]
    return "\n".join(lines)


def headline(soak: Soak) -> str:
    if soak.fault:
        return f"The line stopped by itself: {soak.fault}"
    if soak.disorder:
        return f"Out of order: {soak.disorder}"
    if not soak.passed:
        wrong = [one.what for one in soak.counts if not one.agrees]
        return "Counts do not agree: " + "; ".join(wrong) if wrong else "No part came."
    return f"{soak.summary.parts:,} parts, each with one verdict, stored and told; all counts agree."


def sentences(soak: Soak) -> tuple[str, ...]:
    """What a reader wants to know first."""
    s = soak.summary
    rate = f", {s.parts_per_second:.1f} a second" if s.parts_per_second else ""
    found = [f"{s.parts:,} parts in {_long(s.seconds)}{rate}."]
    if s.deadline_ms is not None:
        found.append(f"Deadline {s.deadline_ms:g} ms: {s.deadline_misses:,} misses.")
    found.append(_growth("Memory", soak.memory, MIB_PER_HOUR, "MiB an hour"))
    if soak.held.value is not None:
        found.append(_growth("What malloc has given out of it", soak.held, MIB_PER_HOUR, "MiB an hour"))
    if soak.samples:
        rss = [one.rss_bytes / 2**20 for one in soak.samples]
        found.append(f"Memory at most {max(rss):,.0f} MiB, at the end {rss[-1]:,.0f} MiB.")
    found += [f"{n:,} results still wait for {sink}." for sink, n in soak.waiting.items() if n]
    found += [alarm.sentence() for alarm in s.alarms]
    return tuple(found)


def render(soak: Soak) -> str:
    """The page as text."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    style = files("lineside.data").joinpath("page.css").read_text("utf-8") + "".join(
        files("lineside.evidence").joinpath(name).read_text("utf-8") for name in ("chart.css", "report.css")
    )
    template = environment.from_string(files("lineside.line").joinpath("soak.html.j2").read_text("utf-8"))
    return template.render(
        soak=soak,
        style=Markup(style),
        headline=headline(soak),
        sentences=sentences(soak),
        names=[*PERCENTILES, "max", "mean"],
        stages=_stages(soak),
        charts=_charts(soak),
        growth=[
            ("resident memory", _cells(soak.memory, MIB_PER_HOUR, "MiB/h")),
            ("of it, given out by malloc", _cells(soak.held, MIB_PER_HOUR, "MiB/h")),
            ("open files", _cells(soak.files, 3600, "/h")),
            ("threads", _cells(soak.threads, 3600, "/h")),
        ],
        fates=list(next(iter(soak.frames.values()), {})),
        facts=_facts(soak),
    )


def _stages(soak: Soak) -> list[tuple[str, str, list[str], int]]:
    """(stage, what it is, its percentiles, n)"""
    s = soak.summary
    stages: list[tuple[str, str, Latency | None]] = [(name, what, s.latency_ms[name]) for name, what in STAGES.items()]
    stages += [("wire", WIRE, s.wire_ms), ("confirmed", END, s.end_ms)]
    return [
        (name, what, [_ms(v) for v in (*latency.percentiles.values(), latency.max, latency.mean)], latency.n)
        for name, what, latency in stages
        if latency and latency.percentiles
    ]


def _charts(soak: Soak) -> "list[tuple[str, Markup]]":
    from markupsafe import Markup

    samples = soak.samples
    if len(samples) < 2:
        return []
    t = [one.t_s for one in samples]
    seconds, unit = _unit(t[-1])
    x = [one / seconds for one in t]
    middles, rates = _throughput(samples)
    mib = [one.rss_bytes / 2**20 for one in samples]
    held = [(o.t_s / seconds, o.held_bytes / 2**20) for o in samples if o.held_bytes is not None]
    drawn = [
        ("Parts a second", [m / seconds for m in middles], rates),
        ("Resident memory, MiB", x, mib),
        ("Processor, cores at work", [m / seconds for m in middles], _throughput(samples, "cpu_s")[1]),
        ("Verdicts given and not stored yet", x, [one.unstored for one in samples]),
        ("Open files", x, [one.files for one in samples]),
    ]
    if held:
        drawn.insert(2, ("Given out by malloc, MiB", *map(list, zip(*held, strict=True))))
    if any(one.outbox for one in samples):
        known = [one for one in samples if one.outbox is not None]
        drawn.append(("Results waiting in outboxes", [o.t_s / seconds for o in known], [o.outbox or 0 for o in known]))
    if soak.summary.deadline_ms is not None:
        drawn.append(("Deadline misses so far", x, [one.misses for one in samples]))
    if any(one.evidence is not None for one in samples):
        drawn.append(("Evidence of drift, log10", x, [float(np.log10(max(one.evidence or 1, 1))) for one in samples]))
    return [(name, Markup(_chart(name, xs, ys, unit, x[-1]))) for name, xs, ys in drawn]


def _throughput(samples: Sequence[Sample], what: str = "parts") -> tuple[list[float], list[float]]:
    """(middle of each bin in s, growth a second in it)"""
    at = np.unique(np.linspace(0, len(samples) - 1, min(BINS, len(samples) - 1) + 1).astype(int))
    t = np.array([samples[k].t_s for k in at])
    n = np.array([getattr(samples[k], what) for k in at], float)
    apart = np.maximum(np.diff(t), 1e-9)
    return ((t[1:] + t[:-1]) / 2).tolist(), (np.diff(n) / apart).tolist()


def _chart(name: str, xs: Sequence[float], ys: Sequence[float], unit: str, end: float) -> str:
    top = max((*ys, 0)) * 1.08 or 1.0
    axes = svg.axes_of((0, end), (0, top), height=HEIGHT)
    step = _step(end)
    svg.frame(axes, [k * step for k in range(int(end / step + 1e-9) + 1)], f"{unit} since the start", "{:g}")
    upright = _step(top, 5)
    for k in range(int(top / upright + 1e-9) + 1):
        axes.text(svg.LEFT - 8, axes.y(k * upright) + 4, f"{k * upright:,.10g}", "tick", "end")
        axes.line((0, end), (k * upright,) * 2, "grid")
    axes.line(xs, ys, "first")
    return axes.svg(name)


def _step(end: float, most: int = OFTEN) -> float:
    """A round step between ticks: 1, 2 or 5 times a power of ten, so that there are at most so many."""
    size = 10.0 ** np.floor(np.log10(max(end, 1e-9) / most))
    return float(next(size * k for k in (1, 2, 5, 10, 20) if end / (size * k) <= most))


def _facts(soak: Soak) -> list[tuple[str, list[tuple[str, str]]]]:
    s, m = soak.summary, soak.machine
    run = [
        ("line", soak.line),
        ("began", soak.began),
        ("ended", soak.ended),
        ("run", s.run_id),
        ("parts", ", ".join(f"{n:,} {verdict}" for verdict, n in s.verdicts.items())),
        ("reasons", ", ".join(f"{n:,} {reason}" for reason, n in s.reasons.items()) or "none"),
        ("sampled", f"every {soak.every_s:g} s, {len(soak.samples):,} samples"),
    ]
    if s.max_behind_ms is not None:
        run.append(("most behind its triggers", f"{s.max_behind_ms:,.1f} ms"))
    bundles = [(camera, f"sha256 {sha256} (before this soak was put in)") for camera, sha256 in soak.bundles.items()]
    where = [
        ("processor", f"{m['cpu']}, {m['cores']} cores"),
        ("memory", f"{m['memory_gib']} GiB"),
        ("system", str(m["system"])),
        ("load before and after", f"{m['load_1min_before']:g}, {m['load_1min_after']:g} (one minute's)"),
    ]
    return [("Run", run), ("Bundles", bundles), ("Machine", where), ("Versions", list(soak.versions.items()))]


def _growth(what: str, e: Estimate, scale: float, unit: str) -> str:
    if e.value is None:
        return f"{what}: too few samples to say whether it grows ({e.method}); run for longer."
    low, high = e.low * scale, e.high * scale
    if low <= 0 <= high:
        word = "no growth shown, zero is inside"
    else:
        word = "it GROWS, zero is not inside" if low > 0 else "it shrinks, zero is not inside"
    return f"{what}: {e.value * scale:+.2f} {unit}, 95 % interval {low:+.2f} to {high:+.2f}: {word}."


def _cells(e: Estimate, scale: float, unit: str) -> tuple[str, str, str, str]:
    if e.value is None:
        return "not measured", "–", "too few samples", e.method
    inside = e.low <= 0 <= e.high
    interval = f"{e.low * scale:+.3f} to {e.high * scale:+.3f}"
    return f"{e.value * scale:+.3f} {unit}", interval, "yes" if inside else "NO", e.method


def _unit(seconds: float) -> tuple[float, str]:
    return (3600.0, "hours") if seconds > 2 * 3600 else (60.0, "minutes") if seconds > 180 else (1.0, "seconds")


def _long(seconds: float) -> str:
    return (
        f"{seconds / 3600:.1f} hours"
        if seconds > 7200
        else f"{seconds / 60:.1f} minutes"
        if seconds > 180
        else f"{seconds:.1f} s"
    )


def _ms(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def _finite(value: Any) -> Any:
    """JSON has no infinity: an interval of everything has no ends."""
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list) else value
