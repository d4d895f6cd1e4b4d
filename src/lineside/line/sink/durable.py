"""A sink that is told through the outbox: done with a result only when the consumer has acknowledged it.

The sink itself is thin: it can get ready, deliver a few results and say which of them were acknowledged. Order,
resending and back-off are the courier's (line/courier.py), which calls it from one thread only.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from lineside.errors import SettingsError
from lineside.store.outbox import Letter

LIMIT = 100_000  # results that may wait for one consumer, unless the URL says otherwise


class Wire(Protocol):
    """The connection to one consumer. LineError from any of them: not now; the courier tries again, later and later."""

    def ready(self) -> None:
        """Be connected, and take care of the connection; called about twice a second and before every delivery."""
        ...

    def idle(self) -> None:
        """Between two tries: take care of the connection if there is one, make none; raises nothing."""
        ...

    def deliver(self, letters: Sequence[Letter]) -> Collection[str]:
        """Send these in order and wait for the consumer; the ids that he has acknowledged by now."""
        ...

    def close(self) -> None:
        """Say good-bye, if anybody listens; raises nothing."""
        ...

    @property
    def strange(self) -> int:
        """Acknowledgements that were none: of results not under way, not readable, retained."""
        ...


@dataclass(frozen=True, slots=True)
class Durable:
    url: str  # for people, the store and messages: holds no secret
    key: str  # whose outbox: the URL without options, so that another time-out does not orphan what waits
    start: Callable[[str, threading.Event], Wire]  # (who sends: the same after a restart, halt) -> not yet connected
    window: int = 1  # results under way at once
    limit: int = LIMIT
    events: bool = False  # whether the consumer wants events too, and acknowledges them


def apart(keys: Sequence[str]) -> None:
    """SettingsError where two sinks would have one outbox."""
    if twice := next((key for key in keys if keys.count(key) > 1), ""):
        raise SettingsError(
            f"two sinks have the same host and topic or path, and so the same outbox ({twice}); leave one out"
        )
