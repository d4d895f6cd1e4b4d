"""`lineside run --check`: open everything that a line names, take one picture of each camera, and move nothing.

No verdict is written to the PLC (it is connected to, and its COUNT is read), nothing goes into the store or to a sink,
no file is made. A camera does take a picture, and a software trigger fires once, with whatever lamp hangs on it. What
fails does not end the check: every finding is one line, and the next is looked at all the same.
"""

import ctypes
import importlib.util
import os
import queue
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lineside.bundle.folder import Bundle, open_bundle, outside, steady
from lineside.bundle.model import Model, choose
from lineside.bundle.model import opened as model_of
from lineside.data.looks import looks
from lineside.errors import LineError, LinesideError, MissingExtra, SettingsError
from lineside.line.decide import Answer, answerer, compare_rounded, doubts, pixels, warm_up
from lineside.line.events import Answered
from lineside.line.gate.catalog import open_gate
from lineside.line.metrics import place, tls_context, tls_of
from lineside.line.open import outside_bundles, trusted
from lineside.line.pace import OWN
from lineside.line.settings import Settings
from lineside.line.sink.catalog import durable, look_apart, probe_sink
from lineside.line.source.catalog import open_source
from lineside.line.source.frame import Frame, Source
from lineside.line.tables import LineCamera, Web
from lineside.redact import redact
from lineside.store.look import look as look_at_store
from lineside.terminal import shown

DARK, BRIGHT = 5.0, 250.0  # mean of luma, 0 to 255: outside of these nobody could see a part
GRACE_S = 5.0  # beyond timeout_s, for a picture
LEAST_ROOM_GB = 1.0  # for results, a kilobyte each
TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised


@dataclass(frozen=True, slots=True)
class Found:
    """One finding: what was looked at, whether it will do, and what was found; where it will not do, with a remedy."""

    what: str
    ok: bool
    said: str

    def line(self) -> str:
        return shown(f"{'ok' if self.ok else 'failed'}: {self.what}: {self.said}")


