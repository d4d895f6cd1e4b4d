"""Where `lineside evaluate` says that the report is: it is there."""

import json

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
    assert main(["evaluate", str(bundle), data, "-o", str(place), "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["report"] == str(place)
    assert "top-1" in place.read_text()


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
