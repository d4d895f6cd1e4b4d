"""s7://HOST?db=100, a Siemens S7 PLC: one data block, by the classic S7 protocol (python-snap7).

Big-endian, absolute addresses from `offset`: the block must be "non-optimized", PUT/GET access allowed (docs/plc.md).
     0.0 REJECT  BOOL   rests at 1; 0 only for an accepted part
     0.1 PASS    BOOL   its opposite: rests at 0. Equal bits are a defect, or memory that nobody wrote: reject.
     1   VERDICT BYTE      2  REASON BYTE      3  reserved
     4   SEQUENCE UDINT    8  ACCEPTED UDINT   12  HELD UDINT   16  REJECTED UDINT
    20   COUNT UINT
    22   HEARTBEAT UINT   24  STATE BYTE       25  reserved
A verdict is one write of bytes 0 to 21, COUNT in its last; the heartbeat is one of 22 to 25. The counter of the belt's
encoder is a DINT or UDINT at byte `encoder` of the block `encoder_db`, and is only read.
"""

import logging
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lineside.errors import LineError, MissingExtra
from lineside.line.gate.address import address
from lineside.line.gate.wire import OTHER_REASON, REASONS, VERDICTS, Telegram, Timing, Wire

PORT = 102
CONNECT_S = 5.0  # at the start only; a call has the deadline
COUNT, HEARTBEAT, SIZE = 20, 22, 26
REJECT_BITS, PASS_BITS = 0b01, 0b10


@dataclass(frozen=True, slots=True)
class Settings(Timing):
    rack: int = 0
    slot: int = 1  # 1: S7-1200 and S7-1500; 2: S7-300
    db: int = 100  # number of the data block
    offset: int = 0  # of its first byte
    encoder_db: int = 0  # the block of the encoder's counter; 0: the same

    def __post_init__(self):
        Timing.__post_init__(self)
        limits = {"rack": (0, 7), "slot": (0, 31), "db": (1, 65535), "offset": (0, 65536 - SIZE)}
        limits |= {"encoder_db": (0, 65535), "encoder": (-1, 65532)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name}: expected {low} to {high}, got {getattr(self, name)}")
        shared = self.encoder >= 0 and self.encoder_db in (0, self.db)
        if shared and self.offset - 4 < self.encoder < self.offset + SIZE:
            raise ValueError(f"encoder: byte {self.encoder} is among those that are written, from {self.offset}")


class _InTime(socket.socket):
    """A socket that stops receiving at `until`; a plain timeout would begin anew with each byte that trickles in."""

    until = 0.0

    def recv(self, size: int, flags: int = 0) -> bytes:
        left_s = self.until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self.settimeout(left_s)
        return super().recv(size, flags)


def block(telegram: Telegram) -> bytes:
    """Bytes 0 to 21."""
    bits = PASS_BITS if telegram.verdict == "accept" else REJECT_BITS
    reason = REASONS.get(telegram.reason, OTHER_REASON)
    counts = (n % 2**32 for n in (telegram.sequence, telegram.accepted, telegram.held, telegram.rejected))
    return struct.pack(">BBBxIIIIH", bits, VERDICTS[telegram.verdict], reason, *counts, telegram.count)


def connect(url: str, where: str) -> tuple[Wire, Timing]:
    host, port, given = address(url, where, Settings, PORT)
    try:
        from snap7.client import Client
    except ImportError:
        raise MissingExtra("a gate by S7", "python-snap7", "s7") from None
    logging.getLogger("snap7").addHandler(logging.NullHandler())  # what it has to say comes as an error
    client = Client()  # auto_reconnect is off

    def give_up() -> None:
        with suppress(AttributeError, OSError):  # there is none, or none any more
            client.connection.socket.shutdown(socket.SHUT_RDWR)  # pyright: ignore[reportOptionalMemberAccess]

    patience = threading.Timer(CONNECT_S, give_up)  # the library bounds each receive, and not their number
    patience.daemon = True
    patience.start()
    try:
        client.connect(host, given.rack, given.slot, port)
        connection = client.connection
        assert connection is not None  # connect() raises otherwise
        assert connection.socket is not None
        connection.socket = wire = _InTime(fileno=connection.socket.detach())
    except Exception as error:
        raise LineError(
            f"{url}: no connection ({error}); is the PLC on, are rack= and slot= right, is PUT/GET access allowed, and "
            "does no firewall stand between?"
        ) from None
    finally:
        patience.cancel()

    def ask(what: str, send: Callable[[], Any]) -> Any:
        if not connection.connected:
            raise LineError(f"{url}: {what}: the connection is lost; start the line again when the PLC is there")
        wire.until = time.monotonic() + given.deadline_ms / 1e3
        try:
            return send()
        except Exception as error:  # snap7's own, and what a garbled answer raises inside it
            raise LineError(
                f"{url}: {what}: not confirmed ({str(error) or type(error).__name__}); if it was refused, look at db= "
                "and at the block's size and access"
            ) from None

    def write(what: str, at: int, data: bytes) -> None:
        ask(what, lambda: client.db_write(given.db, given.offset + at, bytearray(data)))

    def beat(beats: int, state: int) -> None:
        write("heartbeat", HEARTBEAT, struct.pack(">HBx", beats, state))

    def close() -> None:
        client.disconnect()

    def read(what: str, db: int, at: int, n: int) -> int:
        found = ask(what, lambda: client.db_read(db, at, n))
        if len(found) != n:
            raise LineError(f"{url}: {what}: the PLC sent {len(found)} bytes, not {n}")
        return int.from_bytes(found, "big")

    try:
        count = read("count", given.db, given.offset + COUNT, 2)
    except LineError:
        close()
        raise
    return Wire(
        url,
        count,
        lambda: divmod(read("heartbeat", given.db, given.offset + HEARTBEAT, 3), 2**8),
        lambda telegram: write("verdict", 0, block(telegram)),
        lambda: write("rest", 0, bytes([REJECT_BITS])),
        beat,
        close,
        lambda: read("encoder", given.encoder_db or given.db, given.encoder, 4),
    ), given
