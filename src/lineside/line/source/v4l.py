"""v4l:/dev/video0, webcam:0, a camera of the Linux kernel (USB video class and others), through PyAV.

It runs by itself. Exposure, gain and white balance belong to the driver: set them with v4l2-ctl, the automatics off.
Settings after a # (settings.py): timeout_s, reconnect_s. V4L2's own frame count does not come through FFmpeg: a lost
frame shows as a jump of the time stamps.
"""

import stat
import time
from pathlib import Path

from lineside.bundle.folder import Bundle
from lineside.errors import LineError, SettingsError
from lineside.line.source.frame import Source
from lineside.line.source.live import live
from lineside.line.source.settings import Camera, refuse, with_tail
from lineside.line.source.stream import Stream, av_library


def connect(url: str, where: str, bundle: Bundle, camera: Camera) -> Source:
    device, camera = with_tail(url, where, camera)
    scheme = url.partition(":")[0]
    url = f"{scheme}:{device}"
    if scheme == "webcam":
        if not (device or "0").isdecimal():
            raise SettingsError(f"{url!r}: expected webcam: or webcam:N with a number N; a device file is v4l:{device}")
        device = f"/dev/video{device or 0}"
    if not device:
        raise SettingsError(f"{url!r}: expected v4l:DEVICE such as v4l:/dev/video0")
    refuse(url, camera, "a V4L2 camera here", ("timeout_s", "reconnect_s"))
    av = av_library(url, "v4l")

    def open_device() -> Stream:
        _look(url, device)
        return Stream(av, url, device, "v4l2", {}, camera.timeout_s, time.monotonic_ns)

    return live(url, open_device, camera)


def _look(url: str, device: str) -> None:
    path = Path(device)
    if not path.exists():
        there = ", ".join(sorted(str(p) for p in Path("/dev").glob("video*"))) or "none"
        raise LineError(f"{url}: {device} is not there; cameras of this machine: {there}")
    if not stat.S_ISCHR(path.stat().st_mode):
        raise LineError(f"{url}: {device} is no device; a video file is video:{device}")
