"""The camera's thread, with a clock of our own: an absolute schedule, backpressure, halts, lost sources."""

import itertools
import threading

import numpy as np
import pytest

from lineside.errors import LineError
from lineside.line.camera import Conveyor, Door, Room, SourceEnd, Taken, take
from lineside.line.source.frame import Frame

MS = 1_000_000


class FakeHalt(threading.Event):
    """Waiting moves the clock instead of the world."""

    def __init__(self):
        super().__init__()
        self.now = 1_000 * MS

    def wait(self, timeout=None):
        self.now += round((timeout or 0) * 1e9)
        return self.is_set()


def frames(n=None, **given):
    return (
        Frame(str(k), k, "x", error="none", **given) for k in (itertools.count(1) if n is None else range(1, n + 1))
    )


def free(k, timeout_s):
    return True


def play(source, *, period_ns, work_ns=lambda sequence: 0, store_opens_ns=0, deadline_ns=None):
    """store_opens_ns: from the first frame on, the store has no room until then."""
    halt, got = FakeHalt(), []
    start = halt.now

    def enter_store(k, timeout_s):
        halt.wait(min(timeout_s, max(0, start + store_opens_ns - halt.now) / 1e9))
        return halt.now >= start + store_opens_ns

    def put(message):
        got.append(message)
        if isinstance(message, Taken):
            halt.now += work_ns(message.frame.sequence)

    take(
        source,
        put,
        enter_store=enter_store,
        enter=free,
        conveyor=period_ns and Conveyor(period_ns),
        deadline_ns=deadline_ns,
        now_ns=lambda: halt.now,
        halt=halt,
    )
    got.append(halt.now - start)
    return got


def test_triggers_are_on_an_absolute_schedule():
    """Every part takes 0.3 ms of the camera's own time, one takes three periods: no trigger moves by it."""
    got = play(frames(9), period_ns=10 * MS, work_ns=lambda n: 30 * MS if n == 4 else 300_000)
    *taken, end, _ = got
    assert [t.time_ns - taken[0].time_ns for t in taken] == [k * 10 * MS for k in range(9)]
    assert [round(t.behind_ms) for t in taken] == [0, 0, 0, 0, 20, 10, 1, 0, 0]
    assert end == SourceEnd("")


def test_without_a_period_the_line_says_when():
    assert [t.time_ns for t in play(frames(3), period_ns=None)[:-2]] == [None] * 3


def test_the_cameras_own_time_wins():
    assert play(frames(1, captured_ns=5), period_ns=None)[0].time_ns == 5


@pytest.mark.parametrize("door", ["line", "store"])
def test_it_waits_for_room_and_a_halt_ends_the_wait(door):
    room, halt, got = Room(2), threading.Event(), []

    def put(message):
        got.append(message)
        if len(got) == 2:
            threading.Timer(0.05, halt.set).start()

    enter = Door(room.enter).enter
    doors = {"enter_store": free, "enter": enter} if door == "line" else {"enter_store": enter, "enter": free}
    take(frames(), put, **doors, conveyor=None, deadline_ns=MS, now_ns=lambda: 0, halt=halt)
    assert [type(m).__name__ for m in got] == ["Taken", "Taken", "SourceEnd"]


def test_a_lost_source_ends_with_its_sentence():
    def broken(error):
        yield Frame("1", 1, "x")
        raise error

    assert play(broken(LineError("basler: unplugged")), period_ns=None)[-2] == SourceEnd("basler: unplugged")
    assert play(broken(KeyError("x")), period_ns=None)[-2] == SourceEnd("the source failed: KeyError: 'x'")


def test_a_part_whose_deadline_passes_before_the_store_has_room_is_a_fault_at_that_moment():
    *taken, end, ms = play(frames(), period_ns=10 * MS, store_opens_ns=30_000 * MS, deadline_ns=25 * MS)
    assert taken == []
    assert end.fault.startswith("part 1: its deadline passed while the store and the sinks had no room")
    assert ms == 25 * MS


def test_a_part_that_the_store_has_room_for_before_its_deadline_is_late_and_no_fault():
    *taken, end, _ = play(frames(4), period_ns=10 * MS, store_opens_ns=24 * MS, deadline_ns=25 * MS)
    assert end == SourceEnd("")
    assert [(round(t.time_ns / MS) - 1_000, round(t.behind_ms)) for t in taken] == [(0, 24), (10, 14), (20, 4), (30, 0)]


