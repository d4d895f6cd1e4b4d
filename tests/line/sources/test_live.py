"""The watch over a camera, with a scripted camera: gaps, silence, triggers, outages. What the emulators can not be made
to do on request."""

import itertools
import queue
import threading
import time

import numpy as np
import pytest

from lineside.errors import LineError, SettingsError
from lineside.line.said import unheard
from lineside.line.source import live as live_module
from lineside.line.source.device import Grab
from lineside.line.source.live import BACKLOG, live
from lineside.line.source.settings import Camera

PICTURE = np.zeros((2, 2, 3), np.uint8)


class Script:
    """Plays a list: an int is a frame's id, "torn:N" an incomplete one, None silence, an exception a lost camera."""

    name, shape, notes = "Script 1", (2, 2, 3), ()

    def __init__(self, events, ids=0, alive=lambda: ""):
        self.events, self.ids, self.alive = queue.SimpleQueue(), ids, alive
        for event in events:
            self.events.put(event)
        self.log = []

    def start(self):
        self.log.append("start")

    def fire(self):
        self.log.append("fire")

    def grab(self, timeout_s):
        try:
            event = self.events.get(timeout=min(timeout_s, 0.01))
        except queue.Empty:
            return None
        if isinstance(event, Exception):
            raise event
        if event is None:
            time.sleep(min(timeout_s, 0.01))
            return None
        now = time.monotonic_ns()
        if isinstance(event, str):
            return Grab(None, now, "a hole", int(event.partition(":")[2]))
        if isinstance(event, tuple):
            return Grab(PICTURE, now, "", event[0], skipped=event[1])
        return Grab(PICTURE, now, "", event)

    def stop(self):
        self.log.append("stop")

    def close(self):
        self.log.append("close")


def play(device, n, said=None, patience_s=None, **camera):
    devices = iter(device if isinstance(device, list) else [device])

    def open_device():
        found = next(devices)
        if isinstance(found, Exception):
            raise found
        return found

    source = live("script:", open_device, Camera(**camera))
    source.listen(unheard if said is None else said.append, patience_s)
    frames, error = [], ""
    try:
        frames = list(itertools.islice(source.frames, n)) if n else []
        if not n:
            for frame in source.frames:
                frames.append(frame)
    except LineError as fault:
        error = str(fault)
    source.close()
    assert source.counts.frames == len(frames)
    assert [f.sequence for f in frames] == list(range(1, len(frames) + 1))
    assert all((f.picture is None) == bool(f.error) for f in frames)
    return source.counts, frames, error


@pytest.fixture(autouse=True)
def soon(monkeypatch, watchdog, no_thread_left):
    monkeypatch.setattr(live_module, "POLL_S", 0.01)
    monkeypatch.setattr(live_module, "BACK_OFF_S", (0.05,))


def test_each_id_that_is_missing_is_a_lost_part_in_its_place():
    counts, frames, _ = play(Script([7, 8, 11, 12]), 6)
    assert [bool(f.error) for f in frames] == [False, False, True, True, False, False]
    assert (counts.delivered, counts.lost) == (4, 2)
    assert "a frame before the camera's 11 never arrived" in frames[2].error


@pytest.mark.parametrize(("last", "first", "missed"), [(65535, 0, 0), (65535, 1, 0), (65534, 2, 3), (65535, 3, 3)])
def test_a_count_of_16_bits_begins_anew_without_a_gap(last, first, missed):
    """0 may be left out; then one part more is called lost, never one fewer."""
    counts, _, _ = play(Script([last, first], ids=2**16), 2 + missed)
    assert (counts.delivered, counts.lost) == (2, missed)


def test_a_count_that_jumps_back_is_a_camera_that_was_restarted():
    _, frames, error = play(Script([500, 1]), 0)
    assert len(frames) == 1
    assert "count jumped from 500 to 1" in error


def test_an_incomplete_frame_is_a_part_without_a_picture():
    counts, frames, _ = play(Script([1, "torn:2", 3]), 3)
    assert (counts.delivered, counts.incomplete, counts.lost) == (2, 1, 0)
    assert frames[1].error == "script:: a hole"


