"""The station keeps its promises for every order of events that Hypothesis can think of."""

import math
from dataclasses import dataclass

from hypothesis import example, given, settings
from hypothesis import strategies as st

from lineside.line.events import (
    CALIBRATION,
    DEADLINE,
    DECIDED,
    FAULT,
    HALTED,
    NOT_FINITE,
    STOPPED,
    UNREADABLE,
    Actuate,
    Answered,
    Changed,
    End,
    Failed,
    Fault,
    Ordered,
    Part,
    Record,
    Refused,
    Tick,
    Triggered,
)
from lineside.line.states import EXECUTING, LEADS, ORDERS, STATES
from lineside.line.station import FORMER, Station, next_deadline_ns, step


@dataclass(frozen=True)
class Said:
    verdict: str
    margin: float | None = 1.0


P1, P2, P3, P4 = Part("a", 1), Part("b", 2), Part("c", 3), Part("d", 4)
WORST = {"accept": 0, "hold": 1, "reject": 2}
RUNNING = (Ordered("reset", -50), Ordered("prepare", -50, "m8"), Ordered("start", -50))

times = st.integers(min_value=-50, max_value=50)  # no order: the clock may jump either way
parts = st.integers(1, 8).map(lambda n: Part(f"p{n}", n))
cameras = st.sampled_from(["top", "side", "nobody"])
decisions = st.builds(
    Said,
    st.sampled_from(["accept", "accept", "hold", "reject", "?"]),
    st.sampled_from([-2.0, 0.0, 3.0, math.nan, math.inf, None]),
)
orders = st.builds(
    Ordered,
    st.sampled_from([*ORDERS, "dance"]),
    times,
    st.sampled_from(["m8", "m10", "m99"]),
    st.lists(st.sampled_from(["accept", "reject"]), max_size=2).map(tuple),
)
events = st.one_of(
    st.builds(Triggered, parts, times),
    st.builds(Triggered, parts, times),
    st.builds(Answered, parts, decisions, times, cameras),
    st.builds(Answered, parts, decisions, times, cameras),
    st.builds(Answered, parts, decisions, times, cameras),
    st.builds(Failed, parts, st.just(UNREADABLE), st.just("torn"), times, cameras),
    st.builds(Tick, times),
    orders,
    st.builds(Fault, st.just("disk full"), times),
    st.builds(End, times),
)
stations = st.builds(
    Station,
    st.one_of(st.none(), st.integers(0, 30)),
    cameras=st.sampled_from([("top",), ("top", "side")]),
    products=st.just(("m8", "m10")),
    halt_after=st.one_of(st.none(), st.integers(1, 3)),
    watchdog_ns=st.one_of(st.none(), st.integers(5, 60)),
)


def play(events, station):
    done = []
    for event in events:
        before = station
        station, actions = step(station, event)
        done.append((event, before, actions))
    return station, done


def running(deadline_ns=None, **given):
    """A station with one camera that inspects every part."""
    station, _ = play(RUNNING, Station(deadline_ns, **({"cameras": ("top",), "products": ("m8", "m10")} | given)))
    return station


def said(part, verdict="accept", time_ns=1, camera="top"):
    return Answered(part, Said(verdict), time_ns, camera)


def of(kind, done):
    return [a for _, _, actions in done for a in actions if isinstance(a, kind)]


def results(done):
    return [a.result for a in of(Record, done)]


def outcomes(done):
    return [(a.part, a.verdict, a.reason) for a in of(Actuate, done)]


