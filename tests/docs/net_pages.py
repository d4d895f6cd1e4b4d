"""The parts of docs/nets/*.md that follow from the nets: `python tests/docs/net_pages.py` writes them, a test compares.

A page says what is made at a place, and what stands there is replaced:

    <!-- made: table resnet resnet_cifar -->        the rows of these files of nets/
    <!-- made: layers resnet18 -->                  what `lineside cost resnet18` prints
    <!-- made: picture resnet18 stage1.0 -->        a drawing, beside the page; without a path the whole net
    <!-- made: counted resnet resnet_cifar -->      where the parameters' numbers are published, and who says top-1
    <!-- end -->
"""

import importlib
import re
from functools import cache
from pathlib import Path

import torch

from lineside.ledger import table
from lineside.ledger.cost import cost
from lineside.ledger.drawing import drawing
from lineside.ledger.row import Cost
from lineside.ledger.sheet import sheet
from lineside.nets.catalog import NETS, SIGNALS
from lineside.nets.net import Net, Signal

FOLDER = Path(__file__).parents[2] / "docs" / "nets"
PART = re.compile(r"(<!-- made: (\w+) ([^>]*?) -->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> list[Path]:
    return sorted(FOLDER.glob("*.md"))


def made(page: str) -> tuple[str, dict[str, str]]:
    """The page as the program has it now, and the drawings beside it, by name."""
    drawings: dict[str, str] = {}

    def part(match: re.Match[str]) -> str:
        begin, what, said, end = match.groups()
        if what == "picture":
            name, *path = said.split()
            file = "-".join([name, *path]) + ".svg"
            drawings[file] = drawing(counted(name), *path, alone=True) + "\n"
            return f"{begin}![the operations of {' '.join([name, *path])}]({file})\n{end}"
        return f"{begin}\n{MAKERS[what](said.split())}\n\n{end}"

    return PART.sub(part, page), drawings


def rows(modules: list[str]) -> dict[str, Net | Signal]:
    files = [importlib.import_module(f"lineside.nets.{module}") for module in modules]
    return {name: row for file in files for name, row in (file.SIGNALS if file is SIGNAL_FILE else file.NETS).items()}


SIGNAL_FILE = importlib.import_module("lineside.nets.signals")


@cache
def counted(name: str) -> Cost:
    row: Net | Signal = NETS[name] if name in NETS else SIGNALS[name]
    with torch.device("meta"):
        if isinstance(row, Signal):
            return cost(row.build(row.channels, row.classes), (1, row.channels, row.samples), name=name)
        return cost(row.build(row.classes), (1, 3, row.size_px, row.size_px), name=name)


def net_table(modules: list[str]) -> str:
    head = ("net", "input", "parameters", "M MAC", "top-1", "top-5", "weights", "source")
    lines = [head, tuple("---" if i in (0, 6, 7) else "---:" for i in range(len(head)))]
    for name, row in rows(modules).items():
        accuracy = (row.weights[0] if row.weights else row.published) if isinstance(row, Net) else None
        percents = [getattr(accuracy, which, None) for which in ("top1", "top5")]
        size = f"{row.size_px} px" if isinstance(row, Net) else f"{row.samples} samples"
        weights = ", ".join(one.name for one in row.weights) if isinstance(row, Net) else ""
        shown = ("" if p is None else f"{p:.2f}" for p in percents)
        lines.append((f"`{name}`", size, f"{row.params:,}", f"{row.macs / 1e6:,.1f}", *shown, weights, row.source))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def layers(names: list[str]) -> str:
    """As `lineside cost` prints it, without what stands under it."""
    found = []
    for name in names:
        _, body, under, *_ = table.text(sheet(counted(name), "deck", None)).split("\n\n")
        totals = "\n".join(line for line in under.split("\n") if line.startswith(("parameters", "MACs", "memory")))
        summary = f"<summary>Layer by layer: <code>lineside cost {name}</code></summary>"
        found.append(f"<details>{summary}\n\n```\n{body}\n\n{totals}\n```\n\n</details>")
    return "\n\n".join(found)


def figures(modules: list[str]) -> str:
    said: dict[str, dict[str, list[str]]] = {"Parameters": {}, "Accuracy": {}}
    for name, row in rows(modules).items():
        said["Parameters"].setdefault(row.counted, []).append(f"`{name}`")
        accuracy = (row.weights[0] if row.weights else row.published) if isinstance(row, Net) else None
        if accuracy is not None:
            source = accuracy.source.replace(f", {name} IMAGENET1K_", ", IMAGENET1K_")
            said["Accuracy"].setdefault(source, []).append(f"`{name}`")
    heads = {"Parameters": "Who counted the parameters", "Accuracy": "Who says top-1 and top-5 (ImageNet, validation)"}
    return "\n\n".join(
        "\n".join([f"{heads[what]}:", "", *(f"- {', '.join(names)}: {who}" for who, names in found.items())])
        for what, found in said.items()
        if found
    )


MAKERS = {"table": net_table, "layers": layers, "counted": figures}

if __name__ == "__main__":
    for path in pages():
        text, drawings = made(path.read_text("utf-8"))
        path.write_text(text, "utf-8")
        for file, svg in drawings.items():
            (FOLDER / file).write_text(svg, "utf-8")
