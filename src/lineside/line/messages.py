"""What comes into a line's inbox, and what is answered: control.py says what each message does."""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from lineside.evidence.drift import Alarm
from lineside.line.camera import SourceEnd, Taken
from lineside.line.decide import Answer
from lineside.line.events import Verdict


@dataclass(frozen=True, slots=True)
class Lost:
    """From the recorder or the gate: the store, a sink or the PLC has failed."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Finish:
    """From outside: stop after the part in flight."""


@dataclass(frozen=True, slots=True)
class Drifted:
    """From the engine's thread: parts, or pictures of this camera, are no longer calibrate's."""

    alarm: Alarm
    camera: str


@dataclass(frozen=True, slots=True)
class Reply:
    """How the station stands after an order."""

    refused: str  # why the order could not be followed; "" where it was
    state: str
    product: str
    detail: str  # why it halted, or is in error


def unasked(reply: Reply) -> None:
    """Nobody waits for an answer."""


def wanted() -> bool:
    """The order stands until it is followed."""
    return True


def claim_once() -> Callable[[], bool]:
    """True to whoever calls it first: to the line, which then obeys, or to who gave up waiting and takes it back."""
    return partial(threading.Lock().acquire, blocking=False)


@dataclass(frozen=True, slots=True)
class Asked:
    """From a person or a PLC: an order of states.py; "status" only asks how things stand.

    reply and claim are called in the main thread, and must return at once and raise nothing.
    """

    order: str
    who: str
    product: str = ""
    expect: tuple[Verdict, ...] = ()
    why: str = ""
    reply: Callable[[Reply], None] = unasked
    claim: Callable[[], bool] = wanted  # asked once, before it is obeyed; False: who ordered it has taken it back


Ask = Callable[[Asked], None]  # passes an order to the line; may be called in any thread
STATUS = "status"


Message = Taken | Answer | SourceEnd | Lost | Drifted | Asked | Finish
Inbox = queue.SimpleQueue[Message]  # its put may be called in a signal handler