@settings(max_examples=800, deadline=None)
@example([Triggered(P1, 0), Triggered(P2, 0), said(P2), said(P1)], Station(10, cameras=("top",), products=("m8",)))
@example(
    [Ordered("calibrate", 10, expect=("reject",)), Triggered(P1, 9), Triggered(P2, 10), said(P1), said(P2)],
    Station(cameras=("top",), products=("m8", "m10")),
)
@given(st.lists(events, max_size=40), stations)
def test_promises(sequence, station):
    sequence = [*RUNNING, *sequence, End(60)]
    end, done = play(sequence, station)
    acts, found = of(Actuate, done), results(done)

    # Taken: a trigger counts when its number is higher than any before it.
    # prepared: since when which product, None where none; one that is prepared later is not that of an earlier trigger.
    # began: when inspecting did; what was triggered before is not inspected. ordered: the last calibrate, likewise.
    taken, answers, last, now, prepared, began, ordered = {}, {}, 0, -(2**63), [], None, -(2**63)
    for event, before, actions in done:
        now = max(now, event.time_ns)
        if isinstance(event, Ordered) and not any(isinstance(a, Refused) for a in actions):
            if event.order == "prepare":
                prepared.append((now, event.product))
            elif event.order == "unprepare":
                prepared.append((now, None))
            elif event.order in ("start", "start-single"):
                began = now
            elif event.order == "calibrate":
                ordered = now
        if isinstance(event, Triggered) and event.part.sequence > last:
            last = event.part.sequence
            inspected = before.state in EXECUTING and not before.finishing and event.time_ns >= began
            master = before.expect[0] if before.expect and inspected and event.time_ns >= ordered else None
            taken[event.part] = (event.time_ns, before, began, master)
        if isinstance(event, Answered) and event.part in taken:
            answers.setdefault((event.part, event.camera), []).append((event.decision, now))

    # exactly one verdict each, in the order of the triggers, and none for a part that never came
    assert [a.part for a in acts] == list(taken)
    assert end.waiting == ()
    # what is stored is what was done
    assert [(r.part, r.verdict, r.reason, r.triggered_ns) for r in found] == [
        (a.part, a.verdict, a.reason, a.triggered_ns) for a in acts
    ]
    for r in found:
        came_ns, before, began, master = taken[r.part]
        assert r.verdict in WORST
        # the next that is triggered from the order on is the master part, and none of them passes
        assert r.expected == master
        assert r.verdict == "reject" or not master
        if r.reason == DECIDED:
            assert r.product == next(p for since_ns, p in reversed(prepared) if since_ns <= came_ns)
        if r.reason != DECIDED:
            assert r.verdict == "reject"
            continue
        # a verdict of the models' own: each camera's said so, finite, and in time by the station's clock
        assert before.state in EXECUTING
        assert came_ns >= began
        assert not before.finishing
        assert {word.camera for word in r.words} == set(station.cameras)
        assert all(math.isfinite(word.decision.margin) for word in r.words)
        assert WORST[r.verdict] == max(WORST.get(word.decision.verdict, 2) for word in r.words)
        assert station.deadline_ns is None or r.decided_ns <= came_ns + station.deadline_ns
        if r.verdict == "accept":
            for camera in station.cameras:
                in_time = [at for decision, at in answers[r.part, camera] if decision.verdict == "accept"]
                assert station.deadline_ns is None or min(in_time) <= came_ns + station.deadline_ns
    # in error nothing passes, and nothing leads out of it; a halted station passes no part that came while it halted
    for event, before, actions in done:
        if before.state == "error" or isinstance(event, Fault):
            assert all(a.verdict == "reject" for a in actions if isinstance(a, Actuate))
            assert step(before, event)[0].state == "error" or not isinstance(event, Fault)
    # the station goes through states as the table has it
    for _, before, actions in done:
        state = before.state
        for change in (a for a in actions if isinstance(a, Changed)):
            assert change.state in STATES
            legal = {s for (a, _), through in LEADS.items() if a == state for s in through[:1]}
            assert change.state in legal | {"error", "halted", "ready", "initialized"}
            state = change.state
        assert state == step(before, _)[0].state


@settings(max_examples=200, deadline=None)
@given(st.lists(events, max_size=30), stations)
def test_same_events_same_actions(sequence, station):
    assert play(sequence, station) == play(sequence, station)


def test_a_ready_answer_waits_for_the_part_before_it():
    _, done = play([Triggered(P1, 0), Triggered(P2, 1), said(P2, "accept", 2), said(P1, "hold", 3)], running())
    assert done[2][2] == ()
    assert [(a.part, a.verdict) for a in of(Actuate, done)] == [(P1, "hold"), (P2, "accept")]


def test_no_answer_is_a_reject_when_the_deadline_passes():
    station, _ = play([Triggered(P1, 0)], running(10))
    assert next_deadline_ns(station) == 11
    station, actions = step(station, Tick(10))
    assert actions == ()  # on the deadline is still in time
    station, actions = step(station, Tick(11))
    assert actions[0] == Actuate(P1, "reject", DEADLINE, 0)
    assert next_deadline_ns(station) is None


def test_a_late_answer_is_a_reject_and_its_decision_is_kept():
    _, done = play([Triggered(P1, 0), said(P1, "accept", 11)], running(10))
    (result,) = results(done)
    assert (result.verdict, result.reason) == ("reject", DEADLINE)
    assert result.words[0].decision == Said("accept")


