"""Sources by URL scheme. A source's module is imported when its scheme is asked for.

To add one: a module with `connect(url, where, bundle) -> Source` and its row here. where is the URL after the scheme;
bundle is the opened bundle, for what a source may want to know of it. LineError says what is not there.
"""

import importlib

from lineside.bundle.folder import Bundle
from lineside.line.source.frame import Source
from lineside.line.url import split

SOURCES = {  # scheme: module
    "folder": "lineside.line.source.folder",
    "nuts": "lineside.line.source.nuts",
}


def open_source(url: str, bundle: Bundle) -> Source:
    """The source of a URL such as folder:parts/ or nuts:seed=1."""
    scheme, where = split(url, SOURCES, "source", "folder:PATH")
    return importlib.import_module(SOURCES[scheme]).connect(url, where, bundle)
