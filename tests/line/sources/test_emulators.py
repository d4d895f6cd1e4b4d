"""Basler's emulator, the GenTL producer viky, the fake GigE Vision camera: settings, triggers, what goes missing."""

import itertools
import time
from pathlib import Path

import numpy as np
import pytest

from lineside.errors import LineError, SettingsError
from lineside.line.source.catalog import open_source
from lineside.line.source.settings import Camera


@pytest.fixture(autouse=True)
def _watch(watchdog, no_thread_left):
    pass


def take(source, n):
    try:
        return list(itertools.islice(source.frames, n))
    finally:
        source.close()


# ------------------------------------------------------------------------------------------------------------ basler


def test_basler_by_software_trigger_with_its_settings(pylon, bundle):
    camera = Camera(exposure_us=2000, gain_db=0, roi=(16, 8, 640, 480))
    source = open_source("basler:0815-0000#trigger=software", bundle, camera)
    assert source.notes[0].endswith("Emulation 0815-0000, 640 × 480 pixels, trigger software")
    frames = take(source, 5)
    assert [frame.picture.shape for frame in frames] == [(480, 640, 3)] * 5
    assert source.counts.delivered == 5
    assert [f.captured_ns for f in frames] == sorted(f.captured_ns for f in frames)


@pytest.mark.parametrize(
    ("tail", "says"),
    [
        ("exposure_us=1e9", r"Emulation 0815-0000: exposure_us: 1e\+09 is outside the camera's range, 1 to 1e\+07"),
        ("gain_db=99", "gain_db: 99 is outside the camera's range"),
        ("white_balance=1:1:1", "white_balance: this camera has none"),
        ("roi=5000x10+0+0", "roi: width: 5000 is outside the camera's range, 1 to 4096"),
    ],
)
def test_basler_refuses_with_the_range(pylon, bundle, tail, says):
    with pytest.raises(SettingsError, match=says):
        open_source(f"basler:0815-0000#{tail}", bundle)
    take(open_source("basler:0815-0000", bundle), 1)  # and the camera is free again


def test_basler_wants_to_know_which(pylon, bundle):
    with pytest.raises(
        LineError, match="expected exactly one camera, or basler:SERIAL; there are 0815-0000, 0815-0001"
    ):
        open_source("basler:", bundle)
    with pytest.raises(LineError, match="no camera 4711 here; there are 0815-0000"):
        open_source("basler:4711", bundle)


def emulator(source):
    """The emulator's own switches, which no other camera has."""
    return source.frames.gi_frame.f_locals["self"]._device._camera


def test_basler_frames_that_fail_are_parts_without_a_picture(pylon, bundle):
    source = open_source("basler:0815-0000", bundle)
    camera = emulator(source)
    camera.ForceFailedBufferCount.Value = 3
    frames = list(itertools.islice(source.frames, 3))
    camera.ForceFailedBuffer.Execute()
    frames += itertools.islice(source.frames, 60)
    source.close()
    failed = [frame for frame in frames if "incomplete" in frame.error]
    assert len(failed) == source.counts.incomplete == 3
    assert [frame.sequence for frame in frames] == list(range(1, 64))
    assert "The buffer was incompletely grabbed" in failed[0].error


def raw_and_rgb(pylon, bundle, form):
    """One exposure of the emulator as it came, and as basler: hands it over."""
    source = open_source("basler:0815-0000", bundle)
    device = source.frames.gi_frame.f_locals["self"]._device
    device._camera.PixelFormat.Value = form
    device._camera.StartGrabbing(pylon.GrabStrategy_OneByOne)
    with device._camera.RetrieveResult(10_000) as result:
        raw, rgb = result.Array.copy(), device._rgb(result).copy()
    device._camera.StopGrabbing()
    source.close()
    assert rgb.dtype == np.uint8
    return raw, rgb


@pytest.mark.parametrize(("form", "shift"), [("Mono8", 0), ("Mono12", 4), ("Mono16", 8)])
def test_basler_grey_by_pylons_converter_is_a_shift(pylon, bundle, form, shift):
    raw, rgb = raw_and_rgb(pylon, bundle, form)
    assert (rgb == (raw >> shift)[..., None]).all()


@pytest.mark.parametrize("form", ["RGB8Packed", "BGR8Packed"])
def test_basler_colour_is_rgb(pylon, bundle, form):
    raw, rgb = raw_and_rgb(pylon, bundle, form)
    assert (rgb == (raw if form.startswith("RGB") else raw[..., ::-1])).all()


