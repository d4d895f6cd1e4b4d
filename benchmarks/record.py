"""How a result is written: what was measured, on what machine, with which versions, when."""

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """The processor's name, cores this process may use, memory and system."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"cpu": name, "cores": len(os.sched_getaffinity(0)), "memory_gib": round(gib), "system": platform.platform()}


def versions(*packages: str) -> dict[str, str]:
    """The installed version of each package, and Python's."""
    return {"python": platform.python_version()} | {p: version(p) for p in ("lineside", *packages)}


def write(name: str, what: str, rows: Any, packages: tuple[str, ...]) -> Path:
    """benchmarks/results/<name>.json; the path."""
    path = RESULTS / f"{name}.json"
    load_1min = os.getloadavg()[0]  # above the number of cores: others were at work, look at ratios only
    facts = {
        "what": what,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine() | {"load_1min_at_end": round(load_1min, 2)},
        "versions": versions(*packages),
    }
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(facts | {"rows": rows}, indent=1) + "\n")
    return path


def rows(name: str) -> Any:
    """The rows of an earlier result, [] if there is none: a benchmark that is run in parts keeps the others'.

    Each then says in "measured" when and where that was, for the file's own date and machine are the latest part's.
    """
    path = RESULTS / f"{name}.json"
    if not path.is_file():
        return []
    earlier = json.loads(path.read_text())
    kept = earlier["rows"]
    for row in kept.values() if isinstance(kept, dict) else kept:
        row.setdefault("measured", {key: earlier[key] for key in ("date", "machine", "versions")})
    return kept