def test_what_the_driver_skipped_is_counted_apart_from_what_was_lost():
    counts, _, _ = play(Script([1, (4, 2), (5, 0)]), 5)
    assert (counts.delivered, counts.skipped, counts.lost) == (3, 2, 0)


def test_a_line_that_is_too_slow_loses_pictures_and_no_part(until):
    device = Script(range(BACKLOG + 5))
    source = live("script:", lambda: device, Camera())
    first = next(source.frames)
    until(lambda: device.events.empty(), "all frames are read")
    time.sleep(0.05)
    rest = list(itertools.islice(source.frames, BACKLOG + 4))
    source.close()
    assert first.picture is not None
    assert source.counts.frames == BACKLOG + 5
    assert source.counts.skipped in (4, 5)  # the first may have been taken after the others came
    assert [f.sequence for f in rest] == list(range(2, BACKLOG + 6))
    assert "the line is slower than the camera" in rest[-1].error


def test_a_free_camera_that_falls_silent_is_lost():
    _, frames, error = play(Script([1, 2]), 0, timeout_s=0.1)
    assert len(frames) == 2
    assert error == "script:: no frame for 0.1 s (timeout_s)"


def test_a_camera_that_waits_for_its_signal_may_be_silent(monkeypatch):
    monkeypatch.setattr(live_module, "PING_S", 0.01)
    asked = []
    device = Script([1], alive=lambda: asked.append(1) or "")
    source = live("script:", lambda: device, Camera(trigger="hardware", timeout_s=0.05))
    assert next(source.frames).sequence == 1
    threading.Timer(0.3, device.events.put, [2]).start()
    assert next(source.frames).sequence == 2
    source.close()
    assert len(asked) >= 3


def test_a_camera_that_does_not_answer_while_it_waits_for_its_signal_is_lost(monkeypatch):
    monkeypatch.setattr(live_module, "PING_S", 0.01)
    _, _, error = play(Script([1], alive=lambda: "Script 1 is gone"), 0, trigger="hardware")
    assert error == "script:: Script 1 is gone"


def test_one_software_trigger_one_frame():
    device = Script([1, 2, 3])
    counts, frames, _ = play(device, 3, trigger="software")
    assert counts.delivered == 3
    assert device.log.count("fire") in (3, 4)
    assert all(frame.captured_ns is not None for frame in frames)


def test_a_picture_that_comes_after_its_trigger_was_given_up_is_nobodys():
    """The camera is stopped and started, so what was on its way never passes for the next part's."""
    device = Script([1] + [None] * 30)
    counts, frames, _ = play(device, 2, trigger="software", timeout_s=0.1)
    assert (counts.delivered, counts.lost) == (1, 1)
    assert "no picture within 0.1 s (timeout_s) of its trigger" in frames[1].error
    assert device.log[:5] == ["start", "fire", "fire", "stop", "start"]


def test_a_trigger_is_given_up_when_its_picture_would_be_too_late_for_its_part():
    began = time.monotonic()
    device = Script([1] + [None] * 30)
    counts, frames, _ = play(device, 2, trigger="software", timeout_s=60, patience_s=0.05)
    assert time.monotonic() - began < 30
    assert (counts.delivered, counts.lost) == (1, 1)
    assert "no picture within 0.05 s (deadline_ms) of its trigger" in frames[1].error
    assert device.log == ["start", "fire", "fire", "stop", "close"]  # what comes late needs no start


class Slow(Script):
    """Its first picture after each start takes 0.2 s, as where a lamp or a link has to wake up."""

    def start(self):
        super().start()
        self.slow, self.pictures = True, itertools.count(1)

    def fire(self):
        super().fire()
        threading.Timer(0.2 if self.slow else 0.0, self.events.put, [next(self.pictures)]).start()
        self.slow = False


