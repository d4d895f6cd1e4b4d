"""Gates by URL scheme. A gate's module is imported when its scheme is asked for.

To add one: a module with `connect(url, where) -> (Wire, Timing)` and its row here. where is the URL after the scheme;
url is for messages, without what may be a secret.
LineError says what does not answer, or who else tells that PLC; SettingsError what is wrong in the URL.
"""

import importlib
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import parse_qsl

from lineside.errors import LineError
from lineside.line.gate.gate import Gate
from lineside.line.gate.wire import ENDED, Timing, Wire
from lineside.line.url import split
from lineside.redact import redact

GATES = {  # scheme: module
    "modbus": "lineside.line.gate.modbus",
    "s7": "lineside.line.gate.s7",
}
BEATS = 2  # heartbeats of ours: so long is listened for another line's
LOOK_S = 0.02


def delay_ms(url: str) -> float:
    """From trigger to gate, as the URL says it; 0: it does not, or in a way that only opening the gate can refuse."""
    with suppress(ValueError):
        return float(dict(parse_qsl(url.partition("?")[2])).get("delay_ms", 0))
    return 0.0


def open_gate(url: str, now_ns: Callable[[], int] = time.monotonic_ns) -> Gate:
    """The gate of a URL such as modbus://10.0.0.5?unit=1: connected, and not yet told anything."""
    scheme, where = split(url, GATES, "gate", "modbus://HOST:PORT")
    wire, timing = importlib.import_module(GATES[scheme]).connect(redact(url), where)
    try:
        _alone(wire, timing)
    except LineError:
        wire.close()
        raise
    return Gate(wire, timing, now_ns)


def _alone(wire: Wire, timing: Timing) -> None:
    """LineError where another line, of this machine or any, tells the PLC at this place: a heartbeat goes on there.

    Listens only where the PLC was not told that the last line has ended: after a kill, or beside a living line. Two
    lines that start in the same moment are not seen.
    """
    before, state = wire.heard()
    if state in ENDED:
        return
    until = time.monotonic() + BEATS * timing.heartbeat_ms / 1e3
    while time.monotonic() < until:
        time.sleep(LOOK_S)
        if wire.heard()[0] != before:
            raise LineError(
                f"{wire.url}: another line tells this PLC its verdicts, at the same place: HEARTBEAT goes on there; "
                "end that line, or give each coils and registers, or a block, of its own"
            )