def test_an_answer_after_the_verdict_is_ignored_and_counted():
    station, done = play([Triggered(P1, 0), Tick(11), said(P1, "accept", 12)], running(10))
    assert len(of(Actuate, done)) == 1
    assert station.ignored == 1


def test_a_clock_that_runs_backwards_does_not_buy_time():
    _, done = play([Triggered(P1, 0), Tick(50), said(P1, "accept", 5)], running(10))
    assert outcomes(done) == [(P1, "reject", DEADLINE)]


def test_a_trigger_reported_after_its_deadline_is_rejected_at_once():
    station, _ = play([Tick(100)], running(10))
    _, actions = step(station, Triggered(P1, 50))
    assert actions[0] == Actuate(P1, "reject", DEADLINE, 50)


def test_the_second_answer_and_the_unknown_part_change_nothing():
    station, done = play(
        [Triggered(P1, 0), Triggered(P2, 0), said(P2, "reject"), said(P2, "accept"), said(P3), said(Part("other", 1)),
         said(P1, camera="side"), said(P1)],
        running(),
    )  # fmt: skip
    assert [(a.part, a.verdict) for a in of(Actuate, done)] == [(P1, "accept"), (P2, "reject")]
    assert station.ignored == 4


def test_nan_is_a_reject_whatever_the_verdict_says():
    _, done = play([Triggered(P1, 0), Answered(P1, Said("accept", math.nan), 1, "top")], running())
    assert outcomes(done) == [(P1, "reject", NOT_FINITE)]


def test_the_end_rejects_who_still_waits_and_lets_a_ready_answer_go():
    _, done = play([Triggered(P1, 0), Triggered(P2, 0), said(P2), End(2), Triggered(P3, 3)], running())
    assert outcomes(done) == [(P1, "reject", STOPPED), (P2, "accept", DECIDED), (P3, "reject", HALTED)]


def test_a_fault_rejects_everything_from_then_on_and_no_order_leads_out():
    station, done = play(
        [Triggered(P1, 0), Triggered(P2, 0), said(P2), Fault("disk full", 2), Triggered(P3, 3), said(P3),
         Ordered("reset", 4), Ordered("start", 4), Triggered(P4, 5), End(6)],
        running(),
    )  # fmt: skip
    assert outcomes(done) == [(p, "reject", FAULT) for p in (P1, P2, P3, P4)]
    assert (station.state, station.detail) == ("error", "disk full")
    assert [r.why for r in of(Refused, done)] == [
        "the station is error and can not reset; now it can: nothing",
        "the station is error and can not start; now it can: nothing",
    ]


def test_every_camera_must_say_accept_and_the_worst_word_counts():
    two = running(cameras=("top", "side"))
    station, done = play(
        [Triggered(P1, 0), said(P1), said(P1, "accept", camera="side"),
         Triggered(P2, 0), said(P2, "hold", camera="side"), said(P2),
         Triggered(P3, 0), said(P3, "reject"), said(P3, "hold", camera="side"),
         Triggered(P4, 0), said(P4), Failed(P4, UNREADABLE, "no packet came", 1, "side")],
        two,
    )  # fmt: skip
    assert outcomes(done) == [
        (P1, "accept", DECIDED), (P2, "hold", DECIDED), (P3, "reject", DECIDED), (P4, "reject", UNREADABLE)
    ]  # fmt: skip
    assert results(done)[3].detail == "side: no packet came"
    assert station.waiting == ()


def test_a_camera_that_says_nothing_is_named_when_the_deadline_passes():
    _, done = play([Triggered(P1, 0), said(P1), Tick(11)], running(10, cameras=("top", "side")))
    assert (results(done)[0].reason, results(done)[0].detail) == (DEADLINE, "no answer about side")


def test_from_the_start_to_inspecting_and_back():
    _, done = play(
        [Triggered(P1, 0), *RUNNING, Triggered(P2, 0), Ordered("stop", 1), Triggered(P3, 1), said(P2, time_ns=2),
         Ordered("unprepare", 3)],
        Station(cameras=("top",), products=("m8",)),
    )  # fmt: skip
    assert [c.state for c in of(Changed, done)] == ["initialized", "ready", "continuous", "ready", "initialized"]
    assert outcomes(done) == [(P1, "reject", STOPPED), (P2, "accept", DECIDED), (P3, "reject", STOPPED)]


