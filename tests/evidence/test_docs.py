"""docs/operating-point.md prints numbers: they are the program's."""

import re
from pathlib import Path

from lineside.evidence.operating import rank

PAGE = (Path(__file__).parents[2] / "docs" / "operating-point.md").read_text("utf-8")


def test_the_table_of_parts_needed():
    rows = re.findall(
        r"^\| escape ≤ ([\d.]+) % \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", PAGE, re.MULTILINE
    )
    assert len(rows) == 4
    for percent, *needed, in_all in rows:
        assert in_all.replace(",", "") == str(5 * int(needed[0].replace(",", "")))
        for k, n in enumerate((int(cell.replace(",", "")) for cell in needed), 1):
            assert rank(n, float(percent) / 100, 0.95) == k
            assert rank(n - 1, float(percent) / 100, 0.95) == k - 1
