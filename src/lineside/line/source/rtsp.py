"""rtsp://HOST/PATH, rtsp://USER:PASSWORD@HOST/PATH, a network camera, over TCP.

The end of the stream is a fault, never the end of the shift. A password may stand as $NAME: then it is taken from that
environment variable. Nowhere is it shown or stored. Settings after a # (settings.py): timeout_s, reconnect_s.
"""

import os
import time
from urllib.parse import quote, urlsplit

from lineside.bundle.folder import Bundle
from lineside.errors import SettingsError
from lineside.line.source.frame import Source
from lineside.line.source.live import live
from lineside.line.source.settings import Camera, refuse, with_tail
from lineside.line.source.stream import Stream, av_library

OPTIONS = {"rtsp_transport": "tcp", "fflags": "nobuffer"}  # UDP would lose packets, and frames with them


def connect(url: str, where: str, bundle: Bundle, camera: Camera) -> Source:
    shown, address = addresses(where.partition("#")[0])
    _, camera = with_tail(f"{shown}{''.join(where.partition('#')[1:])}", where, camera)
    refuse(shown, camera, "an RTSP stream", ("timeout_s", "reconnect_s"))
    av = av_library(shown, "rtsp")
    return live(shown, lambda: Stream(av, shown, address, "rtsp", OPTIONS, camera.timeout_s, time.monotonic_ns), camera)


def addresses(where: str) -> tuple[str, str]:
    """(without password, as the server wants it) of what stands after rtsp:"""
    parts = urlsplit(f"rtsp:{where}")
    if not where.startswith("//") or not parts.hostname:
        raise SettingsError("rtsp: expected rtsp://HOST/PATH or rtsp://USER:PASSWORD@HOST/PATH")
    if parts.password is None:
        return parts.geturl(), parts.geturl()
    place = parts.netloc.rpartition("@")[2]
    password = parts.password
    if password.startswith("$"):
        if (found := os.environ.get(password[1:])) is None:
            raise SettingsError(
                f"rtsp://{parts.username}@{place}: the environment has no {password[1:]} for the password"
            )
        password = quote(found, safe="")
    shown = parts._replace(netloc=f"{parts.username}:***@{place}").geturl()
    return shown, parts._replace(netloc=f"{parts.username}:{password}@{place}").geturl()
