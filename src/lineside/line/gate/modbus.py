"""modbus://HOST:PORT?unit=1, a PLC or I/O coupler by Modbus TCP (Modbus Application Protocol V1.1b3; pymodbus).

Coils from `coil`, both in one request (function 15), before the registers of the same part:
    +0 REJECT   rests at 1; 0 only for an accepted part
    +1 PASS     its opposite: rests at 0. Equal coils are a defect, or memory that nobody wrote: reject.
Holding registers from `register` (function 16; 32 bits as high word, low word), COUNT last:
    +0 HEARTBEAT  +1 STATE    written together, by the heartbeat
    +2 VERDICT  +3 REASON  +4 SEQUENCE  +6 ACCEPTED  +8 HELD  +10 REJECTED  +12 COUNT    written together, per part
and from `encoder`, only read (function 3): two for the counter of the belt's encoder.
Addresses count from 0, as on the wire; PLC manuals often count from 1 (coil 0 is 00001, register 0 is 40001).
What each means, and what a PLC must do with it: docs/plc.md.
"""

import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lineside.errors import LineError, MissingExtra
from lineside.line.gate.address import address
from lineside.line.gate.wire import OTHER_REASON, REASONS, VERDICTS, Telegram, Timing, Wire, high_low

PORT = 502
CONNECT_S = 3.0  # at the start only; a write has the deadline
READ_REGISTERS, WRITE_COILS, WRITE_REGISTERS = 3, 15, 16  # functions, section 6
REJECT, PASS = 0, 1  # coils, from `coil`
HEARTBEAT, STATE, VERDICT, REASON, SEQUENCE, ACCEPTED, HELD, REJECTED, COUNT = 0, 1, 2, 3, 4, 6, 8, 10, 12
REFUSALS = {  # exception codes, section 7
    1: "illegal function",
    2: "illegal data address: nothing is there; look at coil=, register= and encoder=",
    3: "illegal data value",
    4: "server device failure",
    6: "server device busy",
    10: "gateway path unavailable",
    11: "gateway target does not respond; look at unit=",
}


@dataclass(frozen=True, slots=True)
class Settings(Timing):
    unit: int = 1
    coil: int = 0  # address of REJECT
    register: int = 0  # address of HEARTBEAT

    def __post_init__(self):
        Timing.__post_init__(self)
        for name, high in (("unit", 255), ("coil", 65535 - PASS), ("register", 65535 - COUNT)):
            if not 0 <= getattr(self, name) <= high:
                raise ValueError(f"{name}: expected 0 to {high}, got {getattr(self, name)}")
        if not -1 <= self.encoder <= 65534:
            raise ValueError(f"encoder: expected a register from 0 to 65534, got {self.encoder}")
        if self.encoder >= 0 and self.register - 1 <= self.encoder <= self.register + COUNT:
            raise ValueError(f"encoder: register {self.encoder} is among those that are written, from {self.register}")


def registers(telegram: Telegram) -> list[int]:
    """VERDICT … COUNT."""
    return [
        VERDICTS[telegram.verdict],
        REASONS.get(telegram.reason, OTHER_REASON),
        *high_low(telegram.sequence),
        *high_low(telegram.accepted),
        *high_low(telegram.held),
        *high_low(telegram.rejected),
        telegram.count,
    ]


def connect(url: str, where: str) -> tuple[Wire, Timing]:
    host, port, given = address(url, where, Settings, PORT)
    try:
        from pymodbus.client import ModbusTcpClient
    except ImportError:
        raise MissingExtra("a gate by Modbus", "pymodbus", "modbus") from None
    logging.getLogger("pymodbus").addHandler(logging.NullHandler())  # what it has to say comes as an error
    client = ModbusTcpClient(host, port=port, timeout=given.deadline_ms / 1e3, retries=0)
    try:
        client.socket = socket.create_connection((host, port), CONNECT_S)
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise LineError(
            f"{url}: no connection ({error.strerror or error}); is the PLC on, its Modbus server enabled, the port "
            "right, and does no firewall stand between?"
        ) from None

    def ask(what: str, function: int, send: Callable[[], Any]) -> Any:
        if not client.connected:  # or the library would connect again by itself
            raise LineError(f"{url}: {what}: the connection is lost; start the line again when the PLC is there")
        try:
            reply = send()
        except Exception as error:  # pymodbus's own, and what a garbled answer raises inside it
            found = str(error) or type(error).__name__
            if "No response" in found:
                found = f"no answer within {given.deadline_ms:g} ms"
            raise LineError(f"{url}: {what}: not confirmed ({found})") from None
        if reply is None or reply.isError():
            code = reply.exception_code if reply else 0
            raise LineError(f"{url}: {what}: refused by the PLC (exception {code}: {REFUSALS.get(code, 'unknown')})")
        if reply.function_code != function:  # pymodbus takes any answer with the right numbers in its head
            raise LineError(f"{url}: {what}: the PLC answered function {reply.function_code}, not {function}")
        return reply

    def write(what: str, function: int, method: Callable[..., Any], at: int, values: list[Any]) -> None:
        reply = ask(what, function, lambda: method(at, values, device_id=given.unit))
        if (reply.address, reply.count) != (at, len(values)):
            raise LineError(
                f"{url}: {what}: the PLC confirmed {reply.count} at {reply.address}, not {len(values)} at {at}; it "
                "does not speak Modbus as it should"
            )

    def coils(passes: bool) -> None:
        write("coils", WRITE_COILS, client.write_coils, given.coil, [not passes, passes])

    def tell(telegram: Telegram) -> None:
        coils(telegram.verdict == "accept")
        write("verdict", WRITE_REGISTERS, client.write_registers, given.register + VERDICT, registers(telegram))

    def beat(beats: int, state: int) -> None:
        write("heartbeat", WRITE_REGISTERS, client.write_registers, given.register + HEARTBEAT, [beats, state])

    def read(what: str, at: int, n: int) -> list[int]:
        found = ask(what, READ_REGISTERS, lambda: client.read_holding_registers(at, count=n, device_id=given.unit))
        if len(found.registers) != n:
            raise LineError(f"{url}: {what}: the PLC sent {len(found.registers)} registers, not {n}")
        return found.registers

    def heard() -> tuple[int, int]:
        beats, state = read("heartbeat", given.register + HEARTBEAT, 2)
        return beats, state

    def encoder() -> int:
        high, low = read("encoder", given.encoder, 2)
        return high << 16 | low

    try:
        (count,) = read("count", given.register + COUNT, 1)
    except LineError:
        client.close()
        raise
    return Wire(url, count, heard, tell, lambda: coils(False), beat, client.close, encoder), given
