"""/metrics: the line for Prometheus, read at each scrape from what the line keeps anyway (line/snapshot.py).

    with serve("127.0.0.1:9464", window) as metrics:      # its own threads, no lock shared with the line
        run(…, window=window)

Names follow prometheus.io/docs/practices/naming: base units (seconds, bytes), `_total` for what only grows, `_info` for
facts with the value 1. What a line does not have (a gate, drift, an outbox) has no metric here; docs/metrics.md lists
all of them with the alarm each is for.

The page says what the line does and how fast, and nothing secret; but it says it to everyone who can reach it. So it is
bound to the machine itself (127.0.0.1) unless the settings name another address; then let it be a management network,
or give TLS files and a CA of clients. A client may take TIMEOUT_S, and CLIENTS may ask at once, others are refused.
"""

import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from lineside.errors import LineError, SettingsError
from lineside.line.said import versions
from lineside.line.snapshot import BOUNDS_MS, Snapshot, Window
from lineside.private import private_file

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import CollectorRegistry

    from lineside.line.tables import Web

PORT = 9464  # of exporters that have no other, after OpenTelemetry's specification
CLIENTS = 8
TIMEOUT_S = 5.0
FATES = ("delivered", "lost", "incomplete", "skipped")


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files. client_ca: who may ask is known by a certificate of this CA; None: anyone."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


def tls_of(web: "Web") -> Tls | None:
    """As the settings say; None: without."""
    if web.certificate is None or web.key is None:
        return None
    return Tls(web.certificate, web.key, web.client_ca)


@dataclass(frozen=True, slots=True)
class Serving:
    """The metrics page, being served. Close it, or use it with `with`."""

    url: str
    note: str  # what the user should know; "" if nothing
    close: Callable[[], None]

    def __enter__(self) -> "Serving":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(address: str, window: Window, *, tls: Tls | None = None, dropped: Callable[[], int] = lambda: 0) -> Serving:
    """Serve /metrics at "HOST:PORT", "[::1]:PORT" or "PORT" (of 127.0.0.1); port 0: any that is free.

    dropped: log messages that were dropped so far. SettingsError for an address or a TLS file that is none; LineError
    where the address can not be had; MissingExtra without prometheus_client.
    """
    from prometheus_client import make_wsgi_app

    host, port = place(address)
    context = None if tls is None else tls_context(tls)
    try:
        server = _Server((host, port), _Handler, context)
    except (OSError, OverflowError) as error:
        raise LineError(
            f"metrics: {address}: can not be served ({getattr(error, 'strerror', None) or error}); is another program "
            "at this port, or is the address not one of this machine?"
        ) from None
    server.set_app(make_wsgi_app(registry(window, dropped)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.5}, name="metrics", daemon=True)
    thread.start()

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    shown = f"[{host}]" if ":" in host else host
    url = f"{'https' if context else 'http'}://{shown}:{server.server_port}/metrics"
    note = ""
    if not _loopback(host) and (tls is None or tls.client_ca is None):
        note = f"{url}: anyone who reaches this address can read it; let that be a management network only"
    return Serving(url, note, close)


def place(address: str) -> tuple[str, int]:
    """Host and port of "HOST:PORT" or "PORT"; SettingsError for anything else."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if colon else "127.0.0.1"
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise SettingsError(f"metrics: expected HOST:PORT, such as 127.0.0.1:{PORT}, got {address!r}")
    return host, int(port)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def registry(window: Window, dropped: Callable[[], int] = lambda: 0) -> "CollectorRegistry":
    """What is collected at a scrape: the line, this process, and Python's own collector of garbage."""
    from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector

    found = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=found)
    GCCollector(registry=found)
    found.register(_Collector(window, dropped))  # pyright: ignore[reportArgumentType]  a protocol, as documented
    return found


class _Collector:
    def __init__(self, window: Window, dropped: Callable[[], int]):
        self._window, self._dropped = window, dropped
        self._build = {"line": window.name, **versions("onnxruntime", "openvino")}

    def collect(self) -> "Iterator[Metric]":
        yield _gauge("lineside_build_info", "The line's name, and versions of what runs it.", self._build)
        yield _counter("lineside_log_dropped", "Log messages that nobody took in time.", self._dropped())
        yield _gauge("lineside_threads", "Threads of the line's process.", threading.active_count())
        if (snapshot := self._window.look()) is not None:
            yield from of_line(snapshot)


