"""The station keeps its promises for every order of events that Hypothesis can think of."""

import math
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from lineside.line.station import (
    DEADLINE,
    DECIDED,
    FAULT,
    NOT_FINITE,
    STOPPED,
    UNREADABLE,
    Actuate,
    Answered,
    Failed,
    Fault,
    Part,
    Record,
    Station,
    Stop,
    Tick,
    Triggered,
    next_deadline_ns,
    step,
)


@dataclass(frozen=True)
class Said:
    verdict: str
    margin: float = 1.0


MS = 1_000_000
P1, P2, P3 = Part("a", 1), Part("b", 2), Part("c", 3)

times = st.integers(min_value=-50, max_value=50)  # no order: the clock may jump either way
parts = st.integers(1, 8).map(lambda n: Part(f"p{n}", n))
decisions = st.builds(
    Said, st.sampled_from(["accept", "hold", "reject", "?"]), st.sampled_from([-2.0, 0.0, 3.0, math.nan, math.inf])
)
events = st.one_of(
    st.builds(Triggered, parts, times),
    st.builds(Triggered, parts, times),
    st.builds(Answered, parts, decisions, times),
    st.builds(Answered, parts, decisions, times),
    st.builds(Failed, parts, st.just(UNREADABLE), st.just("torn"), times),
    st.builds(Tick, times),
    st.builds(Fault, st.just("disk full"), times),
    st.builds(Stop, times),
)


def play(events, deadline_ns=None):
    station, done = Station(deadline_ns), []
    for event in events:
        station, actions = step(station, event)
        done.append((event, station, actions))
    return station, done


def actuated(done):
    return [a for _, _, actions in done for a in actions if isinstance(a, Actuate)]


@settings(max_examples=500, deadline=None)
@given(st.lists(events, max_size=40), st.one_of(st.none(), st.integers(0, 30)))
def test_promises(sequence, deadline_ns):
    sequence = [*sequence, Stop(60)]
    station, done = play(sequence, deadline_ns)
    acts = actuated(done)
    results = [a.result for _, _, actions in done for a in actions if isinstance(a, Record)]

    # Taken: a trigger counts when its number is higher than any before it.
    taken, answers, last = {}, {}, 0
    now = -(2**63)
    for event in sequence:
        now = max(now, event.time_ns)
        if isinstance(event, Triggered) and event.part.sequence > last:
            last = event.part.sequence
            taken[event.part] = event.time_ns
        if isinstance(event, Answered) and event.part in taken:
            answers.setdefault(event.part, []).append((event.decision, now))

    # exactly one verdict each, in the order of the triggers, and none for a part that never came
    assert [a.part for a in acts] == list(taken)
    assert station.waiting == ()
    # what is stored is what was done
    assert [(r.part, r.verdict, r.reason) for r in results] == [(a.part, a.verdict, a.reason) for a in acts]
    for r in results:
        assert r.verdict in ("accept", "hold", "reject")
        if r.verdict == "reject" and r.reason != DECIDED:
            continue
        # a verdict of the model's own: it said so, finite, and in time by the station's clock
        assert r.reason == DECIDED
        assert r.decision is not None
        assert math.isfinite(r.decision.margin)
        assert (r.decision.verdict if r.decision.verdict in ("accept", "hold") else "reject") == r.verdict
        if r.verdict == "accept":
            in_time = [t for d, t in answers[r.part] if d is r.decision or d == r.decision]
            assert deadline_ns is None or min(in_time) <= taken[r.part] + deadline_ns
        assert deadline_ns is None or r.decided_ns <= taken[r.part] + deadline_ns
    # after a fault nothing passes
    faulted = False
    for event, _, actions in done:
        faulted = faulted or isinstance(event, Fault)
        if faulted:
            assert all(a.verdict == "reject" for a in actions if isinstance(a, Actuate))


@settings(max_examples=150, deadline=None)
@given(st.lists(events, max_size=30), st.integers(0, 30))
def test_same_events_same_actions(sequence, deadline_ns):
    assert play(sequence, deadline_ns) == play(sequence, deadline_ns)


