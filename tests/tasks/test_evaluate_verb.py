"""Where `lineside evaluate` says that the report is: it is there."""

import ctypes
import json
import subprocess
import sys

import pytest

from lineside.bundle import folder
from lineside.bundle.folder import open_bundle
from lineside.cli.main import main
from lineside.errors import BundleError

NEW = {"blue": 6, "green": 6, "red": 6}


def said(out: str) -> str:
    return out.rpartition("report: ")[2].strip().replace("\n", "")


def test_the_report_of_an_archive_is_in_it(bundle, make, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder.pack(bundle, "b.zip")
    assert main(["evaluate", "b.zip", str(make("new", NEW, seed=31))]) in (0, 1)
    assert said(capsys.readouterr().out) == "report.html in b.zip"
    assert "report.html" in open_bundle("b.zip").names


def test_a_signed_bundle_named_by_a_dot_gets_its_report_beside_it(bundle, make, capsys, monkeypatch):
    data = make("new", NEW, seed=32)
    folder.replace(bundle, {}, lambda now: now, sign)
    monkeypatch.chdir(bundle)
    assert main(["evaluate", ".", str(data)]) in (0, 1)
    assert (bundle.parent / "colour.bundle.report.html").exists()
    assert main(["evaluate", ".", str(data), "-o", "mine.html"]) == 4
    assert "mine.html: is inside the bundle ." in capsys.readouterr().err
    open_bundle(bundle)


def sign(manifest: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from lineside.bundle import signature

    return signature.sign(manifest, Ed25519PrivateKey.generate())


def test_what_was_measured_is_told_where_the_bundle_can_not_be_written(bundle, make, capsys, tmp_path, monkeypatch):
    def full(path, *_):
        raise BundleError(f"{path}: the bundle could not be written (Read-only file system)")

    monkeypatch.setattr(folder, "replace", full)
    data, place = str(make("new", NEW, seed=31)), tmp_path / "report.html"
    assert main(["evaluate", str(bundle), data]) == 4
    out, err = capsys.readouterr()
    assert "top-1" in out
    assert "report: none written; -o REPORT names a place for it" in out
    assert "could not be written" in err
    assert "The bundle was not changed (it could not be written), so neither this look nor" in " ".join(out.split())
    assert main(["evaluate", str(bundle), data, "-o", str(place), "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["report"] == str(place)
    assert "top-1" in place.read_text()
    assert main(["evaluate", str(bundle), data, "-o", str(place), "--max-escape", "0.2"]) == 4
    assert (
        "This operating point is not stored: the bundle was not changed: it could not be written" in place.read_text()
    )
    assert "replaces the bundle" not in place.read_text()


def no_writing_everywhere() -> None:
    """Let root's next program respect permissions as anybody does; for others nothing changes."""
    pr_capbset_drop, cap_dac_override = 24, 1  # linux/prctl.h, linux/capability.h
    ctypes.CDLL(None).prctl(pr_capbset_drop, cap_dac_override, 0, 0, 0)


def bound(*argv: object) -> subprocess.CompletedProcess[str]:
    """Python with these arguments, in a process that may write only where permissions say so."""
    command = [sys.executable, *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=no_writing_everywhere)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("which", ["the bundle", "its folder"])
def test_a_bundle_that_is_not_ours_to_write_is_evaluated_and_left_alone(make, bundle, tmp_path, which, packed):
    data, page = make("new", NEW, seed=31), tmp_path / "r.html"
    (shelf := tmp_path / "shelf").mkdir()
    copy = folder.pack(bundle, shelf / ("b.zip" if packed else "b.bundle"))
    locked = copy if which == "the bundle" else shelf
    locked.chmod(0o555)
    if bound("-c", f"import os; os._exit(os.access({str(locked)!r}, os.W_OK))").returncode:
        pytest.skip("this root may write everywhere, whatever it gives up")
    before = open_bundle(copy).sha256
    done = bound("-m", "lineside", "evaluate", copy, data, "-o", page, "--max-escape", 0.2, "--json")
    assert done.returncode == 0, done.stderr
    said, why = json.loads(done.stdout), f"the bundle was not changed: {locked} is not ours to write"
    assert (said["report"], said["not_stored"]) == (str(page), why)
    assert f"This operating point is not stored: {why}." in page.read_text("utf-8")
    assert "replaces the bundle" not in page.read_text("utf-8")
    assert open_bundle(copy).sha256 == before
    assert [one.name for one in shelf.iterdir()] == [copy.name]
    done = bound("-m", "lineside", "evaluate", copy, data)  # beside the bundle, as of a signed one
    shelf.chmod(0o755)
    assert done.returncode == (0 if which == "the bundle" else 2)
    assert "top-1" in done.stdout
    assert (shelf / f"{copy.name}.report.html").exists() == (which == "the bundle")
    assert ("can not be written (Permission denied); choose another place" in done.stderr) == (which != "the bundle")


def test_a_report_does_not_replace_a_picture_and_no_look_is_counted(bundle, make, capsys):
    data = make("new", NEW, seed=31)
    victim = next(data.rglob("*.png"))
    before, looks = victim.read_bytes(), open_bundle(bundle).manifest.evaluations
    assert main(["evaluate", str(bundle), str(data), "-o", str(victim)]) == 2
    assert f"{victim}: is there already and does not begin with '<!doctype html'" in capsys.readouterr().err
    assert (victim.read_bytes(), open_bundle(bundle).manifest.evaluations) == (before, looks)


def test_a_place_that_takes_no_report_is_told_after_what_was_measured(bundle, make, capsys, tmp_path):
    data, place = str(make("new", NEW, seed=31)), tmp_path / "nowhere" / "report.html"
    assert main(["evaluate", str(bundle), data, "-o", str(place)]) == 2
    out, err = capsys.readouterr()
    assert "top-1" in out
    assert said(out) == str(bundle / "report.html").replace("\n", "")
    assert f"{place}: can not be written (No such file or directory); choose another place, or make room" in err
    assert "report.html" in open_bundle(bundle).names
