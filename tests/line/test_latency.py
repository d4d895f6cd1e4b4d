"""The histogram against numpy, on every shape of distribution."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineside.line.latency import PERCENTILES, Histogram


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(2e-4, 1e6), min_size=1, max_size=300))
def test_percentiles_are_within_a_quarter_of_a_percent(times):
    histogram = Histogram()
    for ms in times:
        histogram.add(ms)
    found = histogram.latency()
    assert (found.n, found.max) == (len(times), max(times))
    assert found.mean == pytest.approx(np.mean(times))
    assert found.percentiles is not None
    for name, p in PERCENTILES.items():
        exact = np.sort(times)[math.ceil(p * len(times)) - 1]
        assert found.percentiles[name] == pytest.approx(exact, rel=0.00251)


def test_nothing_measured_is_no_number():
    assert Histogram().latency().percentiles is None


def test_what_is_out_of_range_is_kept_at_the_end():
    histogram = Histogram()
    for ms in (0.0, 1e-9, 1e9):
        histogram.add(ms)
    latency = histogram.latency()
    assert (latency.n, latency.max) == (3, 1e9)
