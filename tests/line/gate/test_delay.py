"""A gate some way behind the camera: verdicts by time and by encoder, over the real doubles with a simulated belt."""

import itertools
import queue
import struct
import threading
import time

import pytest

from lineside.errors import LineError, SettingsError
from lineside.line.events import Part
from lineside.line.gate import gate as gates
from lineside.line.gate.catalog import open_gate
from lineside.line.gate.gate import Gate
from lineside.line.gate.schedule import Job
from lineside.line.gate.wire import PASSING, STATES, Timing
from lineside.line.messages import Lost
from lineside.line.source.frame import Frame, Source
from lineside.store.open import open_store
from tests.line.gate import test_s7
from tests.line.gate.doubles import Fake, plc, until
from tests.line.tiny import BLUE, GREY, RED, picture, run, stub

SLOW = "deadline_ms=30000&pass_ms=1"
VERDICTS = ["accept", "reject", "accept", "hold", "accept", "reject"]
CODES = {"accept": 1, "hold": 2, "reject": 3}
CALM = {"deadline_ms": 60_000, "heartbeat_ms": 60_000}


def part(n: int) -> Part:
    return Part(f"p{n}", n)


def feed(gate: Gate, pause_s: float) -> list[int]:
    """Parts at the camera, one after another, each with its verdict at once. When each was triggered."""
    triggers = []
    for n, verdict in enumerate(VERDICTS, 1):
        triggers.append(time.monotonic_ns())
        gate.actuate(part(n), verdict, "decided", triggers[-1])
        time.sleep(pause_s)
    return triggers


def test_by_time_each_part_is_told_when_it_is_at_the_gate(tmp_path):
    with plc(tmp_path, 0, "0", "[[1, 0]]") as double:
        gate = open_gate(f"modbus://127.0.0.1:{double.port}?{SLOW}&delay_ms=150")
        gate.start(lambda sentence: None)
        triggers = feed(gate, 0.02)  # all of them are on the belt before the first is at the gate
        gate.close("stopped")  # and come there after the line has ended
        parts = double.parts()
    assert [(one["sequence"], one["verdict"]) for one in parts] == [(n, CODES[v]) for n, v in enumerate(VERDICTS, 1)]
    assert [one["passes"] for one in parts] == [v == "accept" for v in VERDICTS]
    assert all(one["ns"] >= at + 150_000_000 for one, at in zip(parts, triggers, strict=True))
    assert (gate.error, gate.confirmed, gate.latency().n) == ("", 6, 6)


def lowest(readings: list[dict], trigger_ns: int) -> int:
    """The count at a trigger was at least that of the last reading before it."""
    return max(one["read"] for one in readings if one["ns"] <= trigger_ns)


def test_by_encoder_over_modbus_with_a_belt_that_stops_and_a_counter_that_wraps(tmp_path):
    first = 2**32 - 300
    with plc(tmp_path, 0, str(first), "[[0.4, 1000], [0.3, 0], [60, 1000]]") as double:
        gate = open_gate(
            f"modbus://127.0.0.1:{double.port}?{SLOW}&delay_counts=200&encoder=20&poll_ms=2&jump_counts=5000"
        )
        gate.start(lambda sentence: None)
        triggers = feed(gate, 0.06)
        gate.close("stopped")
        parts, readings = double.parts(), [one for one in double.seen() if "read" in one]
    assert (gate.error, gate.confirmed) == ("", 6)
    assert [(one["sequence"], one["passes"]) for one in parts] == [
        (n, v == "accept") for n, v in enumerate(VERDICTS, 1)
    ]
    assert parts[-1]["encoder"] > 2**32
    for one, at in zip(parts, triggers, strict=True):
        assert one["encoder"] >= lowest(readings, at) + 200


