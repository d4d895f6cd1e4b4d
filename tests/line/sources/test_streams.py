"""video:, rtsp: (GStreamer's real server) and v4l: through PyAV."""

import itertools

import numpy as np
import pytest

from lineside.errors import LineError, SettingsError
from lineside.line.source.catalog import open_source
from lineside.line.source.rtsp import addresses
from lineside.line.source.settings import Camera


@pytest.fixture(autouse=True)
def _watch(watchdog, no_thread_left):
    pass


@pytest.fixture
def av():
    return pytest.importorskip("av", reason="PyAV is not installed")


@pytest.fixture
def clip(av, tmp_path):
    """Ten grey frames, each 20 steps brighter, without loss."""
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "bgr0"
        for k in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((16, 32, 3), 20 * k, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


# ------------------------------------------------------------------------------------------------------------- video


def test_video_plays_every_frame_in_order(clip, bundle):
    source = open_source(f"video:{clip}", bundle)
    frames = list(source.frames)
    assert [frame.picture.mean() for frame in frames] == [20 * k for k in range(10)]
    assert [frame.name for frame in frames][:2] == ["clip.mkv frame 1", "clip.mkv frame 2"]
    assert (source.trigger, source.counts.delivered) == ("recorded", 10)
    source.close()


def test_video_that_is_cut_short_or_damaged(av, clip, bundle, tmp_path):
    """A file that states how many frames it has is held to it; damage in the middle is a part without a picture."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 64, "yuv420p", 1
        rng = np.random.default_rng(1)
        for _ in range(10):
            noise = av.VideoFrame.from_ndarray(rng.integers(0, 256, (64, 64, 3)).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(noise))
        container.mux(stream.encode())
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    size = int.from_bytes(data[start - 8 : start - 4], "big") - 8
    data[start + size // 3 : start + size] = bytes(size - size // 3)
    path.write_bytes(data)
    source = open_source(f"video:{path}", bundle)
    assert source.total == 10
    frames, fault = [], ""
    try:
        frames.extend(source.frames)
    except LineError as error:
        fault = str(error)
    assert any(frame.error for frame in frames) or "of 10 frames: the file is cut short" in fault
    assert source.counts.frames == len(frames) <= 10
    assert [frame.sequence for frame in frames] == list(range(1, len(frames) + 1))
    source.close()


@pytest.mark.parametrize(
    ("where", "error", "says"),
    [
        ("", SettingsError, "expected video:PATH"),
        ("none.mp4", LineError, "does not exist; expected a video file"),
        ("text.mp4", LineError, "can not be opened as a video"),
    ],
)
def test_video_that_is_none(av, bundle, tmp_path, where, error, says):
    (tmp_path / "text.mp4").write_text("no video at all")
    with pytest.raises(error, match=says):
        open_source(f"video:{tmp_path / where if where else ''}", bundle)
    with pytest.raises(SettingsError, match="a video file has no exposure_us"):
        open_source("video:x", bundle, Camera(exposure_us=3))


# -------------------------------------------------------------------------------------------------------------- rtsp


def test_rtsp_delivers_what_the_camera_sees(rtsp, bundle):
    source = open_source(rtsp.url(), bundle)
    frames = list(itertools.islice(source.frames, 20))
    source.close()
    assert {frame.picture.shape for frame in frames} == {(120, 160, 3)}
    assert all(b.camera_ns > a.camera_ns for a, b in itertools.pairwise(frames))
    assert all(b.captured_ns > a.captured_ns for a, b in itertools.pairwise(frames))
    assert source.counts.delivered == 20


def test_rtsp_that_ends_is_a_fault(rtsp, bundle):
    source = open_source(f"{rtsp.url()}#timeout_s=3", bundle)
    next(source.frames)
    rtsp.kill()
    with pytest.raises(LineError, match=r"rtsp://127\.0\.0\.1:\d+/cam: (the stream|no frame)"):
        list(source.frames)
    source.close()


def test_rtsp_that_stands_still_is_a_fault_within_its_timeout(rtsp, bundle):
    source = open_source(f"{rtsp.url()}#timeout_s=1", bundle)
    next(source.frames)
    rtsp.stand_still()
    with pytest.raises(LineError, match="the stream can not be read"):
        list(source.frames)
    source.close()


def test_rtsp_comes_back_and_all_between_is_rejected(rtsp, bundle):
    source = open_source(f"{rtsp.url()}#timeout_s=2,reconnect_s=100", bundle)
    frames = list(itertools.islice(source.frames, 10))
    rtsp.kill()
    down = True
    for frame in source.frames:
        frames.append(frame)
        if frame.error and down:
            rtsp.start()
            down = False
        if source.counts.reconnects and frame.picture is not None:
            break
    source.close()
    assert [frame.sequence for frame in frames] == list(range(1, len(frames) + 1))
    assert source.counts.lost == sum(bool(frame.error) for frame in frames) > 0


def test_rtsp_where_nothing_is(av, bundle, monkeypatch):
    monkeypatch.setenv("CAM_PASSWORD", "secret")
    with pytest.raises(LineError, match=r"rtsp://op:\*\*\*@127\.0\.0\.1:1/x: can not be opened: .*refused"):
        open_source("rtsp://op:$CAM_PASSWORD@127.0.0.1:1/x", bundle)
    with pytest.raises(SettingsError, match="an RTSP stream has no trigger"):
        open_source("rtsp://127.0.0.1:1/x#trigger=software", bundle)


def test_a_password_is_for_the_camera_only(monkeypatch):
    monkeypatch.setenv("CAM_PASSWORD", "p@ss/word")
    shown, address = addresses("//op:$CAM_PASSWORD@cam.local:554/s?channel=1")
    assert shown == "rtsp://op:***@cam.local:554/s?channel=1"
    assert address == "rtsp://op:p%40ss%2Fword@cam.local:554/s?channel=1"
    with pytest.raises(SettingsError, match="the environment has no NOBODY for the password"):
        addresses("//op:$NOBODY@cam/s")
    with pytest.raises(SettingsError, match="expected rtsp://HOST/PATH"):
        addresses("cam/s")
    with pytest.raises(SettingsError, match=r"rtsp://op:\*\*\*@cam/s: the URL holds a password") as refused:
        addresses("//op:geheim@cam/s")
    assert "geheim" not in str(refused.value)
    assert addresses("//op:@cam/s")[1] == "rtsp://op:@cam/s"  # none, as some cameras are sold


# --------------------------------------------------------------------------------------------------------------- v4l


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("v4l:", SettingsError, "expected v4l:DEVICE such as v4l:/dev/video0"),
        ("v4l:/dev/video99", LineError, "/dev/video99 is not there; cameras of this machine: "),
        ("webcam:99", LineError, "webcam:99: /dev/video99 is not there"),
        ("webcam:front", SettingsError, "expected webcam: or webcam:N with a number N"),
        ("v4l:/dev/video0#exposure_us=5", SettingsError, "a V4L2 camera here has no exposure_us"),
        ("v4l:/etc/hostname", LineError, "/etc/hostname is no device; a video file is video:/etc/hostname"),
        ("v4l:/dev/null", LineError, "v4l:/dev/null: can not be opened"),
    ],
)
def test_v4l_refuses_with_a_sentence(av, bundle, url, error, says):
    with pytest.raises(error, match=says):
        open_source(url, bundle)