def of_line(s: Snapshot) -> "Iterator[Metric]":
    """Every metric of a snapshot."""
    bundles = [{"camera": camera, "sha256": sha256, "product": s.product} for camera, sha256 in s.bundles.items()]
    yield _gauge("lineside_bundle_info", "The bundle that decides, by camera.", *bundles)
    yield _gauge("lineside_product_info", "The product that is inspected now.", {"product": s.product})
    states = {(("state", state),): float(state == s.state) for state in s.states}
    yield _gauge("lineside_state", "1 for the station's state, 0 for the others.", states)

    yield _counter("lineside_parts_triggered", "Parts that were there.", s.triggered)
    yield _counter("lineside_parts", "Parts by verdict.", _by("verdict", s.verdicts))
    yield _counter("lineside_parts_by_reason", "Parts by why they got their verdict.", _by("reason", s.reasons))
    yield _counter("lineside_deadline_misses", "Parts rejected for want of a verdict in time.", s.deadline_misses)
    if s.deadline_ms is not None:
        yield _gauge("lineside_deadline_seconds", "From trigger to verdict, at most.", s.deadline_ms / 1e3)
    yield _gauge("lineside_rejects_in_a_row", "Rejects since the last part that was none.", s.rejects_in_a_row)
    yield _gauge("lineside_parts_in_flight", "Parts between trigger and verdict.", s.in_flight)
    yield _histogram(s)

    frames = {
        (("camera", camera), ("fate", fate)): counts[fate] for camera, counts in s.frames.items() for fate in FATES
    }
    yield _counter("lineside_frames", "Frames by what became of them.", frames)
    for name, what in (
        ("late", "Frames that came long after their trigger."),
        ("reconnects", "Cameras that came back."),
    ):
        each = {(("camera", camera),): counts[name] for camera, counts in s.frames.items()}
        yield _counter("lineside_camera_reconnects" if name == "reconnects" else "lineside_frames_late", what, each)

    yield _counter("lineside_stored", "Results that the store has.", s.stored)
    yield _counter("lineside_store_lost", "Verdicts given and not stored.", s.lost)
    yield _gauge("lineside_store_lag_parts", "Verdicts given and not stored yet.", s.waiting)
    yield _gauge("lineside_store_lag_seconds", "How long the oldest of them has waited.", s.lag_s)
    yield _gauge("lineside_store_room_parts", "Parts that may come before the line waits for the store.", s.room)
    yield _gauge(
        "lineside_store_up", "1 where the store answered the outboxes' question.", float(s.outboxes is not None)
    )
    yield from _outboxes(s)

    if s.gate is not None:
        yield _gauge("lineside_gate_up", "1 while the PLC confirms in time.", float(s.gate.well))
        yield _gauge("lineside_gate_heartbeat_age_seconds", "Since the PLC confirmed one.", s.gate.heartbeat_age_s)
        yield _counter("lineside_gate_confirmed", "Verdicts that the PLC has confirmed.", s.gate.confirmed)
        yield _counter("lineside_gate_passed_by", "Parts past the gate before their verdict.", s.gate.passed_by)
    if s.drift:
        evidence, threshold = ({(("camera", name),): one[k] for name, one in s.drift.items()} for k in (0, 1))
        yield _gauge("lineside_drift_evidence", "Evidence that parts or pictures have changed.", evidence)
        yield _gauge("lineside_drift_threshold", "Evidence at which an alarm is given.", threshold)
        alarms = {(("camera", camera), ("number", number)): float(n) for (camera, number), n in s.alarms.items()}
        yield _counter("lineside_drift_alarms", "Alarms by camera, and the number that moved.", alarms)


