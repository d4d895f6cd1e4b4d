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
IN_CONTAINER = ROOT / "packaging" / "lineside-container@.service"
CONTAINER = (ROOT / "packaging" / "Containerfile").read_text()
DEPLOY = (ROOT / "docs" / "deploy.md").read_text()
EXPOSURE = 20  # systemd-analyze security, times ten: 1.8 to 2.0 in systemd 252, by the machine

needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def setting(name: str, unit: Path = UNIT) -> str:
    (found,) = re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)
    return found


@pytest.fixture
def made(tmp_path):
    """A unit with a program that is there: /opt/lineside and podman are not."""

    def make(unit: Path) -> Path:
        there = tmp_path / unit.name
        there.write_text(
            re.sub("/opt/lineside/bin/lineside|/usr/bin/podman", shutil.which("true") or "", unit.read_text())
        )
        return there

    return make


@needs_analyze
@pytest.mark.parametrize("unit", [UNIT, IN_CONTAINER], ids=lambda unit: unit.name)
def test_systemd_takes_every_line_of_the_unit(unit, made):
    there = made(unit)
    done = subprocess.run(["systemd-analyze", "verify", there], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    wrong = there.with_name("wrong@.service")
    wrong.write_text(there.read_text().replace("TimeoutStopSec=", "TimeoutStpSec="))
    done = subprocess.run(["systemd-analyze", "verify", wrong], capture_output=True, text=True, timeout=120)
    assert "TimeoutStpSec" in done.stderr, "it does not tell a wrong line from a right one"


@needs_analyze
def test_the_unit_is_exposed_no_more_than_it_was(made):
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", made(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-300:]


def test_the_units_times_are_those_of_the_program():
    assert int(setting("TimeoutStopSec")) == STOP_S > BELT_S + CLOSE_S
    # errors.py: settings, data, bundle, a missing extra, a halt
    assert setting("RestartPreventExitStatus") == "2 3 4 7 8"
    assert setting("SuccessExitStatus") == "130"
    assert f"--stop-timeout {STOP_S} " in IN_CONTAINER.read_text()
    assert f"--time {STOP_S} " in IN_CONTAINER.read_text()
    assert int(setting("TimeoutStopSec", IN_CONTAINER)) > STOP_S  # podman kills first, and takes the container away


def test_a_line_is_still_tried_when_the_plc_comes_up_three_minutes_after_it():
    """Each start that finds no PLC takes RestartSec and a moment more; with that moment left out it must do."""
    starts, each_s, within_s = (
        int(setting(name)) for name in ("StartLimitBurst", "RestartSec", "StartLimitIntervalSec")
    )
    assert 150 <= starts * each_s < within_s, "it gives up too early, or never"


@pytest.mark.parametrize(
    "name", ["StartLimitBurst", "StartLimitIntervalSec", "RestartSec", "Restart", "RestartPreventExitStatus"]
)
def test_in_a_container_a_line_is_started_again_as_without(name):
    assert setting(name, IN_CONTAINER) == setting(name)


def test_the_container_is_given_to_the_user_of_its_image():
    (user,) = re.findall(r"^USER (\d+)$", CONTAINER, re.MULTILINE)
    assert f"-o {user} -g {user} -m 700 /run/lineside/%i" in setting("ExecStartPre", IN_CONTAINER)
    assert f"--uid {user} " in CONTAINER


def test_each_line_has_a_user_of_its_own():
    """DynamicUser alone names him after the unit without its instance: two lines would be one user."""
    assert (setting("DynamicUser"), setting("User")) == ("yes", "lineside-%i")


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


def test_the_health_check_can_pass_and_is_kept():
    (named,) = re.findall(r"^ARG EXTRAS=(.*)$", CONTAINER, re.MULTILINE)
    assert "/metrics" in CONTAINER
    assert "metrics" in named.split(","), "a line without this extra serves no such page"
    commands = re.findall(r"podman build .*-f packaging/Containerfile", CONTAINER + DEPLOY)
    assert len(commands) == 2
    assert all("--format docker" in one for one in commands), "the format OCI, podman's own, drops HEALTHCHECK"


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
