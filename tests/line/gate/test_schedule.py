"""When a verdict leaves: order, exactly once, never early, and none that comes too late for its part."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineside.errors import LineError
from lineside.line.events import Part
from lineside.line.gate import belt as belts
from lineside.line.gate.belt import WRAP, Belt
from lineside.line.gate.schedule import Job, Schedule
from lineside.line.gate.wire import Timing

MS = 1_000_000
VERDICTS = st.sampled_from(["accept", "hold", "reject"])
# (ms since the trigger before, ms from trigger to verdict, verdict), of each part
PARTS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 60), VERDICTS), max_size=40)
STEPS = st.lists(st.integers(1, 30), min_size=1, max_size=60)  # ms from one round of the gate's thread to the next


def jobs_of(parts) -> list[Job]:
    """Verdicts leave the station in the order of the triggers: one that is quicker waits for the one before it."""
    jobs, trigger, said = [], 1000 * MS, 0
    for n, (pause, took, verdict) in enumerate(parts, 1):
        trigger += pause * MS
        said = max(said, trigger + took * MS)
        jobs.append(Job(Part(f"p{n}", n), verdict, "decided", trigger, said))
    return jobs


def times_of(steps, until: int) -> list[int]:
    """Rounds: as drawn, then every 5 ms until everything must have left."""
    times = [1000 * MS + at * MS for at in accumulate(steps)]
    while times[-1] < until:
        times.append(times[-1] + 5 * MS)
    return times


def run(schedule: Schedule, jobs: list[Job], times: list[int], read=lambda now: None) -> list[tuple[Job, int, int]]:
    """(job, due, when it left) by rounds of a gate's thread: what was given comes in, one reading, all that is due."""
    left, coming = [], list(jobs)
    for now in times:
        while coming and coming[0].asked_ns <= now:
            schedule.put(coming.pop(0))
        read(now)
        while told := schedule.due(now):
            left.append((*told, now))
    return left


@given(PARTS, STEPS, st.integers(0, 100))
def test_by_time(parts, steps, delay_ms):
    jobs = jobs_of(parts)
    times = times_of(steps, max([j.asked_ns for j in jobs] + [j.triggered_ns for j in jobs], default=0) + 200 * MS)
    late = [j for j in jobs if delay_ms and j.asked_ns > j.triggered_ns + delay_ms * MS]
    schedule = Schedule(Timing(delay_ms=delay_ms), Belt(1, 0))
    if late:
        first = late[0]
        says = (
            rf"part {first.part.part_id}: its verdict \({first.verdict}\) came .* after the part had reached the gate"
        )
        with pytest.raises(LineError, match=says):
            run(schedule, jobs, times)
        return
    left = run(schedule, jobs, times)
    assert [job for job, *_ in left] == jobs  # each once, in order, with its own verdict
    assert len(schedule) == 0
    for job, due, now in left:
        assert due == (job.triggered_ns + delay_ms * MS if delay_ms else job.asked_ns)
        assert now >= due
        assert now == min(t for t in times if t >= max(due, job.asked_ns))  # and in the first round that can


@given(PARTS, STEPS, st.data())
def test_by_encoder(parts, steps, data):
    """A belt that runs evenly between two readings, at any speed, and stands now and then; the counter wraps."""
    jobs = jobs_of(parts)
    times = times_of(steps, max((j.asked_ns for j in jobs), default=0) + 100 * MS)
    moves = data.draw(
        st.lists(st.integers(0, 50), min_size=len(times), max_size=len(times)), label="counts per reading"
    )
    first = data.draw(st.integers(WRAP - 500, WRAP - 1) | st.integers(0, WRAP - 1), label="first reading")
    delay = data.draw(st.integers(1, 600), label="delay_counts")
    readings = dict(zip(times, accumulate(moves, initial=0), strict=False))

    def where(at: int) -> float:
        """The truth, as any reader of the belt's drawing would find it; before the first reading it stands."""
        before = max((t for t in times if t <= at), default=times[0])
        after = min((t for t in times if t >= at), default=times[-1])
        if after <= before:
            return readings[before]
        return readings[before] + (readings[after] - readings[before]) * (at - before) / (after - before)

    belt = Belt(jump=50, jitter=0)
    belt.add(999 * MS, first)  # the gate reads it when it starts
    schedule = Schedule(Timing(delay_counts=delay, encoder=100), belt)
    margin = 1e-6
    late = [j for j in jobs if where(j.asked_ns) > where(j.triggered_ns) + delay + margin]
    refused, left = "", []
    try:
        left = run(schedule, jobs, times, lambda now: belt.add(now, (first + readings[now]) % WRAP))
    except LineError as error:
        refused = str(error)
    if refused:
        assert "after the part had reached the gate" in refused
        assert any(f"part {job.part.part_id}: its verdict ({job.verdict})" in refused for job in late[:1])
        return
    assert [job for job, *_ in left] == jobs[: len(left)]
    for job, due, now in left:
        assert readings[now] >= where(job.triggered_ns) + delay - margin  # never early
        assert due <= now
        before = [t for t in times if t < now and t >= job.asked_ns]
        if before:  # nor later than the first reading that shows it, unless the one before it held it up
            others = [n for j, _, n in left if j.part.sequence < job.part.sequence]
            shown = readings[before[-1]] >= where(job.triggered_ns) + delay + margin
            assert not shown or (others and others[-1] == now)
    for job in jobs[len(left) :]:
        held = jobs[len(left)]
        assert readings[times[-1]] < where(held.triggered_ns) + delay + margin or job.asked_ns > times[-1]