def test_a_part_that_comes_late_by_itself_may_wait_as_long_as_a_deadline():
    """Reading took ten deadlines: the part will be rejected, but the store is not to blame."""
    given = {"period_ns": 10 * MS, "work_ns": lambda n: 0, "deadline_ns": 25 * MS}

    def slow(n):
        for frame in frames(n):
            yield Frame(frame.part_id, frame.sequence, "x", error="none", captured_ns=frame.sequence)

    *taken, end, _ = play(slow(2), store_opens_ns=24 * MS, **given)
    assert (len(taken), end) == (2, SourceEnd(""))
    *taken, end, ms = play(slow(2), store_opens_ns=26 * MS, **given)
    assert (len(taken), ms) == (0, 25 * MS)
    assert "its deadline passed" in end.fault


@pytest.mark.parametrize(("period_ns", "deadline_ns"), [(None, 25 * MS), (10 * MS, None)])
def test_without_a_clock_or_a_deadline_a_part_waits_for_the_store_as_long_as_it_takes(period_ns, deadline_ns):
    *taken, end, _ = play(frames(2), period_ns=period_ns, store_opens_ns=30_000 * MS, deadline_ns=deadline_ns)
    assert (len(taken), end) == (2, SourceEnd(""))


def fired(times, *, period_ns, work_ns=lambda sequence: 0, **more):
    """A camera with a software trigger: the frame is captured when it is asked for."""
    halt, got = FakeHalt(), []
    start = halt.now

    def camera():
        for n in range(1, times + 1):
            yield Frame(str(n), n, "x", picture=np.zeros((2, 2, 3), np.uint8), captured_ns=halt.now)

    def put(message):
        got.append(message)
        if isinstance(message, Taken):
            halt.now += work_ns(message.frame.sequence)

    given = {"enter_store": free, "enter": free, "deadline_ns": None, "now_ns": lambda: halt.now, "halt": halt} | more
    take(camera(), put, conveyor=period_ns and Conveyor(period_ns), fires=True, **given)
    assert got.pop() == SourceEnd("")
    return start, got


def test_a_software_trigger_is_fired_when_the_part_is_due():
    start, taken = fired(4, period_ns=10 * MS)
    assert [t.time_ns - start for t in taken[:4]] == [0, 10 * MS, 20 * MS, 30 * MS]
    assert [t.frame.captured_ns for t in taken[:4]] == [t.time_ns for t in taken[:4]]


def test_a_trigger_more_than_a_period_late_takes_the_picture_of_another_part():
    """The third part costs 35 ms: the fourth is 25 ms late, the fifth 15, the sixth 5."""
    start, taken = fired(6, period_ns=10 * MS, work_ns=lambda n: 35 * MS if n == 3 else 0)
    assert [t.time_ns - start for t in taken] == [k * 10 * MS for k in range(6)]
    assert [bool(t.frame.error) for t in taken] == [False, False, False, True, True, False]
    assert "triggered 25 ms late: by then another part stood before the camera" in taken[3].frame.error
    assert taken[3].frame.picture is None


@pytest.mark.parametrize(("together_ns", "bad"), [(None, []), (20 * MS, [3]), (200 * MS, []), (30 * MS, [])])
def test_a_trigger_too_late_beside_other_cameras_costs_its_part_alone(together_ns, bad):
    """The second part costs 130 ms of a period of 100: the third is fired 30 ms late. A third is 33."""
    start, taken = fired(5, period_ns=100 * MS, work_ns=lambda n: 130 * MS if n == 2 else 0, together_ns=together_ns)
    assert [t.time_ns - start for t in taken] == [k * 100 * MS for k in range(5)]
    assert [n for n, t in enumerate(taken, 1) if t.frame.error] == bad
    if bad:
        assert "triggered 30 ms late: by then its part was not where the other cameras" in taken[2].frame.error


def test_without_a_period_a_software_trigger_is_its_parts_time():
    _, taken = fired(2, period_ns=None)
    assert [t.time_ns for t in taken] == [t.frame.captured_ns for t in taken]
