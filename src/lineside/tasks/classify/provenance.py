"""Where an evaluation's numbers come from and what they rest on: parity, cost, data, versions, assumptions."""

import json
import math
import platform

import numpy as np

from lineside import __version__
from lineside.bundle import parity
from lineside.tasks.classify.evaluate import Evaluation

NOT_LEARNT = ("running_mean", "running_var", "num_batches_tracked")  # of batch normalisation


def parity_table(e: Evaluation) -> tuple[tuple[str, ...], ...]:
    if "parity.json" not in e.manifest.files:
        return ()
    rows = parity.read_rows(e.bundle.read("parity.json"), f"{e.bundle.path}: parity.json")
    if not rows:
        return ()
    head = ("engine", "precision", "pictures", "most a score moved", "labels changed", "verdicts changed", "median ms")
    return (
        head,
        *(
            (
                row.engine,
                row.precision,
                f"{row.n:,}",
                "not finite" if row.score_max is None else f"{row.score_max:.1e}",
                str(row.label_flips),
                str(row.verdict_flips),
                f"{row.ms_median:.2f}",
            )
            for row in rows
        ),
    )


def facts(e: Evaluation) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    m = e.manifest
    p50, p95, worst = (float(np.quantile(e.ms, q)) for q in (0.5, 0.95, 1.0))
    cost = (
        ("engine", f"{e.model.served.engine} {e.model.served.precision}"),
        ("time in the engine", f"{p50:.2f} ms median, {p95:.2f} ms p95, {worst:.2f} ms worst of {len(e.ms):,}"),
        ("machine", f"{parity.machine()}; this run, one picture at a time, decoding not included"),
        ("model file", f"{len(e.bundle.read(e.model.served.file)) / 1024:,.0f} KiB"),
        ("parameters", _parameters(e)),
        ("net", m.made_of),
    )
    data = (
        ("test pictures", _counts(e)),
        ("made from", f"{m.data.source}, fingerprint {m.data.sha256}"),
        *((f"{part} part", ", ".join(f"{n:,} {name}" for name, n in of.items())) for part, of in m.data.counts.items()),
        ("left out", f"{e.unseen.trained_on:,} trained on, {e.unseen.calibrated_on:,} calibrated on"),
        (
            "nearly seen",
            ", ".join(e.unseen.nearly_seen[:5]) + (" …" if len(e.unseen.nearly_seen) > 5 else "") or "none",
        ),
        ("not in the bundle's split", f"{e.unseen.new:,} of the test pictures"),
        ("tied pictures", _tied(e)),
    )
    made = (
        ("bundle", f"{e.bundle.path.name}, made {m.created}"),
        ("manifest", f"sha256 {e.model.sha256} (before this report was put in)"),
        ("model", f"{e.model.served.file}, sha256 {m.files[e.model.served.file]}"),
        ("temperature", f"{m.temperature:.4g}"),
        ("recipe", ", ".join(f"{k} = {v}" for k, v in m.recipe.items()) or "not recorded"),
        ("made with", ", ".join(f"{k} {v}" for k, v in m.versions.items()) or "not recorded"),
        ("evaluated with", f"lineside {__version__}, python {platform.python_version()}, bootstrap seed {e.seed}"),
    )
    return (("Cost", cost), ("Data", data), ("Bundle", made))


def _parameters(e: Evaluation) -> str:
    """Learnt numbers, from the header of weights.safetensors: 8 bytes of length, then JSON."""
    if "weights.safetensors" not in e.manifest.files:
        return "not recorded"
    data = e.bundle.read("weights.safetensors")
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    learnt = (t["shape"] for name, t in header.items() if name != "__metadata__" and not name.endswith(NOT_LEARNT))
    return f"{sum(math.prod(shape) for shape in learnt):,}"


def _counts(e: Evaluation) -> str:
    counts = np.bincount(e.labels, minlength=len(e.manifest.classes))
    return ", ".join(f"{n:,} {name}" for name, n in zip(e.manifest.classes, counts, strict=True))


def _tied(e: Evaluation) -> str:
    if e.unseen.groups is None:
        return "none: no lots are known and no two pictures are nearly the same"
    return f"{len(e.labels):,} pictures in {len(np.unique(e.unseen.groups)):,} lots or near duplicates"


def assumptions(e: Evaluation) -> tuple[str, ...]:
    rows = ["Test pictures are like those that the line will see: same parts, camera, light. No number can check that."]
    point = e.point
    if point is not None:
        rows.append(
            f"Escape is promised for bad parts like calibrate's {point.n_bad:,}, in that mix of kinds. A defect "
            "of another kind can escape freely; a kind that becomes more frequent changes the rate."
        )
        rows.append(
            "The promise is a statement about the procedure: in at most "
            f"{100 * (1 - point.confidence):g} of 100 such calibrations the true escape rate is above the promise, "
            "more where calibrate also chose the epoch: 5 to 14 of 100 at 95 % in a simulation (decision 003)."
        )
        if e.calibrate.groups is None:
            rows.append("Calibrate's parts count as independent of each other: no lots were given.")
        else:
            rows.append(
                f"Calibrate's parts come in lots: its {point.n_bad:,} bad parts count as {point.n_bad_effective:.0f} "
                f"independent ones, its {point.n_good:,} good parts as {point.n_good_effective:.0f}: an estimate, and "
                "of few lots a poor one: a fault that one lot in ten has, and the net misses, may be in none of them."
            )
        if e.point_is_new:
            rows.append("The operating point was chosen for this evaluation, from the bundle's calibrate answers.")
        if e.model.served.precision != "float32":
            rows.append(
                f"Thresholds were chosen on the float32 net; the line runs {e.model.served.precision}, which a "
                "paired test on decisions allowed."
            )
    rows.append("Intervals of rates are exact (Clopper–Pearson), two-sided, and widened where pictures are tied.")
    rows.append("ECE is binned and never below 0, so it is a little too high; its interval allows for that.")
    if missing := [c.name for c in e.score.per_class if c.n == 0]:
        rows.append(f"There is no test picture of {', '.join(missing)}: nothing is known about it here.")
    if e.score.no_answer:
        rows.append(f"{e.score.no_answer:,} pictures got no finite answer; they count as wrong and as rejected.")
    if e.looks > 1:
        rows.append("A test set that is looked at again and again while something is tuned stops being one.")
    return tuple(rows)
