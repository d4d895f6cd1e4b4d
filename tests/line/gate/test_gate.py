"""The gate around its wire: order, one fault and no second, timers, and a wire that hangs."""

import sys
import threading
import time
from dataclasses import replace

import pytest

from lineside.errors import LineError, MissingExtra, SettingsError
from lineside.line.events import REASONS as STATION_REASONS
from lineside.line.events import Part
from lineside.line.gate import gate as gates
from lineside.line.gate.catalog import GATES, open_gate
from lineside.line.gate.gate import Gate
from lineside.line.gate.wire import OTHER_REASON, REASONS, STATES, VERDICTS, Timing
from lineside.line.sink.catalog import open_sink
from lineside.line.snapshot import Window
from lineside.line.source.frame import Frame, Source
from lineside.line.summary import text
from lineside.settings import plain
from tests.line.gate.doubles import Fake, until
from tests.line.tiny import RED, picture, run, stub

CALM = Timing(deadline_ms=60_000, heartbeat_ms=60_000, pass_ms=60_000)


def part(n: int) -> Part:
    return Part(f"p{n}", n)


def test_codes_are_for_ever_and_cover_the_stations_reasons():
    assert VERDICTS == {"accept": 1, "hold": 2, "reject": 3}
    assert list(STATES.items())[:3] == [("running", 1), ("stopped", 2), ("fault", 3)]
    opc = ("preoperational", "halted", "error", "initialized", "ready", "single", "continuous")
    assert {name: STATES[name] for name in opc} == dict(zip(opc, range(4, 11), strict=True))
    assert len(STATES) == 10
    assert set(REASONS) <= set(STATION_REASONS)
    assert len({*REASONS.values(), 0, OTHER_REASON}) == len(REASONS) + 2
    assert set(STATION_REASONS) - set(REASONS) == set(), "a new reason: give it a code here and in docs/plc.md"


def test_verdicts_are_told_in_order_and_counted_on():
    fake, faults = Fake(), []
    gate = Gate(fake.wire(count=65_534), CALM)
    gate.start(faults.append)
    for n, verdict in enumerate(("accept", "hold", "reject", "accept"), 1):
        gate.actuate(part(n), verdict, "decided", 0)
    until(lambda: gate.confirmed == 4)
    gate.close("fault")
    assert [one.count for one in fake.told] == [65_535, 0, 1, 2]
    assert [(one.accepted, one.held, one.rejected) for one in fake.told] == [(1, 0, 0), (1, 1, 0), (1, 1, 1), (2, 1, 1)]
    assert fake.log == [
        "rest", ("beat", 1, 1), *(("tell", n) for n in range(1, 5)), "rest", ("beat", 2, 3), "close",
    ]  # fmt: skip
    assert (faults, gate.error, gate.latency().n) == ([], "", 4)


def test_pass_ends_by_itself_and_the_heart_beats():
    fake = Fake()
    gate = Gate(fake.wire(), Timing(60_000, heartbeat_ms=2, pass_ms=5))
    gate.start(lambda sentence: None)
    gate.actuate(part(1), "accept", "decided", 0)
    until(lambda: fake.log.count("rest") == 2 and sum(one[0] == "beat" for one in fake.log) > 5)
    gate.actuate(part(2), "reject", "decided", 0)
    until(lambda: gate.confirmed == 2)
    gate.close("stopped")
    beats = [one for one in fake.log if one[0] == "beat"]
    assert [n for _, n, _ in beats] == list(range(1, len(beats) + 1))
    assert [state for *_, state in beats] == [1] * (len(beats) - 1) + [2]
    tells = [one for one in fake.log if one == "rest" or one[0] == "tell"]
    assert tells == ["rest", ("tell", 1), "rest", ("tell", 2), "rest"]  # after a reject there is nothing to end


def test_the_last_accepted_part_keeps_its_time_to_pass():
    fake = Fake()
    gate = Gate(fake.wire(), Timing(60_000, heartbeat_ms=60_000, pass_ms=1))
    gate.start(lambda sentence: None)
    gate.actuate(part(1), "accept", "decided", 0)
    gate.close("stopped")
    assert fake.log[-4:] == [("tell", 1), "rest", ("beat", 2, 2), "close"]


