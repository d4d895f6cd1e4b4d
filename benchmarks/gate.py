"""How long a verdict takes to the PLC: from the station's verdict to the PLC's confirmation.

    python -m benchmarks.gate [--parts 2000] [--rounds 5]

The PLC is the tests' double (tests/line/gate/plc.py, a server of pymodbus) in a process of its own, on loopback: the
figures are those of Lineside, pymodbus at both ends and this machine's scheduler; a network and a PLC's cycle come on
top. Verdicts come 5 ms apart.

wire_ms      verdict → confirmed: two requests, coils and registers; p50 and p99 of each round, and over rounds
             their median, least and most
actuate_us   how long the call took in the thread that gives the verdict; p50 and p99
one_write_ms beside it: one write of one coil with the same library and the same server, back to back; p50 and p99
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import record


def measure(parts: int, rounds: int, folder: Path) -> dict:
    from pymodbus.client import ModbusTcpClient

    from lineside.line.events import Part
    from lineside.line.gate.catalog import open_gate
    from tests.line.gate.doubles import plc

    calls: list[float] = []
    single: list[float] = []
    percentiles: dict[str, list[float]] = {"p50": [], "p99": []}
    with plc(folder) as double:
        for _ in range(rounds):
            gate = open_gate(f"modbus://127.0.0.1:{double.port}?deadline_ms=1000&pass_ms=2")
            gate.start(lambda sentence: print(sentence))
            for n in range(1, parts + 1):
                begun = time.perf_counter()
                gate.actuate(Part(str(n), n), "accept" if n % 2 else "reject", "decided", time.monotonic_ns())
                calls.append(1e6 * (time.perf_counter() - begun))
                time.sleep(0.005)
            gate.close("stopped")
            latency = gate.latency()
            assert latency.n == parts
            assert latency.percentiles is not None
            for name, values in percentiles.items():
                values.append(latency.percentiles[name])
            client = ModbusTcpClient("127.0.0.1", port=double.port)
            client.connect()
            for n in range(200):
                begun = time.perf_counter()
                client.write_coil(5, bool(n % 2))
                single.append(1e3 * (time.perf_counter() - begun))
            client.close()
    return {
        "parts": parts * rounds,
        "rounds": rounds,
        "wire_ms": {name: _spread(values) for name, values in percentiles.items()},
        "actuate_us": {name: round(float(np.quantile(calls, q)), 1) for name, q in (("p50", 0.5), ("p99", 0.99))},
        "one_write_ms": {name: round(float(np.quantile(single, q)), 3) for name, q in (("p50", 0.5), ("p99", 0.99))},
    }


def _spread(values: list[float]) -> dict[str, float]:
    """Of one percentile over rounds."""
    return {"median": round(float(np.median(values)), 3), "least": round(min(values), 3), "most": round(max(values), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=2000, help="per round")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(args.parts, args.rounds, Path(folder))
    print(record.write("gate", (__doc__ or "").splitlines()[0], rows, ("pymodbus",)).read_text())


if __name__ == "__main__":
    main()
