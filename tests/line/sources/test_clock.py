"""When a frame was captured, from two clocks that know nothing of each other."""

from lineside.line.source.clock import Delay

MS = 1_000_000


def test_what_takes_longer_than_the_quickest_was_delayed_by_the_rest():
    delay = Delay(5_000 * MS)
    times = [(1_007, 0), (1_105, 100), (1_245, 200), (1_305, 300)]  # arrived, stamped: 7, 5, 45, 5 ms on their way
    assert [round(delay.of(a * MS, c * MS) / MS) for a, c in times] == [0, 0, 40, 0]


def test_no_clock_no_delay():
    assert Delay(1).of(5, None) == 0


def test_crystals_may_drift_apart():
    """100 ppm over an hour are 360 ms: nobody is late by that."""
    delay = Delay(5_000 * MS)
    found = [delay.of(round(k * 100 * MS * 1.00009), k * 100 * MS) for k in range(36_000)]
    assert max(found) < MS


def test_a_clock_that_is_set_anew_delays_nobody_for_ever():
    delay = Delay(5_000 * MS)
    for k in range(10):
        delay.of(k * 100 * MS, 3_600_000 * MS + k * 100 * MS)
    assert [delay.of(k * 100 * MS, k * 100 * MS) for k in range(10, 20)] == [0] * 10


def test_a_clock_that_is_set_back_a_little_makes_nobody_late_for_hours():
    """By less than the camera's timeout: 100 ppm would take 2 h 47 min to forget one second."""
    delay = Delay(5_000 * MS)
    for k in range(10):
        delay.of(k * 100 * MS, k * 100 * MS)
    assert [delay.of(k * 100 * MS, (k * 100 - 1_000) * MS) for k in range(10, 20)] == [0] * 10


def test_a_clock_that_is_set_now_and_then_is_used_all_the_same():
    """Once in 2,000 frames, twenty times; a frame that waited is still seen."""
    delay = Delay(5_000 * MS)
    for k in range(40_000):
        behind = 10_000 * (k // 2_000)
        delay.of(k * 100 * MS, (k * 100 - behind) * MS)
    assert round(delay.of((40_000 * 100 + 300) * MS, (40_000 * 100 - behind) * MS) / MS) == 300


def test_a_clock_that_counts_in_other_units_is_not_used():
    delay = Delay(5_000 * MS)
    found = [delay.of(k * 100 * MS, k * 100 * MS // 8) for k in range(1_000)]
    assert set(found[300:]) == {0}
