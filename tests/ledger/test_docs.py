"""docs/cost.md: its Python is run, and what it prints is what it says."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "cost.md"


def test_the_example_prints_what_it_says():
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (said,) = re.findall(r"# (\d+ \d+)$", block, re.MULTILINE)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", block], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (said, "")