def check(settings: Settings, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Iterator[Found]:
    """Findings, one after another as they are made: bundles, cameras, store, disk, sinks, gate, clocks."""
    models: dict[Path, Model] = {}
    for path in settings.bundles:
        yield _one(f"bundle {path}", lambda path=path: _bundle(path, models, settings))
    for camera in settings.cameras:
        yield from _camera(settings, camera, models)
    yield _one(f"store {redact(str(settings.store_place))}", lambda: look_at_store(outside_bundles(settings)))
    yield from _disk(settings)
    for url in settings.sinks:
        yield _one(f"sink {redact(url)}", lambda url=url: probe_sink(url, settings.first_bundle))
    if len(outboxes := durable(settings.sinks)) > 1:
        yield _one("sinks", lambda: look_apart(outboxes))
    if settings.control.socket:
        yield _one(f"socket {settings.control.socket}", lambda: _folder_of(settings.control.socket or Path()))
    if settings.web.metrics:
        yield _one(f"metrics {settings.web.metrics}", lambda: _port(settings.web))
    if settings.gate:
        yield _one(f"gate {redact(settings.gate)}", lambda: _gate(settings))
    yield _one("clock", lambda: _clock([model.manifest.created for model in models.values()], now()))


def _one(what: str, look: Callable[[], str]) -> Found:
    """What `look` said, or why it could not."""
    try:
        return Found(what, True, look())
    except LinesideError as error:
        return Found(what, False, str(error))
    except Exception as error:  # a driver's or library's own: the rest is to be looked at all the same
        return Found(what, False, f"{type(error).__name__}: {error}")


def _bundle(path: Path, models: dict[Path, Model], settings: Settings) -> str:
    """Its model runs, is whole, signed as it must be, and may accept; kept in models."""
    key = trusted(settings)
    model = steady(path, lambda bundle: model_of(bundle, choose(bundle, None, None), key=key))
    answerer(model, time.monotonic_ns)  # a bundle that only sorts is refused
    compare_rounded(model)
    warm_up(model, None)
    models[path] = model
    served, manifest = model.served, model.manifest
    said = (
        f"{manifest.net}, accepts {', '.join(manifest.accept)}; {served.engine} {served.precision}; {model.sha256[:12]}"
    )
    return "; ".join((said, *doubts(model)))


def _camera(settings: Settings, camera: LineCamera, models: dict[Path, Model]) -> Iterator[Found]:
    what = f"camera {camera.name}"
    frames: list[Frame] = []
    yield _one(what, lambda: _picture(settings, camera, frames))
    for frame in frames:
        for product in settings.products:
            path = settings.bundle(product, camera.name)
            if path in models:
                named = f"{what}, {product}" if len(settings.products) > 1 else what
                yield _one(
                    named, lambda path=path, frame=frame: _answer(models[path], frame, settings.parts.deadline_ms)
                )


def _picture(settings: Settings, camera: LineCamera, frames: list[Frame]) -> str:
    """One picture of this camera, put into frames, and how it looks."""
    source = open_source(camera.source, _some_bundle(settings, camera), camera.how)
    try:
        if settings.parts.max_fps is not None and source.trigger in OWN:
            raise SettingsError(
                f"parts.max_fps: this camera sets the pace by itself (trigger = {source.trigger!r}); leave max_fps "
                "out, or trigger by software where the camera can"
            )
        frame = _first(source, camera.how.timeout_s + GRACE_S)
    finally:
        source.close()
    picture = pixels(frame)
    height, width, _ = picture.shape
    seen = looks(picture)
    if not DARK <= seen.brightness <= BRIGHT:
        black = seen.brightness < DARK
        raise LineError(
            f"{source.url}: the picture is {'black' if black else 'white'} (mean {seen.brightness:.0f} of 255); "
            + (
                "is the lamp on, the cap off, exposure_us long enough?"
                if black
                else "shorten exposure_us, lower gain_db"
            )
        )
    frames.append(frame)
    said = f"{source.url}: {width} × {height} pixels, brightness {seen.brightness:.0f}, contrast {seen.contrast:.0f}"
    return "; ".join((said, *(note.removeprefix(f"{source.url}: ") for note in source.notes)))


def _some_bundle(settings: Settings, camera: LineCamera) -> Bundle:
    """What the source may want to know of a bundle, any of the line's will do; LineError where none can be read."""
    places = (settings.bundle(settings.first_product, camera.name), *settings.bundles)
    for path in places:
        with suppress(LinesideError):
            return open_bundle(path)
    raise LineError(
        f"{redact(camera.source)}: not looked at: no bundle can be read, and a source asks one for its classes"
    )


def _first(source: Source, wait_s: float) -> Frame:
    """The first frame; LineError where none comes in time, as of a camera that nobody triggers."""
    answer: queue.SimpleQueue[Frame | Exception | None] = queue.SimpleQueue()

    def take() -> None:
        try:
            answer.put(next(source.frames, None))
        except Exception as error:
            answer.put(error)

    threading.Thread(target=take, name=f"look {source.url}", daemon=True).start()
    try:
        found = answer.get(timeout=wait_s)
    except queue.Empty:
        raise LineError(
            f"{source.url}: it is there, and no picture came within {wait_s:g} s: nothing triggered it (trigger "
            f"{source.trigger}); let a part pass while this check runs"
        ) from None
    if isinstance(found, Exception):
        raise found
    if found is None:
        raise LineError(f"{source.url}: ended before its first picture")
    return found


def _answer(model: Model, frame: Frame, deadline_ms: float | None) -> str:
    """What the model says of this picture, and how long it takes."""
    warm_up(model, frame)
    answer = answerer(model, time.monotonic_ns)(frame)
    event = answer.event
    if not isinstance(event, Answered) or answer.decision is None or answer.decision.annotation is None:
        detail = f"{event.reason}: {event.detail}" if not isinstance(event, Answered) else "it is not finite"
        raise LineError(f"{model.path}: the model gives no answer ({detail}); every such part would be rejected")
    took_ms = _took_ms(answer)
    if deadline_ms is not None and took_ms > deadline_ms:
        raise LineError(
            f"{model.path}: takes {took_ms:.1f} ms for this picture, and parts.deadline_ms is {deadline_ms:g}: every "
            "part would be rejected; give more time, or train with --max-latency-ms"
        )
    decision = answer.decision
    label = answer.decision.annotation
    return f"{model.path}: {label.category} ({label.score:.3f}), would be {decision.verdict}; {took_ms:.1f} ms"


def _took_ms(answer: Answer) -> float:
    return sum(ms for ms in (answer.decode_ms, answer.infer_ms, answer.decide_ms) if ms is not None)


def _disk(settings: Settings) -> Iterator[Found]:
    if isinstance(place := settings.store_place, Path):
        yield _one(f"disk of {place}", lambda: _room(place, LEAST_ROOM_GB, "results"))
    if settings.store.keeps_pictures:
        folder = settings.pictures_folder
        yield _one(f"disk of {folder}", lambda: _quota(settings, folder))
    if settings.log.file:
        yield _one(f"log {settings.log.file}", lambda: _folder_of(settings.log.file or Path()))


def _quota(settings: Settings, folder: Path) -> str:
    for bundle in settings.bundles:
        outside(bundle, folder)
    there_gb = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file()) / 1e9
    return _room(folder, max(0.0, settings.store.quota_gb - there_gb), "pictures (quota_gb)")


