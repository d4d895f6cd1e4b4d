"""What combining gained, told on test: every bundle and the combination on the same pictures, and the difference.

The combination is held against the bundle that was best on calibrate, which is what one would have used without it;
which one is best on test is never asked. Only pictures on which the two differ say anything (evidence/paired.py):
McNemar's exact test, and an exact interval for the difference of top-1, widened to a bootstrap of whole groups where
pictures are tied (McNemar's test counts them as independent even so).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lineside.bundle.manifest import Manifest
from lineside.evidence.intervals import Estimate, bootstrap, mean, widest
from lineside.evidence.paired import difference, mcnemar
from lineside.settings import plain

GAIN = "top-1 gain over the best of its bundles"  # in the manifest's metrics; not "test …": evaluate does not renew it


@dataclass(frozen=True)
class Gain:
    """The combination against the best bundle, picture by picture."""

    over: str
    won: int  # pictures that the combination has right and the best bundle wrong
    lost: int
    p_value: float  # McNemar's, two-sided, that they are equally good
    difference: Estimate  # of top-1, combination minus best bundle

    def sentence(self) -> str:
        """The gain for a person, and whether it is one."""
        d = self.difference
        if d.value is None:
            return "not measured: no test picture"
        if d.low > 0:
            said = "a gain"
        elif d.high < 0:
            said = "a LOSS"
        else:
            said = "neither a gain nor a loss is shown"
        return (
            f"{_points(d.value)} ({_points(d.low)} to {_points(d.high)}) points of top-1 over {self.over}: "
            f"{self.won} of {d.n:,} pictures won, {self.lost} lost, p = {self.p_value:.2g} (McNemar): {said}"
        )


@dataclass(frozen=True)
class Row:
    """One bundle, or the combination, which is last."""

    name: str
    made_of: str
    used: bool  # in the combination
    calibrate_nll: float  # nats, at the best temperature
    calibrate_top1: Estimate
    test_top1: Estimate
    test_nll: Estimate
    median_ms: float  # a ready picture to logits, onnxruntime float32, all of them in turn
    p95_ms: float


@dataclass(frozen=True)
class Combined:
    """A written combination and what is known about it."""

    path: Path
    how: str
    manifest: Manifest
    rows: tuple[Row, ...]  # the bundles, the best on calibrate first; then the combination
    gain: Gain
    escape: Estimate | None  # of the combination on test
    left_out: tuple[int, int, int]  # pictures of DATA: trained on, calibrated on, nearly the same as those

    @property
    def contradicted(self) -> bool:
        """Whether test's interval of escape lies above the promise."""
        point = self.manifest.operating_point
        return (
            point is not None and self.escape is not None and self.escape.n > 0 and self.escape.low > point.max_escape
        )

    def sentence(self) -> str:
        """What combining gained, for a person."""
        if sum(row.used for row in self.rows[:-1]) == 1:
            return f"the soup is {self.gain.over} alone: with any other of the bundles it is worse on calibrate"
        return self.gain.sentence()


def gain(
    over: str, before: np.ndarray, after: np.ndarray, *, rng: np.random.Generator, groups: np.ndarray | None = None
) -> Gain:
    """before, after (N,) bool: is the best bundle right, is the combination; groups (N,): same number = tied."""
    won, lost = int((after & ~before).sum()), int((before & ~after).sum())
    exact = difference(lost, won, len(before))
    if groups is not None and won + lost:
        moved = after.astype(np.float64) - before
        exact = widest(exact, bootstrap(mean, (moved,), rng=rng, groups=groups, bounds=(-1.0, 1.0)))
    elif groups is not None:  # a bootstrap sees nothing: as many witnesses as there are groups, none with a difference
        exact = widest(exact, difference(0, 0, len(np.unique(groups))))
    return Gain(over, won, lost, mcnemar(lost, won), exact)


def table(rows: Sequence[Row]) -> str:
    """Rows as text for a terminal."""
    wide = max(len(row.name) for row in rows)
    lines = [f"  {'':<{wide}}  {'calibrate NLL':>13}  {'top-1':>7}    {'test top-1':<34}  {'ms':>7}  {'p95':>7}  net"]
    for row in rows:
        mark, top1 = "+" if row.used else " ", _percent(row.calibrate_top1)
        lines.append(
            f"{mark} {row.name:<{wide}}  {_nats(row.calibrate_nll):>13}  {top1:>7}    {row.test_top1.percent():<34}  "
            f"{row.median_ms:7.2f}  {row.p95_ms:7.2f}  {row.made_of}"
        )
    lines.append(
        "+: in the combination; NLL: nats at the best temperature, what chooses; ms: median and p95 of a picture, "
        "onnxruntime float32, in turn"
    )
    return "\n".join(lines)


def as_json(done: Combined) -> dict:
    """What `lineside combine --json` prints."""
    return {
        "bundle": str(done.path),
        "how": done.how,
        "bundles": [plain(row) for row in done.rows[:-1]],
        "combined": plain(done.rows[-1]),
        "gain": plain(done.gain) | {"sentence": done.sentence()},
        "operating_point": plain(done.manifest.operating_point),
        "escape": plain(done.escape),
        "contradicted": done.contradicted,
        "pictures": {
            "test": done.gain.difference.n,
            **dict(
                zip(
                    ("left_out_trained_on", "left_out_calibrated_on", "left_out_nearly_seen"),
                    done.left_out,
                    strict=True,
                )
            ),
        },
        "looks": done.manifest.evaluations,
    }


def _points(value: float) -> str:
    return f"{100 * value:+.2f}"


def _percent(estimate: Estimate) -> str:
    return "–" if estimate.value is None else f"{100 * estimate.value:.1f} %"


def _nats(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "not finite"