def _outboxes(s: Snapshot) -> "Iterator[Metric]":
    sent = s.outboxes or ()
    if not sent:
        return
    known = [one for one in sent if one.pending is not None]
    numbers: tuple[tuple[str, str, Callable[[Any], float], list[Any]], ...] = (
        ("lineside_outbox_results", "Results that wait for the consumer.", lambda one: one.pending, known),
        ("lineside_outbox_oldest_seconds", "Age of the oldest of them.", lambda one: one.oldest_s or 0.0, known),
        ("lineside_courier_up", "1 while results are acknowledged.", lambda one: float(not one.trouble), list(sent)),
    )
    for name, what, number, of in numbers:
        yield _gauge(name, what, {(("sink", one.key),): number(one) for one in of})
    counted: tuple[tuple[str, str, Callable[[Any], float]], ...] = (
        ("lineside_outbox_acknowledged", "Results that the consumer has acknowledged.", lambda one: one.acknowledged),
        ("lineside_outbox_again", "Deliveries of what had been sent before.", lambda one: one.again),
        ("lineside_outbox_strange", "Acknowledgements of something else.", lambda one: one.strange),
    )
    for name, what, number in counted:
        yield _counter(name, what, {(("sink", one.key),): number(one) for one in sent})


Labels = tuple[tuple[str, str], ...]
Values = float | Mapping[Any, float]  # one number, or a number by labels


def _by(label: str, numbers: Mapping[str, int]) -> dict[Labels, float]:
    return {((label, name),): float(n) for name, n in numbers.items()}


def _gauge(name: str, what: str, *values: Any) -> "Metric":
    """values: a number; a number by labels; or dicts of text, each an `_info` with the value 1."""
    from prometheus_client.core import GaugeMetricFamily

    if values and isinstance(values[0], Mapping) and all(isinstance(v, str) for v in values[0].values()):
        return _filled(GaugeMetricFamily, name, what, {tuple(one.items()): 1.0 for one in values})
    return _filled(GaugeMetricFamily, name, what, values[0] if values else {})


def _counter(name: str, what: str, values: Values) -> "Metric":
    from prometheus_client.core import CounterMetricFamily

    return _filled(CounterMetricFamily, name, what, values)


def _filled(family: Any, name: str, what: str, values: Values) -> "Metric":
    by_labels = values if isinstance(values, Mapping) else {(): values}
    names = [label for label, _ in next(iter(by_labels), ())]
    metric = family(name, what, labels=names)
    for labels, value in by_labels.items():
        metric.add_metric([text for _, text in labels], float(value))
    return metric


def _histogram(s: Snapshot) -> "Metric":
    from prometheus_client.core import HistogramMetricFamily

    metric = HistogramMetricFamily("lineside_stage_seconds", "Time per part by stage.", labels=["stage"])
    for stage, times in s.times.items():
        buckets = [(f"{ms / 1e3:g}", float(n)) for ms, n in zip(BOUNDS_MS, times.counts, strict=True)]
        metric.add_metric([stage], [*buckets, ("+Inf", float(times.n))], times.sum_ms / 1e3)
    return metric


def tls_context(tls: Tls) -> ssl.SSLContext:
    """SettingsError where the files are none for TLS, or others can read the key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=_no_passphrase)
        if tls.client_ca is not None:
            context.load_verify_locations(tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError, ValueError) as error:
        raise SettingsError(
            f"metrics: {', '.join(str(p) for p in (tls.certificate, tls.key, tls.client_ca) if p)}: can not be used "
            f"for TLS ({getattr(error, 'strerror', None) or error}); expected PEM files, the key without a passphrase"
        ) from None
    private_file(tls.key, "the server's key")
    return context


def _no_passphrase() -> str:
    """OpenSSL would ask for it at the terminal."""
    raise ValueError("the key has a passphrase")


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, place: tuple[str, int], handler: type[WSGIRequestHandler], context: ssl.SSLContext | None):
        import socket

        self.address_family = socket.getaddrinfo(*place, type=socket.SOCK_STREAM)[0][0]
        self._context, self._free = context, threading.BoundedSemaphore(CLIENTS)
        super().__init__(place, handler)

    def server_bind(self) -> None:
        """As HTTPServer's, but without asking the network's name service for our own name."""
        from socketserver import TCPServer

        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # pyright: ignore[reportAttributeAccessIssue]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            request.settimeout(TIMEOUT_S)
            if self._context is not None:  # here, not where connections are accepted: a client may take its time
                request = self._context.wrap_socket(request, server_side=True)
            super().process_request_thread(request, client_address)
        except OSError:  # it left, or is none of ours
            self.shutdown_request(request)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; Python would print a traceback to stderr."""


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""