def test_by_encoder_over_s7(tmp_path):
    """The counter is a DINT in the same block, moved by a thread; it wraps."""
    running, moved = threading.Event(), []

    with test_s7.plc(size=40) as (_, memory, port):

        def belt() -> None:
            for n in itertools.count():
                count = 2**31 - 100 + 5 * n  # as a DINT: from its highest to its lowest
                struct.pack_into(">I", memory, 32, count % 2**32)
                moved.append((time.monotonic_ns(), count))
                if running.wait(0.005):
                    return

        thread = threading.Thread(target=belt)
        thread.start()
        try:
            until(lambda: moved)
            gate = open_gate(f"s7://127.0.0.1:{port}?{SLOW}&delay_counts=100&encoder=32&poll_ms=2&jump_counts=5000")
            gate.start(lambda sentence: None)
            told = []
            trigger = time.monotonic_ns()
            gate.actuate(part(1), "accept", "decided", trigger)
            until(lambda: gate.confirmed == 1)
            told.append(moved[-1][1])
            gate.close("stopped")
        finally:
            running.set()
            thread.join()
    at_trigger = max((count for ns, count in moved if ns <= trigger), default=moved[0][1])
    assert told[0] >= at_trigger + 100 - 5  # the thread notes a count just after the PLC has it
    assert gate.error == ""


@pytest.mark.parametrize(
    ("belt", "says"),
    [
        ("[[0.1, 500], [0.02, -500000], [1, 0]]", "it went back by"),
        ("[[0.1, 500], [0.02, 5000000], [1, 0]]", "it jumped by"),
    ],
)
def test_an_encoder_that_jumps_stops_the_line_and_nothing_more_is_told(tmp_path, belt, says):
    faults = []
    with plc(tmp_path, 0, "100000", belt) as double:
        gate = open_gate(f"modbus://127.0.0.1:{double.port}?{SLOW}&delay_counts=4000&encoder=20&poll_ms=5")
        gate.start(faults.append)
        gate.actuate(part(1), "accept", "decided", time.monotonic_ns())
        until(lambda: faults)
        gate.close("fault")
        parts, coils = double.parts(), double.coils()
    assert f"the encoder at 20: {says}" in faults[0]
    assert "where the parts are is not known" in faults[0]
    assert parts == []
    assert [False, True] not in coils


def test_an_encoder_that_is_not_there_starts_no_line(tmp_path):
    with plc(tmp_path) as double:
        gate = open_gate(f"modbus://127.0.0.1:{double.port}?{SLOW}&delay_counts=400&encoder=500")
        with pytest.raises(
            LineError, match=r"encoder: refused by the PLC .exception 2: .* look at coil=, register= and"
        ):
            gate.start(lambda sentence: None)
    with test_s7.plc() as (_, _, port):
        gate = open_gate(f"s7://127.0.0.1:{port}?{SLOW}&delay_counts=400&encoder=100")
        with pytest.raises(LineError, match="encoder: not confirmed"):
            gate.start(lambda sentence: None)


def test_the_whole_line_with_a_belt(tmp_path):
    """Six parts at the camera before the first is at the gate; the line ends when the last one has passed it."""
    store = open_store(tmp_path / "line.db")
    colors = [RED, BLUE, GREY, RED, RED, BLUE]
    with plc(tmp_path, 7, "5", "[[60, 1000]]") as double:
        gate = open_gate(f"modbus://127.0.0.1:{double.port}?{SLOW}&delay_counts=400&encoder=20&jump_counts=5000")
        frames = (Frame(f"p{n}", n, f"{n}.png", picture=picture(color)) for n, color in enumerate(colors, 1))
        summary = run(stub(), Source("mem:", frames, 6), [], store, gate=gate, max_fps=50)
        parts = double.parts()
    store.dispose()
    assert summary.fault == ""
    assert [(one["sequence"], one["passes"]) for one in parts] == [
        (1, True), (2, False), (3, False), (4, True), (5, True), (6, False),
    ]  # fmt: skip
    assert summary.wire_ms is not None
    assert summary.wire_ms.n == 6