@pytest.mark.parametrize("error", [LineError("fake: refused"), ValueError("garbage"), MemoryError()])
def test_whatever_the_wire_raises_is_one_fault_and_nothing_more_is_told(error):
    def then(what):
        if what == "tell" and len(fake.told) == 1:
            raise error

    fake, faults = Fake(then=then), []
    gate = Gate(fake.wire(), CALM)
    gate.start(faults.append)
    for n in range(1, 6):
        gate.actuate(part(n), "accept", "decided", 0)
    until(lambda: faults and fake.log[-1] == ("beat", 1, STATES["fault"]))
    gate.actuate(part(6), "accept", "decided", 0)  # the line may not know yet
    gate.close("fault")
    assert len(faults) == 1
    assert str(error) in faults[0] or type(error).__name__ in faults[0]
    assert [one.sequence for one in fake.told] == [1]
    assert fake.log[2:] == [("tell", 1), ("tell", 2), "rest", ("beat", 1, STATES["fault"]), "close"]
    assert gate.confirmed == gate.latency().n == 1


def test_a_wire_that_hangs_is_seen_and_keeps_nobody(monkeypatch):
    monkeypatch.setattr(gates, "CLOSE_S", 0.05)
    monkeypatch.setattr(gates, "ROOM", 3)
    release, faults = threading.Event(), []
    fake = Fake(then=lambda what: what == "tell" and release.wait(60))
    gate = Gate(fake.wire(), Timing(deadline_ms=20, heartbeat_ms=60_000))
    gate.start(faults.append)
    for n in range(1, 4):
        gate.actuate(part(n), "accept", "decided", 0)  # returns
    until(lambda: faults)
    gate.actuate(part(4), "accept", "decided", 0)
    gate.close("fault")  # returns, too
    release.set()
    assert faults == ["fake:: no confirmation from the PLC within deadline_ms=20; look at the network and at the PLC"]


def test_a_heartbeat_that_hangs_is_seen_without_any_part():
    release, faults = threading.Event(), []
    fake = Fake(then=lambda what: what == "beat" and len(fake.log) > 2 and release.wait(60))
    gate = Gate(fake.wire(), Timing(deadline_ms=10, heartbeat_ms=5))
    gate.start(faults.append)
    until(lambda: faults)
    release.set()
    gate.close("fault")
    assert "no confirmation from the PLC within deadline_ms=10" in faults[0]


def test_more_verdicts_than_the_plc_takes_are_a_fault_of_the_caller(monkeypatch):
    monkeypatch.setattr(gates, "ROOM", 2)
    release = threading.Event()
    fake = Fake(then=lambda what: what == "tell" and release.wait(60))
    gate = Gate(fake.wire(), CALM)
    gate.start(lambda sentence: None)
    for n in (1, 2):
        gate.actuate(part(n), "accept", "decided", 0)
    with pytest.raises(LineError, match="2 verdicts wait for the PLC; it takes them more slowly than they come"):
        gate.actuate(part(3), "accept", "decided", 0)
    release.set()
    gate.close("fault")
    assert [one.sequence for one in fake.told] == [1, 2]


def test_a_verdict_that_is_late_before_it_was_sent_is_not_sent():
    """By a clock of our own: 51 ms pass between the verdict and the thread that sends it."""
    clock, faults = [0], []
    fake = Fake()
    gate = Gate(fake.wire(), Timing(deadline_ms=50, heartbeat_ms=60_000), lambda: clock[0])
    gate._failed = faults.append
    gate.actuate(part(1), "accept", "decided", 0)
    clock[0] = 51_000_000
    gate._work()  # the thread's job, here in ours
    assert faults == [
        "fake:: part p1: its verdict (accept) has not been sent: 51 ms after it was given, deadline_ms is 50; look at "
        "the network and at the PLC's cycle time"
    ]
    assert fake.log == ["rest", ("beat", 0, STATES["fault"])]


def test_a_confirmation_that_is_late_counts_and_is_a_fault():
    clock, faults = [0], []

    def then(what):
        clock[0] += 60_000_000 if what == "tell" else 0

    fake = Fake(then=then)
    gate = Gate(fake.wire(), Timing(deadline_ms=50, heartbeat_ms=60_000), lambda: clock[0])
    gate._failed = faults.append
    gate.actuate(part(1), "accept", "decided", 0)
    gate._work()
    assert "was confirmed too late: 60 ms after it was given" in faults[0]
    assert (gate.latency().n, gate.latency().max) == (1, 60.0)
    assert fake.log[-2] == "rest"


def test_a_plc_that_does_not_take_the_rest_state_starts_no_line():
    def refuse(what):
        raise LineError("fake: refused")

    gate = Gate(Fake(then=refuse).wire(), CALM)
    with pytest.raises(LineError, match="refused"):
        gate.start(lambda sentence: None)
    gate.close("stopped")


@pytest.mark.parametrize("scheme", GATES)
def test_every_gate_is_there(scheme):
    assert GATES[scheme] == f"lineside.line.gate.{scheme}"


