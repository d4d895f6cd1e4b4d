"""A line that is open: what its settings name, connected and not yet started. Leaving the context lets all of it go.

Models of all products are loaded at the start, so that a change of product costs no time.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lineside.bundle.folder import outside
from lineside.bundle.model import Model
from lineside.bundle.signature import load_public
from lineside.evidence.drift import Detector
from lineside.line.decide import doubts
from lineside.line.desk import Desk
from lineside.line.gate.catalog import open_gate
from lineside.line.gate.gate import Gate
from lineside.line.keeper import Pictures, Policy
from lineside.line.log import open_log
from lineside.line.messages import Ask
from lineside.line.said import Said, Say
from lineside.line.settings import Settings
from lineside.line.sink.catalog import open_sink
from lineside.line.sink.durable import Durable
from lineside.line.sink.plant import Plant, recipes, simulated
from lineside.line.sink.sink import Sink
from lineside.line.snapshot import Window
from lineside.line.start import start, watched_model
from lineside.line.systemd import NOBODY, Service
from lineside.line.tables import LineCamera
from lineside.line.view import View
from lineside.progress import Progress, silent
from lineside.store.open import is_url, open_store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from sqlalchemy import Engine

    from lineside.line.messages import Inbox
    from lineside.line.summary import Summary


@dataclass(frozen=True, slots=True)
class Opened:
    """A whole line, ready to run."""

    settings: Settings
    views: tuple[View, ...]
    sinks: tuple[Sink | Durable, ...]
    store: "Engine"
    gate: Gate | None
    notes: tuple[str, ...]  # what the user should know before the first part


@contextmanager
def opened(settings: Settings, rng: np.random.Generator, ask: Ask) -> Iterator[Opened]:
    """Bundles, cameras, sinks, store, gate and desk, in this order. rng breaks the ties of the drift detectors; ask
    passes orders to the line.

    The first that does not open ends it, with a sentence: SettingsError, BundleError, LineError or MissingExtra.
    """
    with ExitStack() as stack:
        views: list[View] = []
        for camera in settings.cameras:
            views.append(view(settings, camera, rng))
            stack.callback(views[-1].source.close)
        plant = Plant(recipes(views), ask, simulated(views[0].source.url))
        sinks: list[Sink | Durable] = []
        for url in settings.sinks:
            sinks.append(sink := open_sink(url, settings.first_bundle, plant))
            if isinstance(sink, Sink):
                stack.callback(sink.close)
        store = open_store(outside_bundles(settings))
        stack.callback(store.dispose)
        gate = open_gate(settings.gate) if settings.gate else None
        if gate:
            stack.callback(gate.close, "stopped")
        if settings.control.socket:
            stack.callback(Desk(settings.control.socket, ask).close)
        yield Opened(settings, tuple(views), tuple(sinks), store, gate, _notes(views))


def view(settings: Settings, camera: LineCamera, rng: np.random.Generator) -> View:
    """One camera with the models of all products; its source knows the bundle of the product at the start."""
    first = settings.first_product
    key = trusted(settings)
    model, source, drift = start(settings.bundle(first, camera.name), camera.source, rng, camera.how, key)
    models: dict[str, Model] = {first: model}
    drifts: dict[str, Detector | None] = {first: drift}
    try:
        for product in settings.products:
            if product != first:
                models[product], drifts[product] = watched_model(settings.bundle(product, camera.name), rng, key)
    except BaseException:
        source.close()
        raise
    return View(camera.name, source, models, drifts)


def trusted(settings: Settings) -> "Ed25519PublicKey | None":
    """Whose signature every bundle must have; None: it need not be signed."""
    return load_public(settings.signed_by) if settings.signed_by else None


def outside_bundles(settings: Settings) -> str:
    """Where the store is, if that is in no bundle: a file more would break its hashes. BundleError otherwise."""
    place = settings.store_place
    if not is_url(place):
        for bundle in settings.bundles:
            outside(bundle, place)
    return str(place)


def pictures_of(settings: Settings) -> Pictures | None:
    """Which pictures are to be kept, and where; None: none."""
    store = settings.store
    if not store.keeps_pictures:
        return None
    return Pictures(settings.pictures_folder, Policy(store.pictures, store.every, round(store.quota_gb * 1e9)))


def work(
    it: Opened,
    *,
    inbox: "Inbox",
    say: Say,
    journal: Path,
    window: Window | None = None,
    more: Sequence[Sink] = (),
    service: Service = NOBODY,
    progress: Progress = silent,
) -> "Summary":
    """Run an open line as its settings say. journal: the folder for what is not stored yet (store/journal.py); more:
    sinks beside its own. What line.run.run raises."""
    from lineside.line.pace import Pace
    from lineside.line.run import run

    settings = it.settings
    pace = Pace(
        deadline_ms=settings.parts.deadline_ms,
        max_fps=settings.parts.max_fps,
        together_ms=settings.parts.together_ms,
        halt_after=settings.parts.stop_after_rejects,
        watchdog_s=settings.parts.watchdog_s,
        parts=settings.parts.limit,
    )
    return run(
        it.views,
        [*it.sinks, *more],
        it.store,
        name=settings.line,
        pace=pace,
        product=settings.first_product,
        autostart=settings.control.autostart,
        resettable=settings.takes_orders,
        gate=it.gate,
        inbox=inbox,
        service=service,
        pictures=pictures_of(settings),
        journal=journal,
        say=say,
        window=window,
        progress=progress,
    )


@contextmanager
def told(settings: Settings) -> Iterator[tuple[Say, Window]]:
    """The line's log, and its metrics page if there is to be one: who speaks, and what is looked into."""
    window = Window(settings.line)
    with ExitStack() as stack:
        log = stack.enter_context(open_log(settings.log, settings.line))
        if settings.web.metrics is not None:
            from lineside.line.metrics import serve, tls_of

            serving = serve(settings.web.metrics, window, tls=tls_of(settings.web), dropped=lambda: log.dropped)
            page = stack.enter_context(serving)
            log.say(Said("note", page.note or f"metrics at {page.url}", "warning" if page.note else "info"))
        yield log.say, window


def _notes(views: list[View]) -> tuple[str, ...]:
    notes: list[str] = []
    for one in views:
        for model in one.models.values():
            notes += doubts(model)
        notes += one.source.notes
    return tuple(dict.fromkeys(notes))