def _room(place: Path, needed_gb: float, what: str) -> str:
    folder = place
    while not folder.exists():
        folder = folder.parent
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < needed_gb:
        raise LineError(
            f"{free_gb:.1f} GB are free, and {needed_gb:.1f} GB are for {what}; free some, or choose another disk"
        )
    return f"{free_gb:.1f} GB are free, {needed_gb:.1f} GB for {what}"


def _folder_of(file: Path) -> str:
    where = file if file.exists() else file.parent
    if not where.exists() or not os.access(where, os.W_OK):
        raise LineError(f"{file}: can not be written; make the folder {file.parent}, or name another file")
    return "can be written"


def _port(web: Web) -> str:
    host, port = place(web.metrics or "")
    if files := tls_of(web):
        tls_context(files)
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        raise LineError(f"can not listen there ({error.strerror}); is another line or server on this port?") from None
    if importlib.util.find_spec("prometheus_client") is None:
        raise MissingExtra("the page of metrics", "prometheus_client", "metrics")
    return "the port is free"


def _gate(settings: Settings) -> str:
    assert settings.gate
    gate = open_gate(settings.gate)  # connected, and its COUNT read; nothing is written before its start
    gate.close("stopped")
    return "the PLC answers; nothing was written"


def _clock(created: list[str], now: datetime) -> str:
    """The machine's own time, against the bundles': a clock before them is wrong."""
    newest = max((datetime.fromisoformat(one) for one in created), default=None)
    if newest is not None and newest.tzinfo is not None and now < newest:
        raise LineError(
            f"this machine says {now:%Y-%m-%d %H:%M:%S} UTC, and a bundle was made {newest:%Y-%m-%d %H:%M:%S} UTC; set "
            "the clock (timedatectl)"
        )
    kept = "kept by a time server" if _synchronised() else "kept by no time server (chrony, systemd-timesyncd)"
    tick_us = time.get_clock_info("monotonic").resolution * 1e6
    return f"{now:%Y-%m-%d %H:%M:%S} UTC, {kept}; intervals are measured to {tick_us:.3g} µs"


def _synchronised() -> bool:
    """Whether the kernel's clock is disciplined: adjtimex(2) with modes = 0 changes nothing."""
    with suppress(OSError, AttributeError):
        return 0 <= ctypes.CDLL(None).adjtimex((ctypes.c_long * 64)()) < TIME_ERROR
    return False


def as_json(findings: list[Found]) -> dict[str, object]:
    """{"ok": …, "findings": [{"what", "ok", "said"}, …]}"""
    rows = [{"what": one.what, "ok": one.ok, "said": one.said} for one in findings]
    return {"ok": all(one.ok for one in findings), "findings": rows}
