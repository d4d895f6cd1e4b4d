"""mqtt://HOST[:PORT]/TOPIC[?OPTIONS], results as JSON on TOPIC/result; the consumer answers on TOPIC/ack.

The broker's own acknowledgement (QoS 1) says only that the broker has the message: after `kill -9` of mosquitto 2.0
with its default settings 300 of 300 such messages were gone. So a result is done when its *consumer* has published its
id on TOPIC/ack; until then it stays in the outbox and is sent again.

    TOPIC/result   QoS 1, not retained   message.py
    TOPIC/event    QoS 1, not retained   message.py, with events=yes only
    TOPIC/ack      QoS 1, to us          acknowledgement.py
    TOPIC/status   QoS 1, retained       {"state": "online" | "offline" | "lost", …}; "lost" is the last will

MQTT 5 (paho-mqtt 2), clean start: nothing is left to the broker's session. One thread, the courier's, runs the network
too; a connection that fails is thrown away. TLS and a user are the rule; `plain=yes` and `anonymous=yes` ask for less.
The client id is the same after a restart, so that the broker ends a dead connection, and its last will, first.
"""

import contextlib
import hashlib
import json
import os
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
from lineside.line.secret import private, secret
from lineside.line.sink.acknowledgement import acknowledged_id
from lineside.line.sink.durable import LIMIT, Durable, Wire
from lineside.line.sink.message import payload
from lineside.line.sink.options import number, options, whole, yes
from lineside.store.outbox import Letter
from lineside.store.records import Event

OPTIONS = {  # name: what it expects
    "user": "a user name",
    "password-file": "a file (mode 600) with the password",
    "password-env": "the name of the environment variable with the password",
    "ca": "a PEM file with the certificates of who may sign the broker's",
    "cert": "a PEM file with our certificate",
    "key": "a PEM file (mode 600) with its key",
    "plain": "yes: not encrypted",
    "anonymous": "yes: no user",
    "window": "how many results may be under way at once",
    "limit": "how many results may wait in the outbox",
    "events": "yes: events too, on TOPIC/event; the consumer must acknowledge them",
    "timeout-s": "how long to wait for an acknowledgement before the result is sent again",
}
PASSWORD = "LINESIDE_MQTT_PASSWORD"
CONNECT_S = 5.0
KEEPALIVE_S = 15
LOOP_S = 0.05  # how soon a halt is noticed
WINDOW = 20  # a round trip through a broker that gathers small packets (Nagle) takes 90 ms: 11 results a second
MAX_PACKET = 65_536  # the broker must not send us more: an acknowledgement is 32 bytes


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


def connect(url: str, where: str, bundle: Path | None, environment: Mapping[str, str] = os.environ) -> Durable:
    try:
        import paho.mqtt.client  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtra("mqtt:", "paho-mqtt", "mqtt") from None
    parsed = urlsplit(f"mqtt:{where}")
    if parsed.password is not None:
        raise SettingsError(
            "mqtt:: the URL holds a password, which others can read in the list of processes; name a file with "
            f"password-file=PATH, or set {PASSWORD}"
        )
    try:
        port = parsed.port
    except ValueError:
        raise SettingsError(f"{url}: the port is no number from 1 to 65535") from None
    topic = parsed.path.strip("/")
    if not where.startswith("//") or not parsed.hostname or not topic or parsed.fragment:
        raise SettingsError(f"{url!r}: expected mqtt://HOST/TOPIC, such as mqtt://broker.plant/hall1/station3")
    if any(c in topic for c in "+#\0"):
        raise SettingsError(f"{url}: the topic {topic!r} holds a wildcard; a result needs one place to go to")
    given = options(url, parsed.query, OPTIONS)
    plain, user = yes(url, given, "plain"), given.get("user", parsed.username)
    if user is None and not yes(url, given, "anonymous"):
        raise SettingsError(f"{url}: who are we for the broker? Add user=NAME, or ask for no user with anonymous=yes")
    if user is not None and yes(url, given, "anonymous"):
        raise SettingsError(f"{url}: has a user and anonymous=yes; choose one")
    if plain and {"ca", "cert", "key"} & set(given):
        raise SettingsError(f"{url}: plain=yes does not encrypt, so ca, cert and key have no use; leave one out")
    hidden = _password(url, given, user, environment)
    port = port or (1883 if plain else 8883)
    key = f"mqtt://{parsed.hostname}:{port}/{topic}"
    timeout_s = number(url, given, "timeout-s", 5.0, 0.1, 3600)
    broker = Broker(
        key, parsed.hostname, port, topic, user, lambda: hidden, None if plain else _tls(url, given), timeout_s
    )

    def start(who: str, halt: threading.Event) -> Wire:
        return Connection(broker, who, halt)

    window, limit = whole(url, given, "window", WINDOW, 500), whole(url, given, "limit", LIMIT, 100_000_000)
    return Durable(url, key, start, window, limit, yes(url, given, "events"))


def _password(url: str, given: Mapping[str, str], user: str | None, environment: Mapping[str, str]) -> str | None:
    if "password-file" in given and "password-env" in given:
        raise SettingsError(f"{url}: has password-file and password-env; choose one")
    variable = given.get("password-env", PASSWORD)
    found = secret(given.get("password-file"), variable, environment, "a password")
    if user is None:
        return None
    if found is None and "cert" not in given:
        raise SettingsError(f"{url}: no password for {user}; name a file with password-file=PATH, or set {variable}")
    try:
        return None if found is None else found.decode()
    except UnicodeDecodeError:
        raise SettingsError(f"{url}: the password is not UTF-8") from None


def _tls(url: str, given: Mapping[str, str]) -> ssl.SSLContext:
    """Certificates and host name are checked, always; TLS 1.2 or newer."""
    if "key" in given and "cert" not in given:
        raise SettingsError(f"{url}: has a key and no certificate; add cert=PATH")
    try:
        context = ssl.create_default_context(cafile=given.get("ca"))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslsocket_class = _Closing
        if "cert" in given:
            key = given.get("key", given["cert"])
            private(os.stat(key), key, "a key")
            context.load_cert_chain(given["cert"], given.get("key"), password=_no_password)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"{url}: the certificates can not be used ({error.strerror or error}); look at ca, cert and key"
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
            self._connect()
        self._loop(0)

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

    def _connect(self) -> None:
        import paho.mqtt.client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        broker = self._broker
        client = mqtt.Client(CallbackAPIVersion.VERSION2, self._id, protocol=mqtt.MQTTv5, reconnect_on_failure=False)
        client.connect_timeout = CONNECT_S
        client.will_set(f"{broker.topic}/status", self._status("lost"), qos=1, retain=True)
        if broker.user is not None:
            client.username_pw_set(broker.user, broker.password())
        if broker.tls:
            client.tls_set_context(broker.tls)
        client.on_socket_open = _no_delay
        client.on_connect = lambda c, u, flags, reason, properties: self._answers.update(connect=reason)
        client.on_subscribe = lambda c, u, mid, reasons, properties: self._answers.update(subscribe=reasons[0])
        client.on_publish = self._published
        client.on_message = self._heard
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
        client.publish(f"{broker.topic}/status", self._status("online"), qos=1, retain=True)

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
