"""docs/faults.md: every row names its tests, every test is in a row, and what is known to fail is said to."""

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "faults.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("|") and not re.match(r"\|(---| fault )", line)]
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`( \(known to fail\))?")


def written() -> dict[tuple[str, str], bool]:
    """(file, name) of every test in here: whether it is marked as failing."""
    found = {}
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                marks = [ast.unparse(mark) for mark in node.decorator_list]
                found[path.name, node.name] = any("xfail" in mark for mark in marks)
    return found


def test_every_row_names_a_test_that_is_there():
    there = written()
    assert len(ROWS) >= 20
    for row in ROWS:
        named = NAMED.findall(row.split("|")[5])
        assert named, row
        for file, name, fails in named:
            assert (file, name) in there, f"{file}::{name} is not there"
            assert there[file, name] == bool(fails), f"{file}::{name}: does it fail or not?"


def test_every_fault_that_is_tested_is_in_a_row():
    named = {(file, name) for file, name, _ in NAMED.findall(PAGE)}
    elsewhere = {Path(__file__).name, "test_fuzz.py"}  # what is sent on purpose is an attack, not a fault
    assert {key for key in written() if key[0] not in elsewhere} == named
