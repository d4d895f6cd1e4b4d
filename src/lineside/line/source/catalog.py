"""Sources by URL scheme. A source's module is imported when its scheme is asked for.

To add one: a module with `connect(url, where, bundle, camera) -> Source` and its row here. url is for
messages, without what may be a secret; where is the URL after the scheme; bundle is the opened bundle, for what a
source may want to know of it; camera is how pictures are to be taken.
LineError says what is not there, SettingsError what it can not do.
"""

import importlib

from lineside.bundle.folder import Bundle
from lineside.line.source.frame import Source
from lineside.line.source.settings import Camera
from lineside.line.url import split
from lineside.redact import redact

SOURCES = {  # scheme: module
    "folder": "lineside.line.source.folder",
    "watch": "lineside.line.source.watch",
    "video": "lineside.line.source.video",
    "rtsp": "lineside.line.source.rtsp",
    "basler": "lineside.line.source.basler",
    "genicam": "lineside.line.source.genicam",
    "aravis": "lineside.line.source.aravis",
    "v4l": "lineside.line.source.v4l",
    "webcam": "lineside.line.source.v4l",
    "nuts": "lineside.line.source.nuts",
}
LIVE = ("basler", "genicam", "aravis", "rtsp", "v4l", "webcam")  # cameras that may be lost; a # begins their settings


def open_source(url: str, bundle: Bundle, camera: Camera | None = None) -> Source:
    """The source of a URL such as folder:parts/ or basler:#trigger=software. What it holds is free after its close().

    camera: how to take pictures; what stands after the # of the URL goes before. None: as the camera is.
    """
    scheme, where = split(url, SOURCES, "source", "folder:PATH")
    return importlib.import_module(SOURCES[scheme]).connect(redact(url), where, bundle, camera or Camera())
