"""Does it grow: the interval must hold for series that remember, and see a leak."""

import math

import numpy as np

from lineside.evidence.slope import BLOCKS, LEAST, slope


def remembering(rng, n, rho=0.8):
    """AR(1) with unit steps: each value keeps rho of the one before it."""
    out, now = np.empty(n), 0.0
    for k, step in enumerate(rng.normal(size=n)):
        now = rho * now + step
        out[k] = now
    return out


def test_nineteen_in_twenty_intervals_hold_zero_where_nothing_grows():
    rng, t = np.random.default_rng(0), np.arange(720.0)
    found = [slope(t, remembering(rng, 720)) for _ in range(400)]
    inside = sum(one.low <= 0 <= one.high for one in found)
    assert 360 <= inside <= 395  # 380 expected; the square root of 400 · 0.05 · 0.95 is 4.4
    x = t - t.mean()
    narrow = 0  # ordinary least squares finds growth in a third of them: the reason for all this
    for _ in range(100):
        y = remembering(rng, 720)
        b = x @ y / (x @ x)
        left = y - y.mean() - b * x
        narrow += abs(b) > 1.96 * math.sqrt(left @ left / 718 / (x @ x))
    assert narrow > 20


def test_a_leak_is_seen_and_its_size_is_inside():
    rng, t = np.random.default_rng(1), np.arange(1800.0)
    found = [slope(t, remembering(rng, 1800) + 0.01 * t) for _ in range(100)]
    assert all(one.low > 0 for one in found)
    assert sum(one.low <= 0.01 <= one.high for one in found) >= 88


def test_the_start_is_left_out():
    t = np.arange(1000.0)
    grown = np.where(t < 150, t, 150.0)  # pools grow to their size, then no more
    found = slope(t, grown)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert found.n == 800


def test_too_few_samples_say_nothing():
    for n in (0, 1, LEAST):
        found = slope(np.arange(float(n)), np.ones(n))
        assert (found.value, found.n, found.low, found.high) == (None, 0, -math.inf, math.inf)
    assert slope(np.arange(float(2 * LEAST)), np.ones(2 * LEAST)).value == 0
    assert slope(np.arange(float(2 * LEAST)), np.full(2 * LEAST, np.nan)).value is None
    assert f"{BLOCKS} block means" in found.method
