"""A PLC double in a process of its own: a Modbus TCP server (pymodbus) with the program that docs/plc.md asks for.

    python -m tests.line.gate.plc [first count]

Prints its port, then one JSON line per write, and per new COUNT what its program does with the part:
    {"function": 15, "at": 0, "values": [true, false]}
    {"sequence": 3, "verdict": 1, "passes": true}
"""

import asyncio
import json
import sys

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

COILS, REGISTERS = [False] * 16, [0] * 32
COUNT = 12


def say(**what) -> None:
    print(json.dumps(what), flush=True)


async def seen(function: int, _start: int, at: int, _count: int, _now: list, values: list | None) -> None:
    if values is None:
        return
    say(function=function, at=at, values=values)
    if function == 15:
        COILS[at : at + len(values)] = values
    elif function == 16:
        before = REGISTERS[COUNT]
        REGISTERS[at : at + len(values)] = values
        if REGISTERS[COUNT] != before:  # the program: a new count is a new verdict
            passes = COILS[:2] == [False, True] and REGISTERS[2] == 1 and (before + 1) % 65536 == REGISTERS[COUNT]
            say(sequence=REGISTERS[4] << 16 | REGISTERS[5], verdict=REGISTERS[2], passes=passes)


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
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
