"""The camera's thread, with a clock of our own: an absolute schedule, backpressure, halts, lost sources."""

import itertools
import threading

from lineside.errors import LineError
from lineside.line.camera import Room, SourceEnd, Taken, take
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


def play(source, *, period_ns, work_ns=lambda sequence: 0, enter=()):
    halt, got = FakeHalt(), []

    def put(message):
        got.append(message)
        if isinstance(message, Taken):
            halt.now += work_ns(message.frame.sequence)

    take(source, put, enter=enter, period_ns=period_ns, now_ns=lambda: halt.now, halt=halt)
    return got


def test_triggers_are_on_an_absolute_schedule():
    """Every part takes 0.3 ms of the camera's own time, one takes three periods: no trigger moves by it."""
    got = play(frames(9), period_ns=10 * MS, work_ns=lambda n: 30 * MS if n == 4 else 300_000)
    taken = got[:-1]
    assert [t.time_ns - taken[0].time_ns for t in taken] == [k * 10 * MS for k in range(9)]
    assert [round(t.behind_ms) for t in taken] == [0, 0, 0, 0, 20, 10, 1, 0, 0]
    assert got[-1] == SourceEnd("")


def test_without_a_period_the_line_says_when():
    assert [t.time_ns for t in play(frames(3), period_ns=None)[:-1]] == [None] * 3


def test_the_cameras_own_time_wins():
    assert play(frames(1, captured_ns=5), period_ns=None)[0].time_ns == 5


def test_it_waits_for_room_and_a_halt_ends_the_wait():
    room, halt, got = Room(2), threading.Event(), []

    def put(message):
        got.append(message)
        if len(got) == 2:
            threading.Timer(0.05, halt.set).start()

    take(frames(), put, enter=(room.enter,), period_ns=None, now_ns=lambda: 0, halt=halt)
    assert [type(m).__name__ for m in got] == ["Taken", "Taken", "SourceEnd"]


def test_a_lost_source_ends_with_its_sentence():
    def broken(error):
        yield Frame("1", 1, "x")
        raise error

    assert play(broken(LineError("basler: unplugged")), period_ns=None)[-1] == SourceEnd("basler: unplugged")
    assert play(broken(KeyError("x")), period_ns=None)[-1] == SourceEnd("the source failed: KeyError: 'x'")