def test_a_single_job_is_one_part():
    station, _ = play(RUNNING[:2], Station(cameras=("top",), products=("m8",)))
    station, done = play(
        [Ordered("start-single", 0), Triggered(P1, 0), Triggered(P2, 0), said(P1), Triggered(P3, 2)], station
    )
    assert outcomes(done) == [(P1, "accept", DECIDED), (P2, "reject", STOPPED), (P3, "reject", STOPPED)]
    assert [c.state for c in of(Changed, done)] == ["single", "ready"]


def test_a_picture_that_was_taken_while_the_station_stood_still_passes_nothing():
    """Whoever cleared the belt has taken that part away, or put it back: its frame came late."""
    stood = [Ordered("halt", 3), Ordered("reset", 5), Ordered("start", 6)]
    station, _ = play(stood, running())
    _, done = play([Triggered(P1, 4), Triggered(P2, 6), said(P1, time_ns=7), said(P2, time_ns=7)], station)
    assert outcomes(done) == [(P1, "reject", STOPPED), (P2, "accept", DECIDED)]
    assert results(done)[0].detail == "it was triggered before the station began to inspect"


def test_a_picture_from_before_is_not_the_single_part():
    station, _ = play(RUNNING[:2], Station(cameras=("top",), products=("m8",)))
    _, done = play([Ordered("start-single", 5), Triggered(P1, 4), Triggered(P2, 6), said(P2, time_ns=7)], station)
    assert outcomes(done) == [(P1, "reject", STOPPED), (P2, "accept", DECIDED)]


def test_a_product_changes_without_a_stop_and_parts_in_flight_keep_theirs():
    _, done = play(
        [Triggered(P1, 0), Ordered("prepare", 1, "m10"), Triggered(P2, 2), said(P1), said(P2),
         Ordered("prepare", 3, "m12")],
        running(),
    )  # fmt: skip
    assert [(r.part, r.product, r.verdict) for r in results(done)] == [(P1, "m8", "accept"), (P2, "m10", "accept")]
    assert of(Refused, done) == [Refused("prepare", "no product 'm12'; there are: m8, m10")]


def test_a_change_of_product_that_names_none_is_asked_back():
    _, done = play([Ordered("prepare", 1)], running())
    assert of(Refused, done) == [Refused("prepare", "prepare which product? There are: m8, m10")]


def test_a_trigger_that_is_told_after_a_change_of_product_is_of_the_one_before():
    station, _ = play([Ordered("prepare", 10, "m10")], running())
    end, done = play([Triggered(P1, 9), Triggered(P2, 10), said(P1, time_ns=11), said(P2, time_ns=11)], station)
    assert [(r.part, r.product, r.verdict) for r in results(done)] == [(P1, "m8", "accept"), (P2, "m10", "accept")]
    assert end.product == "m10"


def test_a_part_of_which_nobody_knows_the_product_is_rejected():
    none = [Ordered("abort", 3), Ordered("unprepare", 4), Ordered("prepare", 8, "m10"), Ordered("start", 9)]
    station, _ = play(none, running())
    _, done = play([Triggered(P1, 5), said(P1, time_ns=10)], station)
    assert outcomes(done) == [(P1, "reject", STOPPED)]
    changes = [Ordered("prepare", 10 * n, ("m8", "m10")[n % 2]) for n in range(1, FORMER + 2)]
    station, _ = play(changes, running())
    assert len(station.former) == FORMER
    _, done = play([Triggered(P1, 5), Triggered(P2, 25), said(P2, time_ns=500)], station)
    assert outcomes(done) == [(P1, "reject", STOPPED), (P2, "accept", DECIDED)]
    assert results(done)[1].product == "m8"


def test_what_names_another_product_than_the_prepared_one_is_refused():
    ready, _ = play(RUNNING[:2], Station(cameras=("top",), products=("m8", "m10")))
    for order in ("start", "start-single", "unprepare"):
        station, done = play([Ordered(order, 1, "m10")], ready)
        assert of(Refused, done) == [Refused(order, "product 'm10' is not prepared; 'm8' is")]
        assert (station.state, station.product) == ("ready", "m8")
        for product in ("", "m8"):
            station, done = play([Ordered(order, 1, product)], ready)
            assert (of(Refused, done), station.state) == ([], LEADS["ready", order][-1])


