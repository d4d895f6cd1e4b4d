"""The model and the source of a line, out of one and the same bundle."""

from pathlib import Path

from lineside.bundle.folder import Bundle, steady
from lineside.bundle.model import Model, choose, opened
from lineside.line.source.catalog import open_source
from lineside.line.source.frame import Source


def start(path: str | Path, url: str) -> tuple[Model, Source]:
    """The first served model of the bundle at path, and the source of a URL, which knows what that bundle has learnt.

    Opened once: a bundle that another process puts there meanwhile is taken whole or not at all.
    """

    def both(bundle: Bundle) -> tuple[Model, Source]:
        return opened(bundle, choose(bundle, None, None)), open_source(url, bundle)

    return steady(path, both)