def test_a_picture_that_comes_after_its_parts_deadline_is_thrown_away_and_the_camera_goes_on():
    """Started anew it would be slow again, and never deliver."""
    device = Slow([])
    counts, frames, _ = play(device, 12, trigger="software", timeout_s=60, patience_s=0.1)
    lost = [bool(frame.error) for frame in frames]
    assert lost[0]
    assert not any(lost[3:])
    assert counts.late == 1
    assert device.log.count("start") == 1
    assert "the picture of a trigger before has not come yet" in frames[1].error or not lost[1]


def test_while_a_camera_is_away_a_trigger_is_given_up_as_soon():
    devices = [Script([1, LineError("pulled")]), *[LineError("still away")] * 1000]
    counts, frames, _ = play(devices, 4, trigger="software", timeout_s=60, patience_s=0.05, reconnect_s=600)
    assert (counts.delivered, counts.lost) == (1, 3)
    assert all("the camera is away" in frame.error for frame in frames[2:])


def test_a_picture_of_which_nobody_knows_whose_it_is_is_thrown_away():
    counts, frames, _ = play(Script([1, 3, 1]), 3, trigger="software")
    assert [bool(frame.error) for frame in frames] == [False, True, False]
    assert "whose picture this is can not be told" in frames[1].error
    assert counts.late == 1


def test_a_camera_that_dies_during_a_software_trigger_rejects_its_part_first():
    counts, frames, error = play(Script([1, RuntimeError("cut")]), 0, trigger="software")
    assert counts.lost == 1
    assert "was lost while it took the picture" in frames[-1].error
    assert error == "script:: RuntimeError: cut"


def test_while_a_free_camera_is_away_its_parts_are_lost_at_its_own_pace():
    def slowly(device):
        for k in range(10):
            device.events.put(k)
            time.sleep(0.02)
        device.events.put(LineError("pulled"))

    first, second = Script([]), Script([1, 2, 3])
    threading.Thread(target=slowly, args=[first], daemon=True).start()
    away = [LineError("still away")] * 5
    source_devices = [first, *away, second]
    counts, frames, _ = play(source_devices, 20, reconnect_s=60)
    assert counts.reconnects in (0, 1)  # 20 frames may be there before the camera is
    lost = [frame for frame in frames if frame.error]
    assert len(lost) >= 5
    assert all("the camera is away" in frame.error for frame in lost)


def test_a_camera_that_comes_back_goes_on():
    counts, frames, _ = play([Script([1, LineError("x")]), LineError("away"), Script([1, 2])], 4, reconnect_s=60)
    assert [bool(frame.error) for frame in frames] == [False, True, False, False]
    assert (counts.delivered, counts.lost, counts.reconnects) == (3, 1, 1)
    assert "how many parts pass until it is back nobody can tell" in frames[1].error


def test_it_is_said_that_a_camera_is_lost_and_that_it_is_back():
    devices = iter([Script([1, LineError("x")]), LineError("away"), Script([1, 2])])

    def open_device():
        found = next(devices)
        if isinstance(found, Exception):
            raise found
        return found

    said = []
    source = live("script:", open_device, Camera(reconnect_s=60))
    source.listen(said.append)
    assert len(list(itertools.islice(source.frames, 4))) == 4
    source.close()
    lost, back = said
    assert (lost.event, lost.level, lost.sentence) == ("camera", "warning", "the camera is lost: script:: x")
    assert (back.event, back.level) == ("camera", "info")
    assert back.sentence.startswith("script:: the camera is back after ")
    assert back.facts["away_s"] > 0


def paced(device, n=10, pace_s=0.02):
    """A free camera that sends n frames, and then nothing."""

    def send():
        for k in range(1, n + 1):
            device.events.put(k)
            time.sleep(pace_s)

    threading.Thread(target=send, daemon=True).start()
    return device