def test_too_many_rejects_in_a_row_halt_the_station_until_it_is_reset():
    reject = [e for p in (P1, P2) for e in (Triggered(p, 0), said(p, "reject"))]
    _, done = play(
        [*reject, Triggered(P3, 1), said(P3), Ordered("start", 2), Ordered("reset", 2), Ordered("start", 2),
         Triggered(P4, 3), said(P4)],
        running(halt_after=2),
    )  # fmt: skip
    assert [(v, r) for _, v, r in outcomes(done)] == [
        ("reject", DECIDED), ("reject", DECIDED), ("reject", HALTED), ("accept", DECIDED)
    ]  # fmt: skip
    assert [c.state for c in of(Changed, done)] == ["halted", "preoperational", "initialized", "ready", "continuous"]
    assert of(Changed, done)[0].why == "2 rejects in a row: look at the process before you reset the station"
    assert len(of(Refused, done)) == 1  # start, before the reset


def test_an_accept_between_breaks_the_row_and_a_hold_does_not_count():
    verdicts = ["reject", "accept", "reject", "hold"]
    sequence = [e for n, v in enumerate(verdicts, 1) for e in (Triggered(Part("", n), 0), said(Part("", n), v))]
    station, _ = play(sequence, running(halt_after=2))
    assert (station.state, station.in_a_row) == ("continuous", 1)


def test_when_the_row_is_full_parts_that_wait_behind_do_not_pass():
    _, done = play(
        [Triggered(P1, 0), Triggered(P2, 0), said(P2), said(P1, "reject"), Triggered(P3, 1), said(P3)],
        running(halt_after=1),
    )
    assert [reason for _, _, reason in outcomes(done)] == [DECIDED, HALTED, HALTED]


def test_master_parts_are_never_passed_and_it_is_kept_what_was_said_of_them():
    _, done = play(
        [Ordered("calibrate", 0, expect=("accept", "reject")), Triggered(P1, 0), said(P1), Triggered(P2, 0),
         said(P2, "accept"), Triggered(P3, 0), said(P3)],
        running(),
    )  # fmt: skip
    assert outcomes(done) == [(P1, "reject", CALIBRATION), (P2, "reject", CALIBRATION), (P3, "accept", DECIDED)]
    assert [(r.expected, r.words[0].verdict) for r in results(done)] == [
        ("accept", "accept"), ("reject", "accept"), (None, "accept")
    ]  # fmt: skip
    assert results(done)[1].detail == "a master part to reject; the station said accept"


def test_a_picture_that_was_on_its_way_when_calibrate_came_does_not_take_a_master_parts_place():
    _, done = play(
        [Ordered("calibrate", 10, expect=("reject",)), Triggered(P1, 9), said(P1, time_ns=11), Triggered(P2, 10),
         said(P2, time_ns=11), Triggered(P3, 12), said(P3, time_ns=13)],
        running(),
    )  # fmt: skip
    assert outcomes(done) == [(P1, "accept", DECIDED), (P2, "reject", CALIBRATION), (P3, "accept", DECIDED)]


def test_no_part_for_too_long_is_a_fault_while_inspecting_only():
    station = running(watchdog_ns=100)
    assert next_deadline_ns(station) == -50 + 101
    station, _ = step(station, Triggered(P1, 20))
    station, _ = step(station, said(P1))
    assert next_deadline_ns(station) == 121
    station, actions = step(station, Tick(121))
    assert actions == (Changed("error", "m8", "no part has come for 1e-07 s; look at the trigger and the camera"),)
    stopped, _ = play([Ordered("stop", 0), Tick(500)], running(watchdog_ns=100))
    assert (stopped.state, next_deadline_ns(stopped)) == ("ready", None)


def test_an_abort_rejects_what_is_in_flight():
    station, done = play([Triggered(P1, 0), Ordered("abort", 1), said(P1, time_ns=2)], running())
    assert (station.state, station.ignored) == ("ready", 1)
    assert outcomes(done) == [(P1, "reject", STOPPED)]


def test_master_parts_that_have_not_come_stay_master_parts_over_a_stop_and_a_halt():
    station, done = play(
        [Ordered("calibrate", 0, expect=("accept", "accept", "reject")), Triggered(P1, 0), said(P1),
         Ordered("calibrate", 0, expect=("accept",)), Ordered("stop", 1), Ordered("start-single", 2),
         Triggered(P2, 3), said(P2), Ordered("halt", 4)],
        running(),
    )  # fmt: skip
    assert outcomes(done) == [(P1, "reject", CALIBRATION), (P2, "reject", CALIBRATION)]
    assert [r.why for r in of(Refused, done)] == ["2 master parts are still to come; let them come, or abort"]
    assert station.expect == ("reject",)
    station, _ = step(station, Ordered("reset", 5))
    assert station.expect == ()
