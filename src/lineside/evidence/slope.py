"""Does it grow? The slope of a series over time, with an interval that holds for series that remember.

Memory, sampled every second, is not a row of independent numbers: a value is close to the one before it, so the
interval of ordinary least squares is far too narrow, and finds growth where there is none. Here it is cut into BLOCKS
stretches of equal length; their means are nearly independent (batch means: Law & Kelton, Simulation Modeling and
Analysis, sec. 9.5.3), and a straight line through them has Student's interval with BLOCKS - 2 degrees of freedom. The
first share is left out: caches fill, pools grow to their size.

What no interval can see is a growth that had not begun, or one in steps rarer than the series is long.
"""

import numpy as np

from lineside.evidence.intervals import Estimate, nothing

BLOCKS = 20
WARM_UP = 0.2  # of the time, left out
LEAST = 4 * BLOCKS  # samples, after that


def slope(times: np.ndarray, values: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Growth of values per unit of times, (N,) each, times ascending; of n samples. Fewer than needed: no value."""
    from scipy.stats import t as student

    method = f"least squares through {BLOCKS} block means, the first {100 * WARM_UP:.0f} % left out"
    everything = (-np.inf, np.inf)
    keep = times >= times[0] + WARM_UP * (times[-1] - times[0]) if len(times) else np.zeros(0, bool)
    x, y = np.asarray(times, float)[keep], np.asarray(values, float)[keep]
    if len(x) < LEAST or not np.isfinite(y).all():
        return nothing(method, confidence, everything)
    y = y - y[0]  # what never changes has exactly no slope
    x, y = (np.array([part.mean() for part in np.array_split(one, BLOCKS)]) for one in (x, y))
    across = x - x.mean()
    value = float(across @ y / (across @ across))
    left = y - y.mean() - value * across
    error = float(np.sqrt(left @ left / (BLOCKS - 2) / (across @ across)))
    reach = float(student.ppf((1 + confidence) / 2, BLOCKS - 2)) * error
    return Estimate(value, value - reach, value + reach, int(keep.sum()), confidence, method)
