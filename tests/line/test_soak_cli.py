"""`lineside soak` as people call it."""

import json

import pytest
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lineside.bundle import folder, signature
from lineside.cli.main import main
from tests.line.tiny import BLUE, RED, png, write_bundle


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "parts").mkdir()
    for n in range(30):
        (tmp_path / "parts" / f"{n:02}.png").write_bytes(png(RED if n % 3 else BLUE, 16 + n % 4))
    write_bundle(tmp_path / "tiny.bundle")
    (tmp_path / "line.toml").write_text(
        'name = "press-3"\nsinks = ["csv:results.csv"]\n'
        '[products.m8]\nbundle = "tiny.bundle"\n'
        '[[cameras]]\nsource = "folder:parts"\n'
        '[log]\nfile = "line.log"\nformat = "json"\n'
    )
    return tmp_path


def soak(shop, *flags):
    return main(["soak", str(shop / "line.toml"), "-o", str(shop / "soak.html"), *flags])


def test_the_report_and_its_numbers_and_the_bundle_that_keeps_them(shop, capsys):
    before = folder.open_bundle(shop / "tiny.bundle")
    assert soak(shop, "--parts", "30", "--keep") == 0
    out = capsys.readouterr().out
    assert "30 parts, each with one verdict, stored and told; all counts agree." in out
    assert "<title>Soak of press-3</title>" in (shop / "soak.html").read_text()
    numbers = (shop / "soak.json").read_bytes()
    assert json.loads(numbers)["bundles"] == {"camera": before.sha256}
    after = folder.open_bundle(shop / "tiny.bundle")
    assert after.read("soak.json") == numbers
    assert after.manifest.files["model.onnx"] == before.manifest.files["model.onnx"]
    log = [json.loads(line) for line in (shop / "line.log").read_text().splitlines()]
    assert (log[-1]["event"], log[-1]["line"], log[-1]["parts"]) == ("stop", "press-3", 30)


def test_json_is_all_that_is_printed(shop, capsys):
    assert soak(shop, "--parts", "30", "--json") == 0
    assert json.loads(capsys.readouterr().out)["passed"] is True
    assert "soak.json" not in folder.open_bundle(shop / "tiny.bundle").names


def test_a_soak_again_replaces_its_report(shop, capsys):
    assert soak(shop, "--parts", "30") == soak(shop, "--parts", "30") == 0


def test_minutes_end_it(shop, capsys):
    (shop / "line.toml").write_text((shop / "line.toml").read_text() + "[parts]\nmax_fps = 1.0\n")
    assert soak(shop, "--minutes", "0.02") == 0
    assert "all counts agree" in capsys.readouterr().out
    assert json.loads((shop / "soak.json").read_text())["summary"]["parts"] < 30


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "how long? Give --parts N or --minutes M"),
        (("--parts", "3", "--sign", "key.pem"), "add --keep"),
        (("--parts", "3", "-o", "x.json"), "name it .html"),
        (("--parts", "3", "-o", "{shop}/tiny.bundle/soak.html"), "is inside the bundle"),
        (("--parts", "3", "-o", "{shop}/none/soak.html"), "can not be written"),
        (
            ("--parts", "3", "-o", "{shop}/tiny.bundle.html"),
            "tiny.bundle.json: is there already and does not begin with",
        ),
        (("--parts", "3", "-o", "{shop}/line.toml"), "line.toml: is there already and does not begin with"),
    ],
)
def test_what_can_not_be_done_is_said(shop, capsys, flags, says):
    (shop / "tiny.bundle.json").write_text('{"images": []}')
    assert soak(shop, *(flag.format(shop=shop) for flag in flags)) != 0
    assert says in capsys.readouterr().err


def test_a_signed_bundle_needs_its_key_before_the_soak_begins(shop, capsys):
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    key = shop / "key.pem"
    key.write_bytes(pem)
    key.chmod(0o600)
    folder.replace(shop / "tiny.bundle", {}, lambda m: m, lambda m: signature.sign(m, private))
    assert soak(shop, "--parts", "3", "--keep") == 4
    assert "is signed" in capsys.readouterr().err
    assert not (shop / "soak.html").exists()
    assert soak(shop, "--parts", "3", "--keep", "--sign", str(key)) == 0
    after = folder.open_bundle(shop / "tiny.bundle")
    assert after.signed_by(private.public_key())
    assert "soak.json" in after.names


def test_a_bundle_that_was_replaced_meanwhile_does_not_get_another_ones_soak(shop, capsys, monkeypatch):
    from lineside.line import soak as module

    real = module.kept

    def replaced(store, run_id):
        folder.replace(shop / "tiny.bundle", {"notes.txt": b"new"}, lambda m: m)
        return real(store, run_id)

    monkeypatch.setattr(module, "kept", replaced)
    assert soak(shop, "--parts", "3", "--keep") == 4
    assert "was changed while it ran" in capsys.readouterr().err
    assert (shop / "soak.html").exists()
