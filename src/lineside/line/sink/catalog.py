"""Sinks by URL scheme. A sink's module is imported when its scheme is asked for.

To add one: a module with `connect(url, where, bundle, plant) -> Sink`, `probe(url, where, bundle) -> str`, which looks
whether it can be told and tells it nothing, and its row here. url is for messages, without what may be a secret; where
is the URL after the scheme; bundle is the path of the bundle that the line runs, for a sink that writes files: none may
lie in there; plant (plant.py) is what the line looks for, and whom to ask. A sink whose consumer acknowledges what he
has got is a Durable: told through the outbox.
"""

import importlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qsl

from lineside.errors import LinesideError
from lineside.line.sink.durable import Durable, apart
from lineside.line.sink.plant import NO_PLANT, Plant
from lineside.line.sink.sink import Sink
from lineside.line.url import split
from lineside.redact import redact

SINKS = {  # scheme: module
    "csv": "lineside.line.sink.csv",
    "mqtt": "lineside.line.sink.mqtt",
    "opcua": "lineside.line.sink.opcua",
    "stdout": "lineside.line.sink.stdout",
    "webhook": "lineside.line.sink.webhook",
}
DURABLE = ("mqtt", "webhook")  # told through an outbox; their connect talks to nobody


def open_sink(url: str, bundle: Path | None = None, plant: Plant = NO_PLANT) -> Sink | Durable:
    """The sink of a URL such as csv:results.csv or stdout:; bundle: the path where nothing may be written."""
    scheme, where = split(url, SINKS, "sink", "csv:PATH")
    return importlib.import_module(SINKS[scheme]).connect(redact(url), where, bundle, plant)


def durable(urls: Sequence[str]) -> list[str]:
    """Those of these sinks that are told through an outbox."""
    return [url for url in urls if split(url, SINKS, "sink", "csv:PATH")[0] in DURABLE]


def look_apart(urls: Sequence[str]) -> str:
    """That each of these durable sinks has an outbox of its own, in a sentence; nobody is talked to. SettingsError
    where two share one; what is wrong with a sink by itself is probe_sink's."""
    keys = []
    for url in urls:
        with suppress(LinesideError):
            sink = open_sink(url)
            assert isinstance(sink, Durable), "of DURABLE"
            keys.append(sink.key)
    apart(keys)
    return f"{len(keys)} with an outbox, each with its own"


def takes_orders(url: str) -> bool:
    """Whether this sink's clients may steer the line, as far as the URL says so."""
    scheme, where = split(url, SINKS, "sink", "csv:PATH")
    return scheme == "opcua" and ("orders", "true") in parse_qsl(where.partition("?")[2])


def probe_sink(url: str, bundle: Path | None = None) -> str:
    """What was found there, where results could go; nothing is told, made or changed. The errors are open_sink's."""
    scheme, where = split(url, SINKS, "sink", "csv:PATH")
    return importlib.import_module(SINKS[scheme]).probe(redact(url), where, bundle)
