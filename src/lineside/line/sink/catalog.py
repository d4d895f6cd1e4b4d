"""Sinks by URL scheme. A sink's module is imported when its scheme is asked for.

To add one: a module with `connect(url, where) -> Sink` and its row here. where is the URL after the scheme.
"""

import importlib

from lineside.line.sink.sink import Sink
from lineside.line.url import split

SINKS = {  # scheme: module
    "csv": "lineside.line.sink.csv",
    "stdout": "lineside.line.sink.stdout",
}


def open_sink(url: str) -> Sink:
    """The sink of a URL such as csv:results.csv or stdout:."""
    scheme, where = split(url, SINKS, "sink", "csv:PATH")
    return importlib.import_module(SINKS[scheme]).connect(url, where)