@pytest.mark.parametrize(("scheme", "module"), [("modbus", "pymodbus.client"), ("s7", "snap7.client")])
def test_without_its_library_the_command_that_installs_it_is_named(monkeypatch, scheme, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'lineside\[{scheme}\]'"):
        open_gate(f"{scheme}://127.0.0.1")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("modbus", "a gate is written SCHEME:WHERE, such as modbus://HOST:PORT"),
        ("mudbus://a", r"did you mean modbus://a\?"),
        ("modbus:", "expected HOST or HOST:PORT after //, and settings after .*such as modbus://192.168.0.10:502"),
        ("modbus:10.0.0.5", "expected HOST or HOST:PORT after //"),
        ("modbus://a:99999", "Port out of range"),
        ("modbus://a/b", "expected HOST or HOST:PORT"),
        ("modbus://user:secret@a", "expected HOST or HOST:PORT"),
        ("modbus://a?unit", "bad query field"),
        ("modbus://a?unit=x", r"unit: expected a whole number, got 'x'"),
        ("modbus://a?unit=1&unit=2", "unit is given twice"),
        ("modbus://a?unit=256", "unit: expected 0 to 255, got 256"),
        ("modbus://a?deadline=5", r"deadline: unknown key; did you mean deadline_ms\?"),
        ("modbus://a?deadline_ms=0", "deadline_ms: expected 1 to 60000, got 0"),
        ("modbus://a?deadline_ms=nan", "deadline_ms: expected 1 to 60000, got nan"),
        ("modbus://a?register=65530", "register: expected 0 to 65523, got 65530"),
        ("s7://a?db=0", "db: expected 1 to 65535, got 0"),
        ("s7://a?slot=one", "slot: expected a whole number, got 'one'"),
    ],
)
def test_wrong_urls_are_sentences(url, says):
    with pytest.raises(SettingsError, match=says):
        open_gate(url)


@pytest.mark.parametrize("deadline_ms", [None, 1000])  # with one, their deadline has passed, too
def test_parts_that_had_passed_before_their_verdict_are_counted_and_named_as_what_they_are(store, deadline_ms):
    """A camera was away for five seconds; what it missed meanwhile lies in no PLC's memory, and is no lost telegram."""
    window = Window("l")
    now = time.monotonic_ns()

    def lost(n, ago_s):
        return Frame(f"p{n}", n, f"{n}", error="the camera is away", captured_ns=now - round(ago_s * 1e9))

    frames = [Frame("p1", 1, "1", picture=picture(RED)), lost(2, 5), lost(3, 4), lost(4, 0)]
    frames.append(Frame("p5", 5, "5", picture=picture(RED)))
    fake = Fake()
    gate = Gate(fake.wire(), replace(CALM, pass_ms=10))
    source = Source("mem:", iter(frames), None, trigger="free")
    summary = run(stub(), source, [], store, gate=gate, window=window, deadline_ms=deadline_ms)
    assert summary.verdicts == {"accept": 2, "hold": 0, "reject": 3}
    assert summary.reasons == {"decided": 2, "unreadable": 3}
    assert [one.sequence for one in fake.told] == [1, 4, 5]
    assert (summary.passed_by, plain(summary)["passed_by"], window.look().gate.passed_by) == (2, 2, 2)
    assert "2 of these parts had passed the gate before their verdict was known (a camera was away)" in text(summary)
    assert "NOT confirmed" not in text(summary)


def test_what_was_not_confirmed_is_still_named_beside_them(store):

    def then(what):
        if what == "tell":
            raise LineError("fake: gone")

    gone = Frame("p1", 1, "1", error="away", captured_ns=time.monotonic_ns() - 5_000_000_000)
    frames = [gone, Frame("p2", 2, "2", picture=picture(RED))]
    summary = run(
        stub(), Source("mem:", iter(frames), None, trigger="free"), [], store, gate=Gate(Fake(then=then).wire(), CALM)
    )
    assert (summary.parts, summary.passed_by, summary.wire_ms.n) == (2, 1, 0)
    assert "1 of these verdicts were NOT confirmed by the PLC" in text(summary)


def test_a_line_that_can_not_be_started_does_not_touch_the_plc(store, monkeypatch):
    monkeypatch.setenv("LINESIDE_WEBHOOK_SECRET", "0123456789abcdef")
    fake = Fake()
    twice = [open_sink(f"webhook:http://127.0.0.1:9/r#limit={n}") for n in (1, 2)]
    frames = (Frame(str(n), n, f"{n}.png", picture=picture(RED)) for n in (1, 2))
    before = threading.active_count()
    with pytest.raises(SettingsError, match="two sinks have the same host and topic or path"):
        run(stub(), Source("memory:", frames, 2), twice, store, gate=Gate(fake.wire(), CALM))
    assert fake.log == []
    assert threading.active_count() == before
