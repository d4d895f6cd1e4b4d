"""mqtt://HOST[:PORT]/TOPIC[?OPTIONS], results as JSON on TOPIC/result; the consumer answers on TOPIC/ack.

The broker's own acknowledgement (QoS 1) says only that the broker has the message: after `kill -9` of mosquitto 2.0
with its default settings 300 of 300 such messages were gone. So a result is done when its *consumer* has published its
id on TOPIC/ack; until then it stays in the outbox and is sent again.

    TOPIC/result   QoS 1, not retained   message.py
    TOPIC/event    QoS 1, not retained   message.py, with events=true only
    TOPIC/ack      QoS 1, to us          acknowledgement.py
    TOPIC/status   QoS 1, retained       {"state": "online" | "offline" | "lost", …}; "lost" is the last will

MQTT 5 (paho-mqtt 2), clean start: nothing is left to the broker's session. One thread, the courier's, runs the network
too; a connection that fails is thrown away. TLS and a user are the rule; plain=true and anonymous=true ask for less.
The client id is the same after a restart, so that the broker ends a dead connection, and its last will, first.
"""

import contextlib
import hashlib
import json
import os
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lineside import __version__
from lineside.errors import LineError, MissingExtra, SettingsError
from lineside.line.secret import secret
from lineside.line.sink.acknowledgement import acknowledged_id
from lineside.line.sink.durable import LIMIT, Durable, Wire
from lineside.line.sink.message import payload
from lineside.line.sink.plant import Plant
from lineside.line.url import options
from lineside.private import private_file
from lineside.redact import redact
from lineside.store.outbox import Letter
from lineside.store.records import Event

PASSWORD = "LINESIDE_MQTT_PASSWORD"
CONNECT_S = 5.0
KEEPALIVE_S = 15
LOOP_S = 0.05  # how soon a halt is noticed
MOST_WAITING = 100_000_000
WINDOW = 20  # a round trip through a broker that gathers small packets (Nagle) takes 90 ms: 11 results a second
MAX_PACKET = 65_536  # the broker must not send us more: an acknowledgement is 32 bytes


@dataclass(frozen=True, slots=True)
class Options:
    """What may stand behind the ? of the URL."""

    user: str | None = None  # who we are for the broker
    password_file: Path | None = None  # mode 600
    password_env: str | None = None  # the environment variable with the password; None: PASSWORD
    ca: Path | None = None  # PEM: who may have signed the broker's certificate; None: the system's
    cert: Path | None = None  # PEM: our certificate
    key: Path | None = None  # PEM, mode 600: its key
    plain: bool = False  # not encrypted
    anonymous: bool = False  # no user
    window: int = WINDOW  # results under way at once
    limit: int = LIMIT  # results that may wait in the outbox
    events: bool = False  # events too, on TOPIC/event; the consumer must acknowledge them
    timeout_s: float = 5.0  # without an acknowledgement for so long, the result is sent again

    def __post_init__(self) -> None:
        if self.user == "" or self.password_env == "":
            raise ValueError("user and password_env: expected a name, got nothing")
        if self.plain and (self.ca or self.cert or self.key):
            raise ValueError("plain=true does not encrypt, so ca, cert and key have no use; leave one out")
        if self.password_file and self.password_env:
            raise ValueError("has password_file and password_env; choose one")
        if self.key and not self.cert:
            raise ValueError("has a key and no certificate; add cert=PATH")
        if not 1 <= self.window <= 500:
            raise ValueError(f"window: expected a whole number from 1 to 500, got {self.window}")
        if not 1 <= self.limit <= MOST_WAITING:
            raise ValueError(f"limit: expected a whole number from 1 to {MOST_WAITING}, got {self.limit}")
        if not 0.1 <= self.timeout_s <= 3600:
            raise ValueError(f"timeout_s: expected a number from 0.1 to 3600, got {self.timeout_s:g}")


@dataclass(frozen=True, slots=True)
class Broker:
    """Where and how to connect. password is kept out of repr, and so out of every message and log."""

    url: str
    host: str
    port: int
    topic: str
    user: str | None
    password: Callable[[], str | None]
    tls: ssl.SSLContext | None
    timeout_s: float


def connect(
    url: str, where: str, bundle: Path | None, plant: Plant, environment: Mapping[str, str] = os.environ
) -> Durable:
    broker, given = _broker(url, where, environment)

    def start(who: str, halt: threading.Event) -> Wire:
        return Connection(broker, who, halt)

    return Durable(redact(url), broker.url, start, given.window, given.limit, given.events)


def probe(url: str, where: str, bundle: Path | None, environment: Mapping[str, str] = os.environ) -> str:
    """Go to the broker under a name of our own, say nothing there, and leave; what was found."""
    broker, _ = _broker(url, where, environment)
    connection = Connection(broker, f"look {secrets.token_hex(8)}", threading.Event())
    connection.look()
    how = "by TLS" if broker.tls else "not encrypted"
    return f"the broker answers ({how}); {broker.topic}/ack can be read; nothing was published"


