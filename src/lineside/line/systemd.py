"""What a service manager is told of a line: its state, ready, alive, stopping. sd_notify(3), without a library.

A unit of Type=notify with WatchdogSec= (packaging/lineside@.service) ends and restarts a line that has stopped saying
that it is alive. That is said by the main thread between two messages, so it means: verdicts are still given, deadlines
still kept. It says nothing of the engine (a part without an answer is rejected) nor of the network.

Outside of systemd nothing is said, and nothing waits.
"""

import socket
import time
from collections.abc import Callable, Mapping

STOP_S = 180  # parts on the belt, the last results to the disk and the consumers; TimeoutStopSec of the unit
OFTEN = 0.4  # of WatchdogSec: one that is lost, or a busy machine, is no reason to end the line


class Service:
    """The service manager's ear, or nobody's. From the environment that it gave us; see service(). Final."""

    def __init__(self, address: str, every_s: float | None, monotonic: Callable[[], float] = time.monotonic):
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.every_s = every_s  # at least so often must alive() be called; None: nobody listens
        self._monotonic = monotonic
        self._next_s = 0.0

    def ready(self) -> None:
        """The line takes parts from now on."""
        self._say("READY=1")

    def state(self, sentence: str) -> None:
        """What `systemctl status` shows, until the next; of the sentence one line, for it may hold a person's words."""
        self._say(f"STATUS={' '.join(sentence.split())}")

    def alive(self) -> None:
        """Call it as often as you like, and every_s at least."""
        if self.every_s is not None and (now := self._monotonic()) >= self._next_s:
            self._next_s = now + self.every_s / 2
            self._say("WATCHDOG=1")

    def stopping(self) -> None:
        """What follows may take STOP_S, without a sign of life."""
        self._say(f"STOPPING=1\nWATCHDOG_USEC={STOP_S * 1_000_000}")

    def patience_s(self, wanted: float | None) -> float | None:
        """How long the line may wait for its next message: as long as it wants, but not until it looks dead."""
        waits = [one for one in (wanted, self.every_s) if one is not None]
        return min(waits) if waits else None

    def _say(self, state: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as one:
                one.setblocking(False)  # the line never waits for who watches it
                one.sendto(state.encode(), self._address)
        except OSError:
            return  # unheard is as good as unsaid: the manager acts by itself


def service(environment: Mapping[str, str], pid: int) -> Service:
    """The manager that started this process, if one did and wants to hear from it."""
    usec, meant = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    watched = usec.isdecimal() and int(usec) > 0 and meant in ("", str(pid))
    return Service(environment.get("NOTIFY_SOCKET", ""), int(usec) / 1e6 * OFTEN if watched else None)


NOBODY = Service("", None)
