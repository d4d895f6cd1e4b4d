"""A PLC double in a process of its own: a Modbus TCP server (pymodbus), and what it makes of each verdict by itself.

Which part a verdict is entered for is not its business: docs/plc.md's program does that, over its memory (belt.py).

    python -m tests.line.gate.plc [first count [first reading of the encoder [belt]]]

belt: [[seconds, counts per second], …] as JSON; the last one lasts for ever. Its counter is in registers 20 and 21.

Prints its port, then one JSON line per write, and per new COUNT whether that verdict says pass:
    {"function": 15, "at": 0, "values": [true, false]}
    {"sequence": 3, "verdict": 1, "reason": 1, "passes": true}
and with a belt, when: the monotonic clock, and its counter, without wraps
    {"sequence": 3, "verdict": 1, "reason": 1, "passes": true, "ns": 123, "encoder": 456}
    {"read": 456, "ns": 123}
"""

import asyncio
import json
import sys
import time

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

COILS, REGISTERS = [False] * 16, [0] * 32
COUNT, ENCODER = 12, 20
BELT: list[list[float]] = []
STARTED_NS = time.monotonic_ns()


def encoder(first: int, ns: int) -> int:
    """The belt's counter, without wraps."""
    left, count = (ns - STARTED_NS) / 1e9, float(first)
    for n, (seconds, speed) in enumerate(BELT):
        ran = left if n == len(BELT) - 1 else min(left, seconds)
        count, left = count + ran * speed, left - ran
    return int(count)


def say(**what) -> None:
    print(json.dumps(what), flush=True)


async def seen(function: int, _start: int, at: int, _count: int, now: list, values: list | None) -> None:
    ns = time.monotonic_ns()
    when = {"ns": ns, "encoder": encoder(FIRST, ns)} if BELT else {}
    if values is None:
        if at == ENCODER and BELT:
            now[ENCODER : ENCODER + 2] = when["encoder"] >> 16 & 0xFFFF, when["encoder"] & 0xFFFF
            say(read=when["encoder"], ns=ns)
        return
    say(function=function, at=at, values=values)
    if function == 15:
        COILS[at : at + len(values)] = values
    elif function == 16:
        before = REGISTERS[COUNT]
        REGISTERS[at : at + len(values)] = values
        if REGISTERS[COUNT] != before:  # a new verdict
            passes = COILS[:2] == [False, True] and REGISTERS[2] == 1 and (before + 1) % 65536 == REGISTERS[COUNT]
            passes = passes and REGISTERS[1] in (1, 8, 9, 10)
            told = {"verdict": REGISTERS[2], "reason": REGISTERS[3]}
            say(sequence=REGISTERS[4] << 16 | REGISTERS[5], **told, passes=passes, **when)


async def main(count: int) -> None:
    REGISTERS[COUNT] = count
    bits = [SimData(0, count=1, values=[False] * 16, datatype=DataType.BITS)]
    words = [SimData(0, values=list(REGISTERS), datatype=DataType.REGISTERS)]
    spare = [SimData(0, count=1, values=0, datatype=DataType.REGISTERS)]
    device = SimDevice(1, simdata=(bits, [*bits], words, spare), action=seen)
    server = ModbusTcpServer(device, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    print(server.transport.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:3]]
    FIRST = numbers[1] if numbers[1:] else 0
    BELT += json.loads(sys.argv[3]) if sys.argv[3:] else []
    asyncio.run(main(numbers[0] if numbers else 0))
