"""webhook:https://HOST/PATH[#OPTIONS], one signed POST a result; an answer of 2xx is the acknowledgement.

Options stand behind the # (the part of a URL that is never sent), since the query belongs to the receiver. The body is
message.py's, with `Idempotency-Key: ID` of the result or event: the same has the same key and body however often it is
sent. signature.py has the signature. Python's own http.client does it: it follows no redirect, asks no proxy, and needs
no package; httpx would bring connection pools and HTTP/2, of which one request after another has no use.

https is required, except for a loopback address, or where `plain=true` asks for less. A redirect is refused: it would
lead results to somewhere that nobody named. The connection stays open between results while the receiver lets it.
"""

import contextlib
import hashlib
import http.client
import ipaddress
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from lineside import __version__
from lineside.errors import LineError, SettingsError
from lineside.line.secret import secret
from lineside.line.sink.durable import LIMIT, Durable, Wire
from lineside.line.sink.message import payload
from lineside.line.sink.plant import Plant
from lineside.line.sink.signature import HEADER, sign
from lineside.line.url import options
from lineside.redact import redact
from lineside.store.outbox import Letter

SECRET = "LINESIDE_WEBHOOK_SECRET"
MIN_SECRET = 16  # bytes
MOST_WAITING = 100_000_000
MAX_ANSWER = 65_536  # bytes that are read of an answer, so that the connection can be used again


@dataclass(frozen=True, slots=True)
class Options:
    """What may stand behind the # of the URL."""

    secret_file: Path | None = None  # mode 600: the secret that signs
    secret_env: str | None = None  # the environment variable with it; None: SECRET
    ca: Path | None = None  # PEM: who may have signed the receiver's certificate; None: the system's
    plain: bool = False  # http to another machine, not encrypted
    limit: int = LIMIT  # results that may wait in the outbox
    events: bool = False  # events too, as requests of their own
    timeout_s: float = 5.0  # for a whole request and answer

    def __post_init__(self) -> None:
        if self.secret_file and self.secret_env:
            raise ValueError("has secret_file and secret_env; choose one")
        if not 1 <= self.limit <= MOST_WAITING:
            raise ValueError(f"limit: expected a whole number from 1 to {MOST_WAITING}, got {self.limit}")
        if not 0.1 <= self.timeout_s <= 600:
            raise ValueError(f"timeout_s: expected a number from 0.1 to 600, got {self.timeout_s:g}")


@dataclass(frozen=True, slots=True)
class Receiver:
    url: str
    host: str
    port: int
    target: str  # path and query
    secret: bytes = field(repr=False)
    tls: ssl.SSLContext | None
    timeout_s: float


def connect(
    url: str, where: str, bundle: Path | None, plant: Plant, environment: Mapping[str, str] = os.environ
) -> Durable:
    receiver, key, given = _receiver(where, environment)

    def start(who: str, halt: threading.Event) -> Wire:
        return Post(receiver)

    return Durable(receiver.url, key, start, 1, given.limit, given.events)


def probe(url: str, where: str, bundle: Path | None, environment: Mapping[str, str] = os.environ) -> str:
    """Connect to the receiver, with TLS, and leave without a request; what was found."""
    receiver, _, _ = _receiver(where, environment)
    post = Post(receiver)
    try:
        post.look()
    finally:
        post.close()
    how = "its certificate is trusted" if receiver.tls else "not encrypted"
    return f"the receiver answers at {receiver.host}:{receiver.port} ({how}); nothing was posted"


def _receiver(where: str, environment: Mapping[str, str]) -> tuple[Receiver, str, Options]:
    """(receiver, key of its outbox, options)."""
    shown = redact(f"webhook:{where}").partition("#")[0].partition("?")[0]  # a query may hold a receiver's token
    try:
        parsed = urlsplit(where)
        port = parsed.port or (443 if parsed.scheme == "https" else 80)
    except ValueError:
        raise SettingsError(f"{shown}: the port is no number from 1 to 65535, or the host can not be read") from None
    if parsed.username is not None or parsed.password is not None:
        raise SettingsError(
            "webhook:: the URL holds a user or password, which others can read in the list of processes; requests are "
            f"signed instead, with the secret from secret_file=PATH or {SECRET}"
        )
    if parsed.scheme not in ("https", "http") or not parsed.hostname:
        raise SettingsError(f"{shown}: expected webhook:https://HOST/PATH, such as webhook:https://mes.plant/results")
    if any(c <= " " or c > "~" for c in parsed.path + parsed.query):
        raise SettingsError(f"{shown}: path and query must be written with %XX where they are not plain ASCII")
    given = options(Options, parsed.fragment, shown)
    if parsed.scheme == "http" and not (_loopback(parsed.hostname) or given.plain):
        raise SettingsError(f"{shown}: http is not encrypted; use https, or ask for it with #plain=true")
    hidden = _secret(shown, given, environment)
    target = (parsed.path or "/") + (f"?{parsed.query}" if parsed.query else "")
    tls = _tls(shown, parsed.scheme, given)
    receiver = Receiver(shown, parsed.hostname, port, target, hidden, tls, given.timeout_s)
    host = f"[{parsed.hostname}]" if ":" in parsed.hostname else parsed.hostname
    return receiver, _key(f"webhook:{parsed.scheme}://{host}:{port}{parsed.path or '/'}"), given