def test_a_verdict_that_comes_when_the_part_has_gone_is_refused():
    schedule = Schedule(Timing(delay_ms=50), Belt(1, 0))
    schedule.put(Job(Part("a", 1), "reject", "deadline", 0, 50 * MS + 1))
    with pytest.raises(LineError, match=r"part a: its verdict \(reject\) came 0 ms after .* 50 ms after its trigger"):
        schedule.due(51 * MS)


def test_a_trigger_before_every_reading_is_not_guessed_at():
    belt = Belt(100, 0)
    belt.add(5 * MS, 10)
    schedule = Schedule(Timing(delay_counts=10, encoder=100), belt)
    schedule.put(Job(Part("a", 1), "accept", "decided", 4 * MS, 5 * MS))
    with pytest.raises(LineError, match="part a: its trigger is older than every reading"):
        schedule.due(6 * MS)


def belt_of(*readings, jump=100, jitter=3) -> Belt:
    belt = Belt(jump, jitter)
    for time_ms, raw in readings:
        belt.add(time_ms * MS, raw)
    return belt


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (1101, "it jumped by 101 counts between two readings (from 1,000 to 1,101)"),
        (996, "it went back by 4 counts (from 1,000 to 996)"),
        (0, "it went back by 1,000 counts (from 1,000 to 0)"),  # the PLC has started again
        (1000 + 65536, "it jumped by 65,536 counts"),  # a torn reading: the high word is newer than the low one
        (WRAP - 1, "it went back by 1,001 counts"),
    ],
)
def test_a_reading_that_can_not_be_true(raw, says):
    with pytest.raises(ValueError, match=says.replace("(", r"\(").replace(")", r"\)")):
        belt_of((0, 1000), (1, raw))


def test_a_belt_that_trembles_stands_and_one_that_creeps_back_is_seen():
    belt = belt_of((0, 0), (1, 50), (2, 48), (3, 47), (4, 50), (5, 49))
    assert [belt.at(n * MS) for n in range(6)] == [0, 50, 50, 50, 50, 50]
    assert belt.stands_ns(9 * MS) == 8 * MS
    belt.add(6 * MS, 48)
    belt.add(7 * MS, 47)
    with pytest.raises(ValueError, match="it went back by 4 counts"):  # one at a time, but no jitter any more
        belt.add(8 * MS, 46)


def test_between_two_readings_the_belt_runs_evenly():
    belt = belt_of((0, WRAP - 10), (10, 30), (30, 30), (40, 31))
    here = WRAP - 10
    assert [belt.at(ms * MS) for ms in (0, 5, 10, 20, 35, 40)] == [here + n for n in (0, 20, 40, 40, 40.5, 41)]
    assert belt.at(41 * MS) is None
    assert [belt.when(here + n) for n in (0, 20, 40, 41)] == [0, 5 * MS, 10 * MS, 40 * MS]
    assert belt.when(here + 42) is None
    with pytest.raises(LookupError):
        belt.at(-1)


def test_a_year_of_readings_needs_no_year_of_memory(monkeypatch):
    monkeypatch.setattr(belts, "KEEP", 16)
    belt = belt_of(*((n, n) for n in range(1000)))
    assert belt.at(999 * MS) == 999
    assert belt.at(990 * MS) == 990
    with pytest.raises(LookupError):
        belt.at(900 * MS)
    assert len(belt._counts) <= 32
    standing = belt_of(*((n, 7) for n in range(1000)))
    assert len(standing._counts) == 2
    assert standing.at(1 * MS) == 7


def test_a_part_that_stands_right_at_the_gate_has_not_passed_it():
    belt = belt_of((0, 0), (10, 10), (20, 10), (30, 10))
    schedule = Schedule(Timing(delay_counts=10, encoder=100), belt)
    job = Job(Part("a", 1), "accept", "decided", 0, 25 * MS)
    schedule.put(job)
    assert schedule.due(30 * MS) == (job, 25 * MS)
    schedule.put(Job(Part("b", 2), "accept", "decided", 0, 35 * MS))
    belt.add(40 * MS, 12)
    with pytest.raises(LineError, match=r"part b: .* after the part had reached the gate"):
        schedule.due(40 * MS)
