"""What holds for every source of the catalog: frames in sequence without a gap, a picture or the reason for none,
counts that add up, a close that may come twice and frees what it held, sentences for what it can not do."""

import itertools
import threading

import numpy as np
import pytest

from lineside.errors import LineError, LinesideError, SettingsError
from lineside.line.decide import pixels
from lineside.line.source.catalog import SOURCES, open_source
from lineside.line.source.settings import Camera
from tests.line.tiny import BLUE, RED, png

N = 4
ADDRESS_ONLY = ("v4l", "webcam")  # a kernel's camera can not be made here: test_streams.py has what can be tested


@pytest.fixture(autouse=True)
def _watch(watchdog, no_thread_left):
    pass


@pytest.fixture(params=[scheme for scheme in SOURCES if scheme not in ADDRESS_ONLY])
def url(request, tmp_path):
    """A source that delivers at least N frames, by its real means."""
    match request.param:
        case "folder":
            (tmp_path / "parts").mkdir()
            for k in range(N):
                (tmp_path / "parts" / f"{k}.png").write_bytes(png(RED) if k else b"torn")
            yield f"folder:{tmp_path / 'parts'}"
        case "watch":
            pytest.importorskip("watchfiles")
            (tmp_path / "inbox").mkdir()
            done = threading.Event()

            def deliver():
                for k in itertools.count():
                    if done.wait(0.05):
                        return
                    (tmp_path / "inbox" / f"{k:06}.png").write_bytes(png(BLUE))

            threading.Thread(target=deliver, daemon=True).start()
            yield f"watch:{tmp_path / 'inbox'}"
            done.set()
        case "video":
            av = pytest.importorskip("av")
            with av.open(str(tmp_path / "clip.mkv"), "w") as container:
                stream = container.add_stream("ffv1", rate=10)
                stream.width, stream.height, stream.pix_fmt = 32, 16, "bgr0"
                for _ in range(N):
                    grey = av.VideoFrame.from_ndarray(np.zeros((16, 32, 3), np.uint8), format="rgb24")
                    container.mux(stream.encode(grey))
                container.mux(stream.encode())
            yield f"video:{tmp_path / 'clip.mkv'}"
        case "rtsp":
            yield request.getfixturevalue("rtsp").url()
        case "basler":
            request.getfixturevalue("pylon")
            yield "basler:0815-0000"
        case "genicam":
            yield f"genicam:{request.getfixturevalue('viky')}:0"
        case "aravis":
            request.getfixturevalue("gige").start()
            yield "aravis:127.0.0.1"
        case "nuts":
            yield "nuts:lost=2,truncated=3,late=4"


def test_frames_in_sequence_and_counts_that_add_up(url, bundle):
    source = open_source(url, bundle)
    frames = list(itertools.islice(source.frames, N))
    assert [frame.sequence for frame in frames] == list(range(1, N + 1))
    assert len({frame.part_id for frame in frames}) == N
    for frame in frames:
        assert (frame.picture is not None) + (frame.data is not None) + bool(frame.error) == 1
        if frame.picture is not None:
            picture = pixels(frame)
            assert (picture.ndim, picture.shape[2], picture.dtype) == (3, 3, np.uint8)
            assert source.shape in (None, picture.shape)
        if source.trigger != "recorded":
            assert frame.captured_ns is not None
    assert source.counts.frames == N
    assert source.counts.delivered == N - source.counts.lost - source.counts.incomplete - source.counts.skipped
    source.close()


def test_close_twice_and_open_again(url, bundle):
    for _ in range(2):
        source = open_source(url, bundle)
        assert next(source.frames).sequence == 1
        source.close()
        source.close()


def test_close_before_the_first_frame(url, bundle):
    open_source(url, bundle).close()
    source = open_source(url, bundle)
    assert next(source.frames).sequence == 1
    source.close()


def test_close_ends_frames_that_come_by_themselves(url, bundle):
    source = open_source(url, bundle)
    if source.trigger != "recorded":
        threading.Timer(0.3, source.close).start()
        assert len(list(source.frames)) < 1000
    source.close()


@pytest.mark.parametrize("tail", ["exposre_us=3", "trigger=sometimes", "exposure_us=1e15", "white_balance=1:1:1"])
def test_what_it_can_not_do_is_a_sentence(url, bundle, tail):
    """In the URL or in the table; nothing stays open behind it."""
    with pytest.raises(LinesideError) as refused:
        open_source(f"{url}#{tail}", bundle)
    assert isinstance(refused.value, SettingsError | LineError)
    assert len(str(refused.value)) > 30
    if tail.startswith("white"):
        with pytest.raises(SettingsError, match="white_balance"):
            open_source(url, bundle, Camera(white_balance=(1.0, 1.0, 1.0)))
    source = open_source(url, bundle)
    assert next(source.frames).sequence == 1
    source.close()