def _broker(url: str, where: str, environment: Mapping[str, str]) -> tuple[Broker, Options]:
    try:
        import paho.mqtt.client  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtra("mqtt:", "paho-mqtt", "mqtt") from None
    shown = redact(url)
    try:
        parsed = urlsplit(f"mqtt:{where}")
        port = parsed.port
    except ValueError:
        raise SettingsError(f"{shown}: host or port can not be read; the port is no number from 1 to 65535") from None
    if parsed.password is not None:
        raise SettingsError(
            "mqtt:: the URL holds a password, which others can read in the list of processes; name a file with "
            f"password_file=PATH, or set {PASSWORD}"
        )
    topic = parsed.path.strip("/")
    if not where.startswith("//") or not parsed.hostname or not topic or parsed.fragment:
        raise SettingsError(f"{shown!r}: expected mqtt://HOST/TOPIC, such as mqtt://broker.plant/hall1/station3")
    if any(c in topic for c in "+#\0"):
        raise SettingsError(f"{shown}: the topic holds a wildcard; a result needs one place to go to")
    given = options(Options, parsed.query, url)
    user = given.user if given.user is not None else parsed.username
    if user is not None and given.anonymous:
        raise SettingsError(f"{shown}: has a user and anonymous=true; choose one")
    if user is None and not given.anonymous:
        raise SettingsError(
            f"{shown}: who are we for the broker? Add user=NAME, or ask for no user with anonymous=true"
        )
    hidden = _password(shown, given, user, environment)
    port = port or (1883 if given.plain else 8883)
    key = f"mqtt://{parsed.hostname}:{port}/{topic}"
    tls = None if given.plain else _tls(shown, given)
    return Broker(key, parsed.hostname, port, topic, user, lambda: hidden, tls, given.timeout_s), given


def _password(url: str, given: Options, user: str | None, environment: Mapping[str, str]) -> str | None:
    found = secret(given.password_file, given.password_env or PASSWORD, environment, "a password")
    if user is None:
        return None
    if found is None and given.cert is None:
        raise SettingsError(
            f"{url}: no password for {user}; name a file with password_file=PATH, or set "
            f"{given.password_env or PASSWORD}"
        )
    try:
        return None if found is None else found.decode()
    except UnicodeDecodeError:
        raise SettingsError(f"{url}: the password is not UTF-8") from None