@pytest.mark.parametrize(("form", "red_y", "red_x"), [("BayerRG8", 0, 0), ("BayerGB8", 1, 0)])
def test_basler_bayer_is_pylons_square_of_two_by_two(pylon, bundle, form, red_y, red_x):
    """Each pixel takes red, blue and the mean of both greens out of itself, its right and its lower neighbours."""
    raw, rgb = raw_and_rgb(pylon, bundle, form)
    squares = np.lib.stride_tricks.sliding_window_view(raw, (2, 2)).astype(int)
    y, x = np.indices(squares.shape[:2])
    row, column = (red_y - y) % 2, (red_x - x) % 2  # where red is in the square

    def of(r, c):
        return squares[y, x, r, c]

    green = (of(row, 1 - column) + of(1 - row, column)) / 2
    assert (rgb[:-1, :-1, 0] == of(row, column)).all()
    assert (rgb[:-1, :-1, 2] == of(1 - row, 1 - column)).all()
    assert np.abs(rgb[:-1, :-1, 1] - green).max() <= 0.5


# ----------------------------------------------------------------------------------------------------------- genicam


def test_genicam_runs_by_itself(viky, bundle):
    source = open_source(f"genicam:{viky}:1#roi=320x240+0+0", bundle)
    assert "Viky 1, 320 × 240 pixels" in source.notes[0]
    frames = take(source, 5)
    assert {frame.picture.shape for frame in frames} == {(240, 320, 3)}
    assert source.counts.frames == 5


@pytest.mark.parametrize(
    ("where", "error", "says"),
    [
        ("{}", LineError, "expected exactly one camera, or PRODUCER.cti:SERIAL; the producer sees: 0, 1, 2"),
        ("{}:7", LineError, "the producer sees: 0, 1, 2"),
        ("{}:0#trigger=software", SettingsError, r"can not be triggered \(no TriggerMode\); expected trigger=free"),
        ("{}:0#exposure_us=5", SettingsError, r"exposure_us: this camera can not set it \(no ExposureTime\)"),
        ("{}:0#roi=10x10+5+0", SettingsError, "roi: "),
        ("none.cti", LineError, "none.cti is not there; it comes with the camera's driver"),
        ("0", SettingsError, "expected genicam:PRODUCER.cti"),
    ],
)
def test_genicam_refuses_with_a_sentence(viky, bundle, where, error, says):
    with pytest.raises(error, match=says):
        open_source(f"genicam:{where.format(viky)}", bundle)
    take(open_source(f"genicam:{viky}:0", bundle), 1)


def test_genicam_asks_the_camera_itself_whether_it_is_there(viky, monkeypatch):
    """GenApi would give what it remembers of a register, of a camera whose cable was pulled, too."""
    from lineside.line.source import genicam

    device = genicam.GenICam("genicam:x", Path(viky), "1", Camera(), time.monotonic_ns)
    try:
        assert device.alive() == ""

        class Pulled:
            def get_value(self, verify=False, ignore_cache=False):
                if ignore_cache:
                    raise OSError("no answer")
                return 640

            value = 640

        class Map:
            Width = Pulled()

        monkeypatch.setattr(device, "_map", Map())
        assert "does not answer: " in device.alive()
    finally:
        device.close()


def test_genicam_incomplete_frames_are_parts(viky, bundle, monkeypatch):
    """harvesters throws them away: every third buffer says that it is incomplete."""
    from genicam.gentl import Buffer

    calls, real = itertools.count(1), Buffer.is_complete
    monkeypatch.setattr(Buffer, "is_complete", lambda self: real(self) and next(calls) % 3 != 0)
    source = open_source(f"genicam:{viky}:2", bundle)
    frames = take(source, 9)
    assert [bool(frame.error) for frame in frames] == [False, False, True] * 3
    assert (source.counts.incomplete, source.counts.lost) == (3, 0)


# ------------------------------------------------------------------------------------------------------------ aravis


def test_aravis_settings_and_exposure_are_the_cameras_own(gige, bundle):
    gige.start()
    means = []
    for exposure_us in (300, 3000):
        source = open_source(f"aravis:127.0.0.1#exposure_us={exposure_us},roi=128x64+8+8,trigger=software", bundle)
        frames = take(source, 3)
        assert {frame.picture.shape for frame in frames} == {(64, 128, 3)}
        assert all(frame.camera_ns for frame in frames)
        means.append(frames[-1].picture.mean())
    assert means[1] > means[0]


