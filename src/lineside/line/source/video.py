"""video:PATH, the frames of a video file in their order, through PyAV: a recorded shift.

A frame that can not be decoded is a part without a picture. A file that ends before the number of frames that it
states is cut short, which is a fault at its end: parts are missing, and nobody knows what they looked like.
"""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lineside.bundle.folder import Bundle
from lineside.errors import LineError
from lineside.line.source.frame import Counts, Frame, Source
from lineside.line.source.settings import Camera, refuse
from lineside.line.source.stream import av_library, what


def connect(url: str, where: str, bundle: Bundle, camera: Camera) -> Source:
    refuse(url, camera, "a video file")
    path = Path(where)
    if not path.is_file():
        raise LineError(f"{url}: {'is no file' if path.exists() else 'does not exist'}; expected a video file")
    av = av_library(url, "video")
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise LineError(f"{url}: can not be opened as a video: {what(error)}") from None
    if not container.streams.video or not container.streams.video[0].codec_context.width:
        container.close()
        raise LineError(f"{url}: has no video in it")
    video, lock = container.streams.video[0], threading.Lock()
    context = video.codec_context
    counts, closed = Counts(), threading.Event()

    def frames() -> Iterator[Frame]:
        decoded = _decoded(av, container, video)
        for sequence in range(1, 2**62):
            with lock:  # FFmpeg is not to be closed while it reads
                if closed.is_set():
                    return
                picture, error = next(decoded, (None, ""))
            if picture is None and not error:
                if video.frames > sequence - 1:
                    raise LineError(
                        f"{url}: ended after {sequence - 1} of {video.frames} frames: the file is cut short"
                    )
                return
            counts.add("delivered" if picture is not None else "incomplete")
            name = f"{path.name} frame {sequence}"
            error = f"{url}: frame {sequence}: {error}" if error else ""
            yield Frame(f"{sequence:06d}", sequence, name, picture=picture, error=error)

    def close() -> None:
        closed.set()
        with lock:
            container.close()

    shape = (context.height, context.width, 3)
    return Source(url, frames(), video.frames or None, (), close, counts, shape=shape)


def _decoded(av: Any, container: Any, video: Any) -> Iterator[tuple[Any, str]]:
    """(picture, "") or (None, why not), in order."""
    packets = container.demux(video)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (av.error.FFmpegError, OSError) as error:
            yield None, f"the file can not be read on: {what(error)}"
            return
        try:
            frames = packet.decode()
        except (av.error.FFmpegError, OSError) as error:
            if not isinstance(error, av.error.EOFError):
                yield None, f"can not be decoded: {what(error)}"
            continue
        for frame in frames:
            if frame.is_corrupt:
                yield None, "is damaged: parts of it are missing"
            else:
                yield frame.to_ndarray(format="rgb24"), ""
