"""Ed25519: the right key and an unchanged manifest, or a refusal that says which of the two it is."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from lineside.bundle import folder, signature
from lineside.bundle import manifest as manifests
from lineside.bundle.verify import verify
from lineside.errors import BundleError, SettingsError


def key_pair(folder: Path, name: str = "key") -> tuple[Path, Path]:
    key = ed25519.Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    private.write_bytes(key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption()))
    private.chmod(0o600)
    public.write_bytes(key.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def keys(tmp_path) -> tuple[Path, Path]:
    return key_pair(tmp_path)


def sign(bundle: Path, private: Path) -> None:
    key = signature.load_private(private)
    folder.replace(bundle, {}, lambda m: m, lambda manifest: signature.sign(manifest, key))


def checked(bundle: Path, public: Path | None):
    return {one.name: one for one in verify(bundle, signature.load_public(public) if public else None)}["signature"]


def test_signed_and_verified_also_as_an_archive(bundle, keys, tmp_path):
    sign(bundle, keys[0])
    for place in (bundle, folder.pack(bundle, tmp_path / "a.zip"), folder.pack(tmp_path / "a.zip", tmp_path / "b")):
        assert checked(place, keys[1]).ok
        assert checked(place, keys[1]).found.startswith("signed by ")
        assert "not compared with a key" in checked(place, None).found


def test_a_signature_is_asked_for_and_missing(bundle, keys):
    assert checked(bundle, None) == signature_row(True, "not signed")
    assert "is not signed, and a signature by" in checked(bundle, keys[1]).found
    assert not checked(bundle, keys[1]).ok


def signature_row(ok, found):
    from lineside.bundle.verify import Check

    return Check("signature", ok, found)


def test_another_key(bundle, keys, tmp_path):
    sign(bundle, keys[0])
    found = checked(bundle, key_pair(tmp_path, "other")[1])
    assert not found.ok
    assert "was signed by the key" in found.found
    assert "comes from someone else" in found.found


def edit(file, **changed):
    """As somebody would who knows how: its checksum fits again."""
    file.write_bytes(manifests.write(replace(manifests.read(file.read_bytes(), ""), **changed)))


def test_a_changed_manifest(bundle, keys):
    sign(bundle, keys[0])
    edit(bundle / "manifest.json", temperature=1.5)
    for public in (keys[1], None):
        assert "does not fit manifest.json: one of the two was changed after signing" in checked(bundle, public).found


def test_a_manifest_changed_after_signing_is_neither_run_nor_signed_nor_packed(bundle, keys, tmp_path):
    from lineside.bundle import model
    from lineside.bundle.export import rebuild
    from lineside.line.start import start

    sign(bundle, keys[0])
    model.load(bundle)
    file = bundle / "manifest.json"
    point = manifests.read(file.read_bytes(), "").operating_point
    assert point
    edit(file, operating_point=replace(point, accept_at=point.accept_at + 1))
    before = file.read_bytes()
    for use in (
        model.load,
        lambda path: start(path, "nuts:", np.random.default_rng(0)),
        rebuild,
        lambda path: sign(path, keys[0]),
        lambda path: folder.pack(path, tmp_path / "a.zip"),
    ):
        with pytest.raises(BundleError, match="one of the two was changed after signing; take the bundle from its"):
            use(bundle)
    assert file.read_bytes() == before
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize("text", ["", "{}", '{"algorithm": "none", "key": "", "signature": ""}', "[" * 99_999])
def test_a_damaged_signature_file(bundle, keys, text):
    sign(bundle, keys[0])
    (bundle / "signature.json").write_text(text)
    assert "the signature is damaged" in checked(bundle, keys[1]).found


@pytest.mark.parametrize("field", ["key", "signature"])
def test_a_damaged_signature(bundle, keys, field):
    sign(bundle, keys[0])
    text = json.loads((bundle / "signature.json").read_text())
    for broken in ("zz", "00", text[field][:-2] + ("00" if text[field][-2:] != "00" else "01")):
        (bundle / "signature.json").write_text(json.dumps(text | {field: broken}))
        assert not checked(bundle, None).ok


def test_a_change_takes_the_signature_away(bundle, keys):
    sign(bundle, keys[0])
    folder.replace(bundle, {"report.html": b"<p>new"}, lambda m: m)
    assert checked(bundle, None).found == "not signed"


def test_a_private_key_that_others_can_read_is_refused(keys):
    keys[0].chmod(0o644)
    with pytest.raises(SettingsError, match=r"holds a private key and others can read it \(mode 644\).* chmod 600"):
        signature.load_private(keys[0])


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def test_what_is_no_private_key_is_refused(tmp_path, keys):
    elliptic = ec.generate_private_key(ec.SECP256R1())
    locked = ed25519.Ed25519PrivateKey.generate().private_bytes(
        pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.BestAvailableEncryption(b"secret")
    )
    other = elliptic.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption())
    for path, message in [
        (tmp_path / "none.pem", "can not be read .*openssl genpkey -algorithm ed25519"),
        (write(tmp_path / "a.pem", b"hello"), "not a private key in PEM"),
        (write(tmp_path / "b.pem", other), "not an Ed25519 key"),
        (write(tmp_path / "c.pem", locked), "the key has a passphrase"),
        (write(tmp_path / "d.pem", keys[1].read_bytes()), "not a private key in PEM"),
    ]:
        with pytest.raises(SettingsError, match=message):
            signature.load_private(path)


def test_what_is_no_public_key_is_refused(tmp_path, keys):
    for path, message in [
        (tmp_path / "none.pem", "can not be read"),
        (write(tmp_path / "a.pem", b"hello"), "not a public key in PEM"),
        (keys[0], "this is the private key, keep it secret"),
    ]:
        with pytest.raises(SettingsError, match=message):
            signature.load_public(path)


def test_the_commands_of_the_documentation_make_a_pair_that_works(bundle, tmp_path):
    text = signature.__doc__ or ""
    commands = [line.strip() for line in text.splitlines() if line.startswith("    openssl")]
    assert len(commands) == 2
    for command in commands:
        done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
        if done.returncode == 127:
            pytest.skip("no openssl here")
        assert done.returncode == 0, done.stderr
    sign(bundle, tmp_path / "key.pem")
    assert checked(bundle, tmp_path / "key.pub.pem").ok