def _key(place: str) -> str:
    """The name of the outbox, in logs and metrics, too: without what may be a token in the path, and yet its own."""
    shown = redact(place)
    return place if shown == place else f"{shown}~{hashlib.sha256(place.encode()).hexdigest()[:8]}"


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _secret(url: str, given: Options, environment: Mapping[str, str]) -> bytes:
    variable = given.secret_env or SECRET
    found = secret(given.secret_file, variable, environment, "a secret")
    if found is None:
        raise SettingsError(f"{url}: no secret to sign with; name a file with #secret_file=PATH, or set {variable}")
    if len(found) < MIN_SECRET:
        raise SettingsError(
            f"{url}: the secret has {len(found)} bytes, at least {MIN_SECRET} are needed: openssl rand -hex 32"
        )
    return found


def _tls(url: str, scheme: str, given: Options) -> ssl.SSLContext | None:
    if scheme == "http":
        return None
    try:
        context = ssl.create_default_context(cafile=given.ca)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{url}: the certificates can not be used ({getattr(error, 'strerror', None) or error}); look at ca"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


_FAILURES = (OSError, http.client.HTTPException, ValueError)


class Post:
    """One connection to the receiver at a time. Final."""

    strange = 0

    def __init__(self, receiver: Receiver, now_s: Callable[[], float] = time.time):
        self._receiver, self._now_s = receiver, now_s
        self._connection: http.client.HTTPConnection | None = None

    def ready(self) -> None:
        """Nothing to keep up between results."""

    def idle(self) -> None:
        """Nothing to keep up."""

    def look(self) -> None:
        """Connect, and send nothing. LineError where nobody answers, or someone who is not trusted."""
        try:
            self._open().connect()
        except _FAILURES as error:
            raise self._unheard(error) from None

    def deliver(self, letters: Sequence[Letter]) -> Collection[str]:
        done: list[str] = []
        for letter in letters:
            self._post(letter)
            done.append(letter.record.id)
        return done

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            connection.close()

    def _post(self, letter: Letter) -> None:
        """LineError unless the answer is 2xx, and all of it there within timeout_s."""
        url, body = self._receiver.url, payload(letter)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"lineside/{__version__}",
            "Idempotency-Key": letter.record.id,
            HEADER: sign(self._receiver.secret, body, int(self._now_s())),
        }
        try:
            status = self._answer(body, headers)
        except _FAILURES as error:
            raise self._unheard(error) from None
        if 300 <= status < 400:
            raise LineError(f"{url}: answers with a redirect ({status}), which is refused; name the place itself")
        if not 200 <= status < 300:
            raise LineError(f"{url}: answers {status}; the result is sent again later; look at the receiver")

    def _unheard(self, error: Exception) -> LineError:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        url = self._receiver.url
        return LineError(f"{url}: no answer ({reason}); results wait in the outbox; look at the receiver")

    def _answer(self, body: bytes, headers: Mapping[str, str]) -> int:
        if self._connection is not None:
            with contextlib.suppress(*_FAILURES):
                return self._ask(body, headers)
        return self._ask(body, headers)  # the receiver may have closed the last connection since: that is no trouble

    def _ask(self, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the answer. The connection stays open if both sides agree and the answer was short."""
        connection = self._open()
        # a time-out of http.client is one of each read; a receiver that drips would hold it for ever
        late = threading.Event()
        watch = threading.Timer(self._receiver.timeout_s, _hang_up, [connection, late])
        watch.daemon = True
        watch.start()
        try:
            connection.request("POST", self._receiver.target, body, dict(headers))
            answer = connection.getresponse()
            short = len(answer.read(MAX_ANSWER)) < MAX_ANSWER
            if late.is_set():  # http.client takes the end of the connection for the end of the headers
                raise TimeoutError(f"not complete within {self._receiver.timeout_s:g} s")
        except BaseException:
            self.close()
            raise
        finally:
            watch.cancel()
        if not short:
            self.close()
        return answer.status

    def _open(self) -> http.client.HTTPConnection:
        if self._connection is None:
            r = self._receiver
            if r.tls:
                self._connection = http.client.HTTPSConnection(r.host, r.port, timeout=r.timeout_s, context=r.tls)
            else:
                self._connection = http.client.HTTPConnection(r.host, r.port, timeout=r.timeout_s)
        return self._connection


def _hang_up(connection: http.client.HTTPConnection, late: threading.Event) -> None:
    late.set()
    if connection.sock:
        with contextlib.suppress(OSError):  # it is closed already
            connection.sock.shutdown(socket.SHUT_RDWR)
