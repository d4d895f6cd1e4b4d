"""rtsp://HOST/PATH, rtsp://USER:$NAME@HOST/PATH, a network camera, over TCP.

The end of the stream is a fault, never the end of the shift. The password is taken from the environment variable NAME,
and nowhere shown or stored; one that stands in the URL itself is refused. Settings after a # (settings.py): timeout_s,
reconnect_s.
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
from lineside.redact import redact

OPTIONS = {"rtsp_transport": "tcp", "fflags": "nobuffer"}  # UDP would lose packets, and frames with them


def connect(url: str, where: str, bundle: Bundle, camera: Camera) -> Source:
    shown, address = addresses(where)
    _, camera = with_tail(f"{shown}{''.join(where.partition('#')[1:])}", where, camera)
    refuse(shown, camera, "an RTSP stream", ("timeout_s", "reconnect_s"))
    av = av_library(shown, "rtsp")
    return live(shown, lambda: Stream(av, shown, address, "rtsp", OPTIONS, camera.timeout_s, time.monotonic_ns), camera)


def addresses(where: str) -> tuple[str, str]:
    """(without password, as the server wants it) of what stands after rtsp:, without a tail."""
    said, where = redact(f"rtsp:{where}"), where.partition("#")[0]
    asked = f"rtsp:{where}"
    try:
        parts = urlsplit(asked)
        usable = where.startswith("//") and parts.hostname and parts.port != 0
    except ValueError:  # no host, or a port that is no number
        parts, usable = None, False
    if parts is None or not usable:
        raise SettingsError(
            f"{said}: expected rtsp://HOST/PATH or rtsp://USER:$NAME@HOST/PATH, with %40 for an @ in a word"
        )
    password = parts.password
    if not password:
        return said.partition("#")[0], asked
    if not password.startswith("$"):
        raise SettingsError(
            f"{said}: the URL holds a password, which others can read in the list of processes or in line.toml; put it "
            "into an environment variable, and that one's name in its place: $CAMERA_PASSWORD (in a shell, in single "
            "quotes)"
        )
    if (found := os.environ.get(password[1:])) is None:
        raise SettingsError(f"{said}: the environment has no {_name(password[1:])} for the password")
    place = parts.netloc.rpartition("@")[2]
    netloc = f"{parts.username}:{quote(found, safe='')}@{place}"
    return said.partition("#")[0], parts._replace(netloc=netloc).geturl()


def _name(variable: str) -> str:
    """Of an environment variable; what can be none may be a password that begins with a $."""
    return variable if variable.isascii() and variable.isidentifier() and variable.isupper() else "such variable"
