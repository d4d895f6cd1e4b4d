"""How soon drift is told: parts from a change to the alarm, and alarms without one.

    python -m benchmarks.drift [--runs 40]

Four independent normal numbers, 250 calibrate pictures, a change of one number's mean after 1,000 parts, by so many
standard deviations; the detector as the line has it (average of at least 100,000 parts between false alarms).
"""

import argparse

import numpy as np

from benchmarks import record
from lineside.evidence.drift import ARL, Detector

NUMBERS = ("brightness", "contrast", "margin", "sharpness")
CALIBRATE, BEFORE, AFTER = 250, 1000, 4000
SHIFTS = (0.25, 0.5, 1.0, 2.0, 3.0)


def alarm_after(shift: float, parts: int, rng: np.random.Generator) -> int | None:
    """Parts until the first alarm; the shift begins after BEFORE. None: none within parts."""
    detector = Detector({"a": {name: rng.normal(size=CALIBRATE) for name in NUMBERS}}, rng=rng)
    values = rng.normal(size=(parts, len(NUMBERS)))
    values[BEFORE:, 0] += shift
    for n, row in enumerate(values, 1):
        if detector.add(n, "a", dict(zip(NUMBERS, row.tolist(), strict=True))):
            return n
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=40)
    args = parser.parse_args()
    rng, rows = np.random.default_rng(0), []
    for shift in (0.0, *SHIFTS):
        found = [alarm_after(shift, BEFORE + AFTER, rng) for _ in range(args.runs)]
        delays = np.array([np.inf if n is None else n - BEFORE for n in found])
        seen = delays[np.isfinite(delays)]
        rows.append(
            {
                "shift_in_standard_deviations": shift,
                "runs": args.runs,
                "alarms": len(seen),
                "before_the_change": int((delays <= 0).sum()),
                "median_parts": float(np.median(delays)) if np.isfinite(np.median(delays)) else None,
                "slowest_parts": float(seen.max()) if len(seen) else None,
            }
        )
        print(rows[-1], flush=True)
    what = (
        f"parts from a change to the alarm (at most {AFTER}), after {BEFORE} parts; false alarms at least {ARL:g} apart"
    )
    print(record.write("drift", what, rows, ("numpy",)))


if __name__ == "__main__":
    main()