@pytest.mark.parametrize(
    ("tail", "says"),
    [
        ("exposure_us=1", r"Fake GV01: exposure_us: 1 is outside the camera's range, 10 to 1e\+07"),
        ("exposure_us=1e12", r"is outside the camera's range"),
        ("gain_db=3", "counts gain in steps of its own"),
        ("white_balance=1:1:1", "white_balance: this camera has none"),
        ("roi=4000x10+0+0", "roi: width: 4000 is outside the camera's range, 1 to 2048"),
    ],
)
def test_aravis_refuses_with_the_range(gige, bundle, tail, says):
    gige.start()
    with pytest.raises(SettingsError, match=says):
        open_source(f"aravis:127.0.0.1#{tail}", bundle)
    take(open_source("aravis:127.0.0.1", bundle), 1)


def test_aravis_where_nothing_is(gige, bundle):
    with pytest.raises(LineError, match=r"aravis:127\.0\.0\.1: the camera does not open: .* look at its power, cable"):
        open_source("aravis:127.0.0.1", bundle)
    with pytest.raises(SettingsError, match="expected aravis:ADDRESS"):
        open_source("aravis:", bundle)


def test_aravis_counts_begin_anew_without_a_gap(gige, bundle):
    """The fake camera's first id is 65,401: 200 frames go past the end of 16 bits."""
    gige.start()
    source = open_source("aravis:127.0.0.1#roi=64x64+0+0,trigger=software", bundle)
    frames = take(source, 200)
    assert source.counts.delivered == 200
    ids = [int(frame.name.rpartition(" ")[2]) for frame in frames]
    assert ids[0] > 65_000
    assert ids[-1] < 1_000


def test_aravis_with_lost_packets_leaves_no_part_out(gige, bundle):
    """Of a torn frame the id may be 0, which is soon after the fake camera's first, 65,401: that is no gap of 135."""
    gige.start(lost_per_thousand=20)
    source = open_source("aravis:127.0.0.1#roi=128x128+0+0", bundle)
    frames = take(source, 100)
    assert [frame.sequence for frame in frames] == list(range(1, 101))
    assert source.counts.incomplete + source.counts.lost == sum(bool(frame.error) for frame in frames)
    assert 0 < source.counts.incomplete + source.counts.lost < 100
    numbered = {frame.sequence: int(frame.name.rpartition(" ")[2]) for frame in frames if " frame " in frame.name}
    first, last = min(numbered), max(numbered)
    assert (numbered[last] - numbered[first]) % 2**16 in (last - first, last - first + 1)  # 0 may be left out


def test_aravis_that_is_killed_is_a_fault(gige, bundle):
    gige.start()
    source = open_source("aravis:127.0.0.1#timeout_s=1", bundle)
    next(source.frames)
    gige.kill()
    with pytest.raises(LineError, match=r"aravis:127.0.0.1: no frame for 1 s \(timeout_s\)"):
        list(source.frames)
    source.close()


def test_aravis_by_a_signal_that_never_comes_notices_a_camera_that_is_gone(gige, bundle):
    gige.start()
    source = open_source("aravis:127.0.0.1#trigger=hardware", bundle)
    assert "triggered by its input Line0" in source.notes[1]
    import threading

    threading.Timer(0.5, gige.kill).start()
    with pytest.raises(LineError, match="Fake GV01 does not answer"):
        next(source.frames)
    source.close()


def test_aravis_comes_back_and_all_between_is_rejected(gige, bundle):
    gige.start()
    source = open_source("aravis:127.0.0.1#timeout_s=0.5,reconnect_s=100", bundle)
    frames = list(itertools.islice(source.frames, 10))
    gige.kill()
    for frame in source.frames:
        frames.append(frame)
        if frame.error and not gige._process:
            gige.start()
        if source.counts.reconnects and frame.picture is not None:
            break
    source.close()
    assert [frame.sequence for frame in frames] == list(range(1, len(frames) + 1))
    assert source.counts.reconnects == 1
    lost = [frame for frame in frames if frame.error]
    assert source.counts.lost == len(lost) >= 10  # half a second of silence at 25 a second, and the way back
    assert "the camera is away" in lost[0].error
