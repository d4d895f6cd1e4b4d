"""A real mosquitto on loopback, and a consumer as a plant would write it: he keeps a result, then acknowledges it."""

import contextlib
import json
import queue
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed: apt-get install mosquitto")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def until(true: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for a fact; the bound only ends a test that would hang."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "did not become true"
        time.sleep(0.01)


class Mosquitto:
    """A broker with its own folder; kill is kill -9, start again keeps port and folder."""

    def __init__(self, folder: Path, settings: str = "allow_anonymous true\n", port: int | None = None):
        self.folder, self.port = folder, port or free_port()
        self.config = folder / "mosquitto.conf"
        # the package's own defaults for persistence: written every 30 minutes, and at a clean end
        self.config.write_text(
            f"listener {self.port} 127.0.0.1\npersistence true\npersistence_location {folder}/\nuser root\n{settings}"
        )
        self.process: subprocess.Popen | None = None

    def start(self) -> "Mosquitto":
        assert MOSQUITTO
        with (self.folder / "mosquitto.log").open("ab") as log:
            self.process = subprocess.Popen([MOSQUITTO, "-c", str(self.config)], stdout=log, stderr=log)
        until(self._listens)
        return self

    def _listens(self) -> bool:
        assert self.process
        assert self.process.poll() is None, (self.folder / "mosquitto.log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def kill(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def pause(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.go_on()
            self.process.terminate()
            self.process.wait(10)


def id_of(message: dict) -> str:
    return message["EventId"] if message.get("kind") == "event" else message["ResultMetaData"]["ResultId"]


class Consumer:
    """Keeps every result, then acknowledges its id; reconnects by itself. `seen` is every arrival, in order."""

    def __init__(self, port: int, topic: str, *, answer: bool = True, slow_s: float = 0.0, **given):
        import paho.mqtt.client as mqtt

        self.topic, self.answer, self.slow_s = topic, answer, slow_s
        self.topics = ("result", "status", *(["event"] if given.get("events") else []))
        self.seen: list[dict] = []
        self.status: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.there = threading.Event()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, f"consumer-{port}", clean_session=False)
        self.client.reconnect_delay_set(1, 1)
        if "user" in given:
            self.client.username_pw_set(given["user"], given["password"])
        if "tls" in given:
            self.client.tls_set_context(given["tls"])
        self.client.on_connect = self._connected
        self.client.on_subscribe = lambda *_: self.there.set()
        self.client.on_message = self._heard
        self.client.connect_async(given.get("host", "127.0.0.1"), port)
        self.client.loop_start()
        assert self.there.wait(20)

    def _connected(self, client, userdata, flags, reason, properties):
        client.subscribe([(f"{self.topic}/{name}", 1) for name in self.topics])

    def _heard(self, client, userdata, message):
        if message.topic.endswith("/status"):
            self.status.put(json.loads(message.payload)["state"])
            return
        found = json.loads(message.payload)
        time.sleep(self.slow_s)
        self.seen.append(found)
        if self.answer:
            client.publish(f"{self.topic}/ack", id_of(found), qos=1)

    @property
    def once(self) -> list[str]:
        """Ids in the order of their first arrival: what an idempotent consumer has."""
        return list(dict.fromkeys(map(id_of, self.seen)))

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
