"""A live stream through PyAV, as device.Device: what rtsp: and v4l: share.

The stream is read as fast as it comes. What had piled up before the line began (a server sends from its last key
frame) is read and thrown away: it shows parts of before. The time stamps are the camera's clock; a jump of nearly two
intervals or more is frames that were lost on the way, where the interval is the median of the last ones.

PyAV is under BSD-3-Clause, the FFmpeg in its wheels under the LGPL-2.1+: used, not copied. Pixels become RGB by
FFmpeg's swscale.
"""

import statistics
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from lineside.errors import LineError, MissingExtra
from lineside.line.source.device import Grab

INTERVALS = 15  # the median of so many
JUDGED_FROM = 5  # the interval is known after so many frames
JUMP = 1.75  # intervals
FRESH_S = 0.02  # a frame that had to be waited for so long was not lying there


def av_library(url: str, extra: str) -> Any:
    try:
        import av
        import av.logging
    except ImportError:
        raise MissingExtra(url, "av", extra) from None
    av.logging.set_level(None)  # FFmpeg's own lines on stderr, in no order with ours; its errors come as exceptions
    return av


class Stream:
    """One open stream. Final."""

    ids = 0
    notes = ()

    def __init__(
        self,
        av: Any,
        url: str,
        address: str,
        form: str | None,
        options: dict[str, str],
        timeout_s: float,
        now_ns: Callable[[], int],
    ):
        self._av, self._url, self._timeout_s, self._now_ns = av, url, timeout_s, now_ns
        try:
            self._container = av.open(address, format=form, options=options, timeout=timeout_s)
        except (av.error.FFmpegError, OSError) as error:
            raise LineError(
                f"{url}: can not be opened: {what(error)}; look at the address, the cable and the user"
            ) from None
        videos = self._container.streams.video
        if not videos or not videos[0].codec_context.width:
            self.close()
            raise LineError(f"{url}: has no video in it")
        self._video = videos[0]
        context = self._video.codec_context
        context.thread_type = "SLICE"  # threads by frames would hold frames back
        self.name = f"{context.name} video"
        self.shape = (context.height, context.width, 3)
        self._packets: Iterator[Any] = iter(())
        self._decoded: deque[Any] = deque()  # frames, or the sentence of what could not be decoded
        self._kept: Any = None

    def start(self) -> None:
        self._packets = self._container.demux(self._video)
        self._decoded.clear()
        self._id = 0
        self._last_ns: int | None = None
        self._intervals: deque[int] = deque(maxlen=INTERVALS)
        begun = asked = self._now_ns()
        while True:
            self._kept = self._read()
            now = self._now_ns()
            if now - asked >= FRESH_S * 1e9 and not isinstance(self._kept, str):  # nothing decodes before a key frame
                return
            if now - begun > self._timeout_s * 1e9:
                raise LineError(f"the stream does not come to now within {self._timeout_s:g} s (timeout_s)")
            asked = now

    def fire(self) -> None:
        raise LineError("a stream has no trigger")

    def grab(self, timeout_s: float) -> Grab | None:
        """Waits up to the stream's own timeout: FFmpeg can not go on reading after an interruption."""
        frame, self._kept = (self._kept, None) if self._kept is not None else (self._read(), None)
        arrived = self._now_ns()
        if isinstance(frame, str):
            self._id += 1
            return Grab(None, arrived, frame, self._id)
        camera_ns = None if frame.time is None else round(frame.time * 1e9)
        self._id += self._step(camera_ns)
        if frame.is_corrupt:
            return Grab(None, arrived, "a frame came damaged: parts of it are missing", self._id, camera_ns)
        if (frame.height, frame.width, 3) != self.shape:
            raise LineError(f"the stream changed to {frame.width} × {frame.height} pixels, from {self.shape}")
        return Grab(frame.to_ndarray(format="rgb24"), arrived, "", self._id, camera_ns)

    def _step(self, camera_ns: int | None) -> int:
        """1, or more where frames are missing before this one."""
        last, self._last_ns = self._last_ns, camera_ns
        if last is None or camera_ns is None:
            return 1
        passed = camera_ns - last
        typical = statistics.median(self._intervals) if len(self._intervals) >= JUDGED_FROM else None
        self._intervals.append(passed)
        return round(passed / typical) if typical and passed > JUMP * typical else 1

    def _read(self) -> Any:
        """The next frame, or the sentence of one that can not be decoded."""
        while not self._decoded:
            packet = self._packet()
            try:
                self._decoded.extend(packet.decode())
            except (self._av.error.FFmpegError, OSError) as error:
                if isinstance(error, self._av.error.EOFError):
                    continue
                return f"a frame can not be decoded: {what(error)}"
        return self._decoded.popleft()

    def _packet(self) -> Any:
        try:
            return next(self._packets)
        except StopIteration:
            raise LineError("the stream has ended, which a camera never does by itself") from None
        except (self._av.error.FFmpegError, OSError) as error:
            raise LineError(f"the stream can not be read: {what(error)}") from None

    def alive(self) -> str:
        return ""  # a stream that is silent is lost: its own timeout says so

    def stop(self) -> None:
        self._packets = iter(())

    def close(self) -> None:
        self._container.close()


def what(error: Exception) -> str:
    """FFmpeg's words, without the address: it may hold a password."""
    return str(getattr(error, "strerror", "") or type(error).__name__)