def test_when_the_line_faults_nothing_on_the_belt_passes():
    """Why it faulted may be why those parts are wrong: cameras out of step, a light that died."""
    fake, faults = Fake(), []
    gate = Gate(fake.wire(), Timing(**CALM, delay_ms=60_000))
    gate.start(faults.append)
    gate.actuate(part(1), "accept", "decided", time.monotonic_ns())
    gate.actuate(part(2), "reject", "decided", time.monotonic_ns())
    gate.close("fault")
    assert fake.told == []
    assert fake.log[-3:] == ["rest", ("beat", 2, STATES["fault"]), "close"]
    assert "2 parts were still between camera and gate when the line ended" in gate.error


def test_a_state_that_lets_nothing_pass_ends_pass_and_turns_what_is_on_the_belt():
    fake = Fake()
    gate = Gate(fake.wire(), Timing(**CALM, delay_ms=3000, pass_ms=60_000))
    gate.start(lambda sentence: None)
    gate.actuate(part(1), "accept", "decided", time.monotonic_ns() - 2_800_000_000)
    gate.actuate(part(2), "accept", "decided", time.monotonic_ns() - 2_500_000_000)
    until(lambda: gate.confirmed == 1)
    gate.tell_state("halted")
    until(lambda: gate.confirmed == 2)
    gate.close("fault")
    assert [one.verdict for one in fake.told] == ["accept", "reject"]
    at = fake.log.index(("tell", 1))
    assert fake.log[at : at + 4] == [("tell", 1), "rest", ("beat", 2, STATES["halted"]), ("tell", 2)]


def test_a_line_that_faults_says_so_to_the_plc_at_once(tmp_path):
    """Not only when everything else has been closed: a camera may take seconds to let go."""
    store, inbox = open_store(tmp_path / "line.db"), queue.SimpleQueue()
    told, in_time = threading.Event(), []
    fake = Fake(then=lambda what: told.set() if what == "beat" and fake.log[-1][2] == STATES["error"] else None)

    def camera():
        yield Frame("p1", 1, "1.png", picture=picture(RED))
        inbox.put(Lost("the disk is full"))
        in_time.append(told.wait(5))  # it does not let go before

    gate = Gate(fake.wire(), Timing(**CALM))
    summary = run(stub(), Source("mem:", camera(), None), [], store, gate=gate, inbox=inbox)
    store.dispose()
    assert summary.fault == "the disk is full"
    assert in_time == [True]


def test_a_belt_that_stands_does_not_hold_up_the_stop():
    fake = Fake(encoder=lambda: 77)
    gate = Gate(fake.wire(), Timing(**CALM, delay_counts=100, encoder=1, poll_ms=1, still_ms=20))
    gate.start(lambda sentence: None)
    gate.actuate(part(1), "accept", "decided", time.monotonic_ns())
    until(lambda: gate._belt.stands_ns(time.monotonic_ns()) > 100_000_000)
    assert gate.error == ""  # that it stands is no fault
    gate.close("stopped")
    assert fake.told == []
    assert "1 part was still between camera and gate" in gate.error


def test_a_belt_that_stands_while_parts_wait_is_said_once_each_time():
    clock, count, said = [0], [500], []
    fake = Fake(encoder=lambda: count[0])
    timing = Timing(60_000, heartbeat_ms=60_000, delay_counts=100, encoder=7, poll_ms=10, still_ms=1000)
    gate = Gate(fake.wire(), timing, lambda: clock[0])
    gate._say = said.append

    def stand(seconds, then=0):
        for _ in range(round(seconds * 100)):
            clock[0] += 10_000_000
            gate._poll()
        count[0] += then

    stand(5)
    assert said == []  # nothing is on the belt
    for n in (1, 2):
        gate._schedule.put(Job(part(n), "accept", "decided", clock[0], clock[0]))
    stand(0.1, then=5)
    assert len(said) == 1  # they came when it had stood for long
    stand(0.9)
    assert len(said) == 1  # it has moved, and does not stand for long enough again
    stand(3, then=5)
    stand(1.5)
    assert [(one.event, one.facts["waiting"]) for one in said] == [("gate", 2)] * 3
    assert str(said[1]).startswith("fake:: the encoder at 7 has stood still for 1.0 s, and 2 parts wait between camera")
    assert gate.error == ""


