"""The front door: what it says, and its exit code, when the reader leaves, the disk is full, a flag is wrong."""

import errno
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from lineside.bundle.parity import Reference, write_reference
from lineside.bundle.samples import EXPECTED, Sample, write_expected
from lineside.cli import main as door
from lineside.cli.main import main
from lineside.evidence.operating import choose
from lineside.tasks.classify.decode import margin
from tests.line.tiny import BLUE, CLASSES, RED, logits_of, picture, png, write_bundle

ROOT = Path(__file__).parents[2]


@pytest.fixture
def good(tmp_path):
    """A bundle that verify finds good."""
    logits = logits_of(np.stack([picture(RED), picture(BLUE)]))
    expected = [Sample("samples/00.png", "red.png", "good", {"onnxruntime float32": tuple(map(float, logits[0]))})]
    truth = Reference(("red.png", "blue.png"), ("good", "bad"), CLASSES, ("good",), logits)
    extra = {"samples/00.png": png(RED), EXPECTED: write_expected(expected), "calibrate.csv": write_reference(truth)}
    point = choose(margin(logits, [1]), np.array([True, False]), max_escape=0.1)
    split = (("calibrate", "good", "red.png", "0" * 64, ""), ("calibrate", "bad", "blue.png", "1" * 64, ""))
    return write_bundle(tmp_path / "good.bundle", split, extra=extra, operating_point=point)


@pytest.fixture
def bad(tmp_path):
    """A bundle without samples: verify says no."""
    return write_bundle(tmp_path / "bad.bundle")


def lineside(*argv, stdout, unbuffered="", encoding="utf-8"):
    command = [sys.executable, "-m", "lineside", *map(str, argv)]
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered, "PYTHONIOENCODING": encoding}
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, env=env)


@pytest.mark.parametrize(
    ("which", "unbuffered", "code"), [("good", "", 141), ("bad", "", 1), ("good", "1", 141), ("bad", "1", 141)]
)
def test_a_reader_who_leaves_makes_no_yes_of_a_no(request, which, unbuffered, code):
    """Unbuffered, the first line already finds nobody, and the answer is not reached."""
    read, write = os.pipe()
    os.close(read)
    done = lineside("verify", request.getfixturevalue(which), stdout=write, unbuffered=unbuffered)
    os.close(write)
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize(("which", "code"), [("good", 2), ("bad", 1)])
def test_an_answer_that_the_disk_has_no_room_for_is_no_yes(request, which, code):
    with open("/dev/full", "w") as full:
        done = lineside("verify", request.getfixturevalue(which), stdout=full)
    assert done.returncode == code
    assert "Exception ignored" not in done.stderr
    assert ("lineside: No space left on device" in done.stderr) == (code == 2)


def test_a_letter_that_the_terminal_lacks_loses_no_answer(tmp_path, good):
    """ISO-8859-1 has no ≤ and no Cyrillic."""
    done = lineside("verify", tmp_path / "деталь.bundle", stdout=subprocess.PIPE, encoding="ascii")
    assert (done.returncode, "Traceback" in done.stderr) == (4, False)
    good.rename(tmp_path / "деталь.bundle")
    done = lineside("verify", tmp_path / "деталь.bundle", stdout=subprocess.PIPE, encoding="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert r"\u0434\u0435\u0442\u0430\u043b\u044c.bundle: good" in done.stdout


def test_what_the_system_refuses_is_a_sentence(monkeypatch, capsys, tmp_path):
    def refused(path, key, more):
        raise OSError(errno.EROFS, "Read-only file system", "out/report.html")

    monkeypatch.setattr("lineside.bundle.verify.verify", refused)
    assert main(["verify", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("lineside: out/report.html: Read-only file system; look at")


def test_a_name_in_an_error_does_not_steer_the_terminal(capsys):
    assert main(["check", "\x1b[31mgone\x07"]) == 3
    err = capsys.readouterr().err
    assert err.startswith(r"lineside: \x1b[31mgone\x07: is not there")
    assert err.removesuffix("\n").isprintable()


def test_a_demo_that_has_no_folder_to_write_to_says_so_before_it_begins(tmp_path, capsys):
    (tmp_path / "demo").write_text("mine")
    assert main(["demo", "-o", str(tmp_path / "demo")]) == 2
    out, err = capsys.readouterr()
    assert "demo: the demo can not write there (File exists); name another folder with -o" in err
    assert out == ""
    assert (tmp_path / "demo").read_text() == "mine"


@pytest.mark.parametrize(
    "argv",
    [
        ["demo", "--parts", "0"],
        ["check", "x", "--workers", "-1"],
        ["check", "x", "--workers", "0"],
        ["run", "x", "--source", "nuts:", "--parts", "0"],
    ],
)
def test_a_count_below_one_is_refused_at_the_flag(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert "expected a whole number of at least 1" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["nan", "inf", "0", "-3"])
def test_a_latency_that_is_none_is_refused_at_the_flag(value, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "x", "-o", "y", "--max-latency-ms", value])
    assert stop.value.code == 2
    assert "expected a number above 0" in capsys.readouterr().err


def test_every_package_of_an_extra_is_known_by_its_module():
    """Their absence is exit 7 and the pip command, no traceback. (The weights' package is looked for by its files.)"""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    module_of = {
        "python-snap7": "snap7",
        "paho-mqtt": "paho",
        "pygobject": "gi",
    }
    own = extras.keys() - {"dev", "timm"}  # timm is asked for by the name of a net, and says so itself
    listed = {
        module_of.get(name, name): extra
        for extra in sorted(own)  # of rtsp, v4l and video, which are the same package, the last
        for name in (re.split(r"[^\w-]", one)[0] for one in extras[extra])
        if not name.endswith("-pytorch-model")
    }
    assert listed == door.EXTRA_OF


def test_a_missing_package_is_named_with_its_extra(monkeypatch, capsys, tmp_path):
    def missing(path, key, more):
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib.pyplot")

    monkeypatch.setattr("lineside.bundle.verify.verify", missing)
    assert main(["verify", str(tmp_path)]) == 7
    assert "pip install 'lineside[train]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, door.SPINS), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_torchs_threads_sleep_soon_unless_somebody_has_chosen_otherwise(given, spins):
    """Set before torch is loaded, which reads it then and never again."""
    clean = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = (
        "import os, sys\nfrom lineside.cli.main import main\nmain(['history', 'none.db'])\n"
        "assert 'torch' not in sys.modules\nprint(os.environ.get('GOMP_SPINCOUNT'))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=clean | given, capture_output=True, text=True)
    assert done.stdout.strip() == str(spins)