def _tls(url: str, given: Options) -> ssl.SSLContext:
    """Certificates and host name are checked, always; TLS 1.2 or newer."""
    try:
        context = ssl.create_default_context(cafile=given.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslsocket_class = _Closing
        if given.cert:
            key = given.key or given.cert
            private_file(key, "a key")
            context.load_cert_chain(given.cert, given.key, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError; a name with a zero byte a ValueError
        raise SettingsError(
            f"{url}: the certificates can not be used ({getattr(error, 'strerror', None) or error}); look at ca, cert "
            "and key"
        ) from None
    return context


def _no_password() -> str:
    raise ssl.SSLError("the key is encrypted; Lineside takes keys without a pass phrase, in a file of mode 600")


class _Closing(ssl.SSLSocket):
    """A socket that does not stay open when its handshake fails (paho-mqtt 2.2 forgets it)."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _no_delay(client: Any, userdata: Any, opened: Any) -> None:
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Connection:
    """One connection to the broker at a time, made anew when it fails. Final."""

    def __init__(
        self,
        broker: Broker,
        who: str,
        halt: threading.Event,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self._broker, self._halt, self._monotonic, self._now = broker, halt, monotonic, now
        name = hashlib.sha256(f"{broker.topic}\n{who}".encode()).hexdigest()[:14]
        self._id = f"lineside-{name}"  # 23 characters: what every broker must take
        self._client: Any = None
        self._answers: dict[str, Any] = {}  # "connect", "subscribe" → reason code
        self._refused = ""  # why the broker did not take a result
        self._topics: dict[int, str] = {}  # by message id of what is under way
        self._open: set[str] = set()  # ids under way
        self._acknowledged: set[str] = set()
        self.strange = 0

    def ready(self) -> None:
        if self._client is None:
            client = self._new()
            client.will_set(f"{self._broker.topic}/status", self._status("lost"), qos=1, retain=True)
            self._connect(client)
            client.publish(f"{self._broker.topic}/status", self._status("online"), qos=1, retain=True)
        self._loop(0)

    def look(self) -> None:
        """Connect and leave, without a last will or a word on any topic. LineError where that is refused."""
        self._connect(self._new())
        self._drop()

    def idle(self) -> None:
        if self._client is not None:
            with contextlib.suppress(LineError):  # the next try will say it
                self._loop(0)

    def deliver(self, letters: Sequence[Letter]) -> Collection[str]:
        ids = [letter.record.id for letter in letters]
        self._acknowledged &= set(ids)  # an answer that came late counts: the consumer has it
        self._open = set(ids)
        self.ready()
        self._refused = ""
        self._topics.clear()
        for letter in letters:
            if letter.record.id not in self._acknowledged:
                topic = "event" if isinstance(letter.record, Event) else "result"
                sent = self._client.publish(f"{self._broker.topic}/{topic}", payload(letter), qos=1)
                self._topics[sent.mid] = topic
        until = self._monotonic() + self._broker.timeout_s
        while not self._acknowledged >= self._open and not self._halt.is_set() and self._monotonic() < until:
            self._loop(LOOP_S)
        if self._refused and not self._acknowledged:
            raise LineError(f"{self._broker.url}: {self._refused}")
        return set(self._acknowledged)

    def close(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        try:
            info = client.publish(f"{self._broker.topic}/status", self._status("offline"), qos=1, retain=True)
            until = self._monotonic() + 2
            while not info.is_published() and self._monotonic() < until and client.loop(LOOP_S) == 0:
                pass
            client.disconnect()
            client.loop(LOOP_S)
        except (OSError, ValueError, RuntimeError):
            pass  # it was a courtesy: the last will says the same

    def _new(self) -> Any:
        import paho.mqtt.client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion

        broker = self._broker
        client = mqtt.Client(CallbackAPIVersion.VERSION2, self._id, protocol=mqtt.MQTTv5, reconnect_on_failure=False)
        client.connect_timeout = CONNECT_S
        if broker.user is not None:
            client.username_pw_set(broker.user, broker.password())
        if broker.tls:
            client.tls_set_context(broker.tls)
        client.on_socket_open = _no_delay
        client.on_connect = lambda c, u, flags, reason, properties: self._answers.update(connect=reason)
        client.on_subscribe = lambda c, u, mid, reasons, properties: self._answers.update(subscribe=reasons[0])
        client.on_publish = self._published
        client.on_message = self._heard
        return client

    def _connect(self, client: Any) -> None:
        """To the broker, and to the answers of the consumer. LineError where the broker does not take us."""
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        broker = self._broker
        properties = Properties(PacketTypes.CONNECT)
        properties.MaximumPacketSize = MAX_PACKET
        self._answers.clear()
        try:
            client.connect(broker.host, broker.port, KEEPALIVE_S, clean_start=True, properties=properties)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise LineError(
                f"{broker.url}: the broker can not be reached ({reason}); results wait in the outbox; look at the "
                "broker, the network and the certificates"
            ) from None
        self._client = client
        self._await("connect", "takes no connection")
        client.subscribe(f"{broker.topic}/ack", qos=1)
        self._await("subscribe", f"does not let us read {broker.topic}/ack")

    def _await(self, name: str, refusal: str) -> None:
        until = self._monotonic() + CONNECT_S
        while name not in self._answers and self._monotonic() < until and not self._halt.is_set():
            self._loop(LOOP_S)
        reason = self._answers.get(name)
        if reason is None or reason.is_failure:
            self._drop()
            why = f"does not answer within {CONNECT_S:g} s" if reason is None else f"{refusal} ({reason})"
            raise LineError(f"{self._broker.url}: the broker {why}; results wait in the outbox")

    def _loop(self, timeout_s: float) -> None:
        """Let the network work for at most so long. LineError where the connection is gone."""
        try:
            failed = self._client.loop(timeout_s)
        except (OSError, ValueError) as error:
            failed = error
        if failed:
            answer = self._answers.get("connect")
            refused = answer is not None and answer.is_failure
            said = f"the broker takes no connection ({answer})" if refused else "the connection to the broker is lost"
            self._drop()
            raise LineError(f"{self._broker.url}: {said}; results wait in the outbox")

    def _drop(self) -> None:
        """End the connection without a word, so that the broker says our last will."""
        client, self._client = self._client, None
        if client.socket():
            client.socket().close()

    def _published(self, client: Any, userdata: Any, mid: int, reason: Any, properties: Any) -> None:
        topic = self._topics.get(mid, "result")
        if reason.is_failure:
            self._refused = f"the broker does not take {topic}s on {self._broker.topic}/{topic} ({reason})"
        elif reason.value == 16:
            self._refused = f"nobody has subscribed to {self._broker.topic}/{topic}"

    def _heard(self, client: Any, userdata: Any, message: Any) -> None:
        found = None if message.retain else acknowledged_id(message.payload)
        if found in self._open:
            self._acknowledged.add(found)
        else:
            self.strange += 1

    def _status(self, state: str) -> bytes:
        at = self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return json.dumps({"state": state, "since": at, "lineside": __version__}).encode()