def test_a_ready_answer_waits_for_the_part_before_it():
    _, done = play([Triggered(P1, 0), Triggered(P2, 1), Answered(P2, Said("accept"), 2), Answered(P1, Said("hold"), 3)])
    assert done[2][2] == ()
    assert [(a.part, a.verdict) for a in actuated(done)] == [(P1, "hold"), (P2, "accept")]


def test_no_answer_is_a_reject_when_the_deadline_passes():
    station, _ = play([Triggered(P1, 0)], deadline_ns=10)
    assert next_deadline_ns(station) == 11
    station, actions = step(station, Tick(10))
    assert actions == ()  # on the deadline is still in time
    station, actions = step(station, Tick(11))
    assert actions[0] == Actuate(P1, "reject", DEADLINE)
    assert next_deadline_ns(station) is None


def test_a_late_answer_is_a_reject_and_its_decision_is_kept():
    _, done = play([Triggered(P1, 0), Answered(P1, Said("accept"), 11)], deadline_ns=10)
    record = done[-1][2][1]
    assert (record.result.verdict, record.result.reason) == ("reject", DEADLINE)
    assert record.result.decision == Said("accept")


def test_an_answer_after_the_verdict_is_ignored_and_counted():
    station, done = play([Triggered(P1, 0), Tick(11), Answered(P1, Said("accept"), 12)], deadline_ns=10)
    assert len(actuated(done)) == 1
    assert station.ignored == 1


def test_a_clock_that_runs_backwards_does_not_buy_time():
    _, done = play([Triggered(P1, 0), Tick(50), Answered(P1, Said("accept"), 5)], deadline_ns=10)
    assert [(a.verdict, a.reason) for a in actuated(done)] == [("reject", DEADLINE)]


def test_a_trigger_reported_after_its_deadline_is_rejected_at_once():
    station, _ = play([Tick(100)], deadline_ns=10)
    _, actions = step(station, Triggered(P1, 50))
    assert actions[0] == Actuate(P1, "reject", DEADLINE)


def test_the_second_answer_and_the_unknown_part_change_nothing():
    station, done = play(
        [Triggered(P1, 0), Triggered(P2, 0), Answered(P2, Said("reject"), 1), Answered(P2, Said("accept"), 2),
         Answered(P3, Said("accept"), 2), Answered(Part("other", 1), Said("accept"), 2),
         Answered(P1, Said("accept"), 3)]
    )  # fmt: skip
    assert [(a.part, a.verdict) for a in actuated(done)] == [(P1, "accept"), (P2, "reject")]
    assert station.ignored == 3


def test_nan_is_a_reject_whatever_the_verdict_says():
    _, done = play([Triggered(P1, 0), Answered(P1, Said("accept", math.nan), 1)])
    assert [(a.verdict, a.reason) for a in actuated(done)] == [("reject", NOT_FINITE)]


def test_stop_rejects_who_still_waits_and_lets_a_ready_answer_go():
    _, done = play([Triggered(P1, 0), Triggered(P2, 0), Answered(P2, Said("accept"), 1), Stop(2), Triggered(P3, 3)])
    assert [(a.part, a.verdict, a.reason) for a in actuated(done)] == [
        (P1, "reject", STOPPED),
        (P2, "accept", DECIDED),
        (P3, "reject", STOPPED),
    ]


def test_a_fault_rejects_everything_from_then_on():
    station, done = play(
        [Triggered(P1, 0), Triggered(P2, 0), Answered(P2, Said("accept"), 1), Fault("disk full", 2), Triggered(P3, 3),
         Answered(P3, Said("accept"), 4), Stop(5)]
    )  # fmt: skip
    assert [(a.part, a.verdict, a.reason) for a in actuated(done)] == [(p, "reject", FAULT) for p in (P1, P2, P3)]
    assert (station.mode, station.detail) == ("fault", "disk full")
