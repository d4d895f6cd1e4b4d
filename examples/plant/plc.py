"""The PLC of the plant: a Modbus TCP server that passes or rejects each part as it is told, and a log.

    python plc.py PORT LOG

The line writes coils (REJECT, PASS) and registers; a new COUNT is a new verdict. A part passes only if PASS is on,
REJECT is off, the verdict is accept, the station is in a state that passes, and no verdict was missed. There is no belt
and no trigger here: for a real one take the program of docs/plc.md, not this. The log has one JSON
line a part: {"sequence": 3, "verdict": 1, "passes": true}.
"""

import asyncio
import json
import sys

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

WRITE_COILS, WRITE_REGISTERS = 15, 16  # Modbus function codes
STATE, VERDICT, SEQUENCE, COUNT = 1, 2, 4, 12  # registers, docs/plc.md
PASSING_STATES, ACCEPT = (1, 8, 9, 10), 1

coils, registers = [True, False], [0] * 32


async def main(port: int, log: str) -> None:
    with open(log, "a", buffering=1) as file:

        async def program(function: int, _start: int, at: int, _count: int, _now: list, values: list | None) -> None:
            if values is None:
                return
            if function == WRITE_COILS:
                coils[at : at + len(values)] = values
            elif function == WRITE_REGISTERS:
                before = registers[COUNT]
                registers[at : at + len(values)] = values
                if registers[COUNT] != before:
                    file.write(json.dumps(moved(before)) + "\n")

        bits = [SimData(0, count=1, values=[False] * 16, datatype=DataType.BITS)]
        words = [SimData(0, values=list(registers), datatype=DataType.REGISTERS)]
        spare = [SimData(0, count=1, values=0, datatype=DataType.REGISTERS)]
        device = SimDevice(1, simdata=(bits, [*bits], words, spare), action=program)
        await ModbusTcpServer(device, address=("127.0.0.1", port)).serve_forever()


def moved(before: int) -> dict:
    """What the program does with the part of the newest verdict."""
    missed = (before + 1) % 2**16 != registers[COUNT]
    passes = coils[:2] == [False, True] and registers[VERDICT] == ACCEPT and registers[STATE] in PASSING_STATES
    number = registers[SEQUENCE] << 16 | registers[SEQUENCE + 1]
    return {"sequence": number, "verdict": registers[VERDICT], "passes": passes and not missed}


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
