"""src/lineside/nets/listed.json, made of the rows of the families: `python -m tests.nets.listed` writes it."""

import json
from pathlib import Path
from typing import Any

from lineside.nets.catalog import NETS, SIGNALS
from lineside.nets.net import Net, Signal

FILE = Path(__file__).parents[2] / "src" / "lineside" / "nets" / "listed.json"


def listed(name: str, row: Net) -> dict[str, Any]:
    accuracy = row.weights[0] if row.weights else row.published
    return {
        "name": name,
        "reads": "pictures",
        "size": row.size_px,
        "params": row.params,
        "macs": row.macs,
        "top1": accuracy.top1 if accuracy else None,
        "top5": accuracy.top5 if accuracy else None,
        "said_by": accuracy.source if accuracy else "",
        "weights": [one.place for one in row.weights],
        "stages": [stage.name for stage in row.stages],
        "source": row.source,
    }


def listed_signal(name: str, row: Signal) -> dict[str, Any]:
    return {
        "name": name,
        "reads": "signals",
        "size": row.samples,
        "params": row.params,
        "macs": row.macs,
        "top1": None,
        "top5": None,
        "said_by": "",
        "weights": [],
        "stages": [stage.name for stage in row.stages],
        "source": row.source,
    }


def text() -> str:
    """The file as the rows have it now, a net a line."""
    rows = [listed(name, row) for name, row in NETS.items()]
    rows += [listed_signal(name, row) for name, row in SIGNALS.items()]
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n"


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