def test_a_stop_is_not_held_up_for_ever_by_a_belt_that_creeps(monkeypatch):
    monkeypatch.setattr(gates, "BELT_S", 0.1)
    creeping = itertools.count()
    fake = Fake(encoder=lambda: next(creeping))
    gate = Gate(fake.wire(), Timing(**CALM, delay_counts=2**29, encoder=1, poll_ms=1))
    gate.start(lambda sentence: None)
    gate.actuate(part(1), "accept", "decided", time.monotonic_ns())
    gate.close("stopped")
    assert "1 part was still between camera and gate" in gate.error


def test_between_camera_and_gate_the_heart_beats_and_pass_is_off():
    clock = [0]
    fake = Fake()
    gate = Gate(fake.wire(), Timing(60_000, heartbeat_ms=1, pass_ms=1, delay_ms=20), lambda: clock[0])
    gate.start(lambda sentence: None)
    gate.actuate(part(1), "accept", "decided", 0)
    gate.actuate(part(2), "accept", "decided", 10_000_000)
    for ms in range(60):
        clock[0] = ms * 1_000_000
        gate._queue.put(None)
        until(lambda: gate._queue.empty() and gate._beat_ns > clock[0])
    until(lambda: gate.confirmed == 2 and fake.log.count("rest") == 3)
    gate.close("fault")
    log = [one for one in fake.log if one == "rest" or one[0] == "tell"]
    assert log == ["rest", ("tell", 1), "rest", ("tell", 2), "rest", "rest"]
    at = fake.log.index(("tell", 1))
    assert sum(one[0] == "beat" for one in fake.log[:at]) >= 20


def test_a_verdict_for_a_part_that_has_passed_the_gate_is_a_fault():
    clock, faults = [0], []
    fake = Fake()
    gate = Gate(fake.wire(), Timing(**CALM, delay_ms=20), lambda: clock[0])
    gate._failed = faults.append
    clock[0] = 21_000_000
    gate.actuate(part(1), "reject", "deadline", 0)
    gate._work()
    assert "its verdict (reject) came 1 ms after the part had reached the gate, 21 ms after its trigger" in faults[0]
    assert fake.told == []
    assert fake.log == ["rest", ("beat", 0, STATES["fault"])]


def test_a_part_without_a_picture_that_is_missed_when_it_has_passed_is_counted_and_no_fault():
    """A picture that is lost on the network is missed when the next one comes: the belt does not wait for that."""
    clock, faults = [0], []
    fake = Fake()
    gate = Gate(fake.wire(), Timing(**CALM, delay_ms=500), lambda: clock[0])
    gate._failed = faults.append
    clock[0] = 500_000_000
    gate.actuate(part(1), "reject", "unreadable", 0)  # it comes just now
    clock[0] = 700_000_000
    gate.actuate(part(2), "reject", "unreadable", 100_000_000)
    assert gate.passed_by == 1
    gate._queue.put(gates._End("stopped"))
    gate._work()
    assert (faults, [one.sequence for one in fake.told]) == ([], [1])


def test_the_deadline_counts_from_when_it_is_due():
    clock, faults = [0], []

    def then(what):
        clock[0] += 60_000_000 if what == "tell" else 0

    fake = Fake(then=then)
    gate = Gate(fake.wire(), Timing(deadline_ms=50, heartbeat_ms=60_000, delay_ms=100), lambda: clock[0])
    gate._failed = faults.append
    gate.actuate(part(1), "accept", "decided", 0)
    clock[0] = 120_000_000  # 20 ms late already, and it takes 60
    gate._work()
    assert "was confirmed too late: 80 ms after its part was at the gate, deadline_ms is 50" in faults[0]