def test_a_camera_that_opens_and_sends_nothing_is_not_back_and_its_parts_get_a_verdict():
    said = []
    devices = [paced(Script([])), *[Script([]) for _ in range(100)]]
    counts, frames, error = play(devices, 0, said, timeout_s=0.2, reconnect_s=0.7)
    ended_ns = time.monotonic_ns()
    assert "no frame for 0.2 s (timeout_s); given up after" in error
    assert (counts.delivered, counts.reconnects) == (10, 0)
    assert [one.sentence for one in said] == ["the camera is lost: script:: no frame for 0.2 s (timeout_s)"]
    times = [frame.captured_ns for frame in frames[9:]]
    pace_ns = (frames[9].captured_ns - frames[0].captured_ns) / 9
    assert max(b - a for a, b in itertools.pairwise(times)) < 3 * pace_ns  # no hole, while it was opened or silent
    assert ended_ns - times[-1] < 0.3e9


def test_an_outage_lasts_until_the_first_frame():
    said = []
    devices = [paced(Script([])), Script([]), Script([1, 2, LineError("x")]), SettingsError("another has it")]
    counts, _, error = play(devices, 0, said, timeout_s=0.2, reconnect_s=60)
    assert "another has it; given up after" in error
    assert (counts.delivered, counts.reconnects) == (12, 1)
    wanted = ("is lost: script:: no frame for 0.2 s", "is back after", "is lost: script:: x")
    assert all(text in one.sentence for text, one in zip(wanted, said, strict=True))
    assert said[1].facts["away_s"] > 0.2  # it did not begin anew when the camera was silent once more


def test_a_camera_that_waits_for_its_signal_is_back_when_it_says_that_it_is_there(monkeypatch):
    monkeypatch.setattr(live_module, "PING_S", 0.02)
    said = []
    mute = [Script([], alive=lambda: "it does not answer") for _ in range(100)]
    _, frames, error = play([Script([1, LineError("x")]), *mute], 0, said, trigger="hardware", reconnect_s=0.3)
    assert "it does not answer; given up after" in error
    assert (len(frames), len(said)) == (2, 1)  # one lost part for the whole outage
    answers = iter(["", "it does not answer"])
    there = Script([], alive=lambda: next(answers))
    counts, _, _ = play([Script([1, LineError("x")]), there, SettingsError("y")], 0, trigger="hardware", reconnect_s=60)
    assert (counts.reconnects, counts.lost) == (1, 2)


def test_each_software_trigger_during_an_outage_is_a_lost_part():
    devices = [Script([1, LineError("x")]), *[LineError("away")] * 10, Script([1])]
    counts, frames, _ = play(devices, 4, trigger="software", timeout_s=0.1, reconnect_s=60)
    assert not frames[0].error
    assert all(frame.error for frame in frames[1:3])
    assert counts.lost >= 2


def test_a_camera_that_stays_away_is_given_up():
    devices = [Script([1, LineError("x")]), *[LineError("away")] * 1000]
    _, _, error = play(devices, 0, reconnect_s=0.2)
    assert "script:: away; given up after" in error


@pytest.mark.parametrize("trigger", ["free", "software", "hardware"])
def test_close_ends_a_wait_at_once_and_frees_the_camera(trigger, until):
    device = Script([])
    source = live("script:", lambda: device, Camera(trigger=trigger, timeout_s=60))
    ended = threading.Event()

    def read():
        assert list(source.frames) == []
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    until(lambda: "start" in device.log, "the camera is started")
    source.close()
    assert ended.wait(10)
    source.close()
    assert device.log[-2:] == ["stop", "close"]
    assert device.log.count("close") == 1


def test_a_source_that_was_never_started_is_closed_too():
    device = Script([])
    source = live("script:", lambda: device, Camera())
    source.close()
    source.close()
    assert device.log == ["stop", "close"]
    assert list(source.frames) == []


def test_a_driver_that_hangs_is_found(monkeypatch):
    monkeypatch.setattr(live_module, "HANG_S", 0.1)
    free = threading.Event()
    device = Script([])
    device.grab = lambda timeout_s: free.wait(30) and None
    source = live("script:", lambda: device, Camera(timeout_s=0.1))
    with pytest.raises(LineError, match="driver has not come back"):
        next(source.frames)
    free.set()
    source.close()
