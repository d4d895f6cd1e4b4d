"""Unit, container file and the pages about them: what they name is there, and systemd takes the unit as it is."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from lineside.line.gate.gate import BELT_S, CLOSE_S
from lineside.line.systemd import STOP_S

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "packaging" / "lineside@.service"
CONTAINER = (ROOT / "packaging" / "Containerfile").read_text()
EXPOSURE = 20  # systemd-analyze security, times ten: 2.0 in systemd 252

needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def setting(name: str) -> str:
    (found,) = re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)
    return found


@pytest.fixture
def unit(tmp_path):
    """The unit with a program that is there: /opt/lineside is not."""
    made = tmp_path / UNIT.name
    made.write_text(UNIT.read_text().replace("/opt/lineside/bin/lineside", shutil.which("true") or ""))
    return made


@needs_analyze
def test_systemd_takes_every_line_of_the_unit(unit):
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    wrong = unit.with_name("wrong@.service")
    wrong.write_text(unit.read_text().replace("ProtectSystem=strict", "ProtectSystm=strict"))
    done = subprocess.run(["systemd-analyze", "verify", wrong], capture_output=True, text=True, timeout=120)
    assert "ProtectSystm" in done.stderr, "it does not tell a wrong line from a right one"


@needs_analyze
def test_the_unit_is_exposed_no_more_than_it_was(unit):
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", unit]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-300:]


def test_the_units_times_are_those_of_the_program():
    assert int(setting("TimeoutStopSec")) == STOP_S > BELT_S + CLOSE_S
    assert setting("RestartPreventExitStatus") == "2 3 4 7"  # errors.py: settings, data, bundle, a missing extra
    assert setting("SuccessExitStatus") == "130"
    assert f"--stop-timeout {STOP_S}" in (ROOT / "docs" / "deploy.md").read_text()


def test_the_container_file_names_what_there_is():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (named,) = re.findall(r"^ARG EXTRAS=(.*)$", CONTAINER, re.MULTILINE)
    assert set(named.split(",")) <= set(extras)
    assert not any("torch" in one for name in named.split(",") for one in extras[name])
    ignored = (ROOT / ".containerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (?!--from)(.*)$", CONTAINER, re.MULTILINE):
        *sources, _ = line.split()
        assert all((ROOT / one).exists() and f"!{one}" in ignored for one in sources)
    assert re.search(r"^USER [1-9]\d*$", CONTAINER, re.MULTILINE)


PAGE = (ROOT / "docs" / "threat-model.md").read_text()


@pytest.mark.parametrize("proof", sorted(set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", PAGE))))
def test_the_threat_models_proofs_are_there(proof):
    path, name = proof.split("::")
    assert f"def {name}(" in (ROOT / path).read_text()


def test_every_threat_has_a_proof_or_says_what_is_not_done():
    rows = [
        line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| threat")
    ]
    assert len(rows) > 25
    assert all(proof.strip() or gap.strip() for _, _, proof, gap in rows)