def test_an_encoder_that_hangs_is_seen():
    release, faults = threading.Event(), []
    readings = itertools.count()
    fake = Fake(encoder=lambda: release.wait(60) and 0 if next(readings) else 0)
    gate = Gate(fake.wire(), Timing(deadline_ms=20, heartbeat_ms=60_000, delay_counts=10, encoder=1, poll_ms=1))
    gate.start(faults.append)
    until(lambda: faults)
    release.set()
    gate.close("fault")
    assert "no confirmation from the PLC within deadline_ms=20" in faults[0]


def test_more_parts_than_a_belt_can_hold(monkeypatch):
    monkeypatch.setattr(gates, "ROOM_ON_BELT", 2)
    gate = Gate(Fake().wire(), Timing(**CALM, delay_ms=60_000))
    gate.start(lambda sentence: None)
    for n in (1, 2):
        gate.actuate(part(n), "accept", "decided", time.monotonic_ns())
    with pytest.raises(LineError, match=r"2 parts are between camera and gate; is the delay right\?"):
        gate.actuate(part(3), "accept", "decided", time.monotonic_ns())
    gate.close("fault")


def test_the_state_is_told_at_once_and_nothing_passes_in_a_state_that_lets_nothing_pass():
    fake = Fake()
    gate = Gate(fake.wire(), Timing(**CALM, pass_ms=60_000))
    gate.start(lambda sentence: None)
    for n, state in enumerate(STATES, 1):
        gate.tell_state(state)
        until(lambda state=state: fake.log[-1][0] == "beat" and fake.log[-1][2] == STATES[state])
        gate.actuate(part(n), "accept", "decided", 0)
        until(lambda n=n: gate.confirmed == n)
    gate.close("fault")
    told = dict(zip(STATES, fake.told, strict=True))
    assert {state for state, one in told.items() if one.verdict == "accept"} == set(PASSING)
    assert {(one.verdict, one.reason) for state, one in told.items() if state not in PASSING} == {("reject", "fault")}
    assert fake.told[-1].accepted == len(PASSING)
    beats = [one for one in fake.log if one[0] == "beat"]
    assert len(beats) == len(STATES) + 1  # running is not said twice


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("modbus://a?delay_ms=-1", "delay_ms: expected 0 to 60000, got -1"),
        ("modbus://a?delay_ms=nan", "delay_ms: expected 0 to 60000, got nan"),
        ("modbus://a?delay_ms=5&delay_counts=5&encoder=20", "two ways to say the same"),
        ("modbus://a?delay_counts=5", "delay_counts and encoder belong together"),
        ("modbus://a?encoder=20", "delay_counts and encoder belong together"),
        ("modbus://a?delay_counts=5&encoder=65535", "encoder: expected a register from 0 to 65534"),
        ("modbus://a?delay_counts=5&encoder=12", "register 12 is among those that are written, from 0"),
        ("modbus://a?delay_counts=5&encoder=9&register=10", "register 9 is among those that are written, from 10"),
        ("s7://a?delay_counts=5&encoder=25", "byte 25 is among those that are written, from 0"),
        ("s7://a?delay_counts=5&encoder=7&offset=10&encoder_db=100", "byte 7 is among those that are written, from 10"),
        ("s7://a?delay_counts=5&encoder=65533", "encoder: expected -1 to 65532"),
    ],
)
def test_wrong_delays_are_sentences(url, says):
    with pytest.raises(SettingsError, match=says):
        open_gate(url)


def test_a_part_that_was_accepted_before_a_halt_does_not_pass_though_the_station_goes_on():
    fake = Fake()
    gate = Gate(fake.wire(), Timing(**CALM, delay_ms=300))
    gate.start(lambda sentence: None)
    gate.actuate(part(1), "accept", "decided", time.monotonic_ns())
    for state in ("halted", "preoperational", "initialized", "ready", "continuous"):
        gate.tell_state(state)
    gate.actuate(part(2), "accept", "decided", time.monotonic_ns())
    until(lambda: gate.confirmed == 2)
    gate.close("stopped")
    assert [(one.sequence, one.verdict) for one in fake.told] == [(1, "reject"), (2, "accept")]
