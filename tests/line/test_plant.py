"""`make plant` with a tiny bundle: the example runs, and store, PLC, MES and SCADA agree about every part."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.line.broker import needs_mosquitto
from tests.line.tiny import write_bundle

PLANT = Path(__file__).parents[2] / "examples" / "plant" / "plant.py"


@pytest.mark.slow
@needs_mosquitto
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed: apt-get install openssl")
def test_everybody_has_the_same_result_of_every_part(tmp_path):
    bundle = write_bundle(tmp_path / "tiny.bundle")
    command = [sys.executable, str(PLANT), "--bundle", str(bundle), "--parts", "100", "-o", str(tmp_path / "plant")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    answers = [line for line in done.stdout.splitlines() if line.startswith(("yes  ", "NO   "))]
    assert len(answers) == 4
    assert all(line.startswith("yes") for line in answers)
    assert "3 rejected unseen" in done.stdout  # what the camera lost or tore; it plans for more parts than came
