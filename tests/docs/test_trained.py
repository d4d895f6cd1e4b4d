"""docs/trained.md has the numbers that were measured, and what it concludes from them holds for them."""

import json
from collections import defaultdict
from pathlib import Path

from benchmarks.record import RESULTS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "trained.md").read_text(encoding="utf-8")


def rows(name):
    return json.loads((RESULTS / f"{name}.json").read_text())["rows"]


def errors(kind):
    found = defaultdict(list)
    for row in rows("depth")["runs"]:
        if row["plan"] == "short":
            found[row["net"]].append(row[kind])
    return found


def span(values):
    return f"{min(values):.1f}–{max(values):.1f} %"


def test_depth():
    train, test = errors("train_error"), errors("test_error")
    for net, values in train.items():
        assert f"| {net} | {span(values)} | {span(test[net])} | {len(values)} |" in PAGE
    assert min(train["plain56"]) > max(train["plain20"])
    assert max(train["resnet56"]) < min(train["resnet20"])
    assert (DOCS / "depth-short.svg").exists()


def test_stem_gradients():
    found = rows("stem_gradients")["summary"]
    for row in found:
        between = f"{row['ratio']:.2f} | {row['low']:.2f}–{row['high']:.2f}"
        line = f"| {row['what']} | {row['start']} | {row['moment']} | {between} |"
        assert line in PAGE
    assert len(found) == PAGE.count("| start |") + PAGE.count("| steps |")
