"""`verify` says NO where it must, and only there."""

import pytest

from lineside.bundle import folder, verify
from lineside.bundle.engine import ENGINES


@pytest.fixture
def looked(monkeypatch) -> list:
    """Every bundle whose hashes verify looks at."""
    real, seen = verify._hashes, []

    def hashes(bundle):
        seen.append(bundle)
        return real(bundle)

    monkeypatch.setattr(verify, "_hashes", hashes)
    return seen


def test_a_bundle_replaced_while_it_is_verified_is_verified_again(bundle, looked, monkeypatch):
    real = verify._check

    def check(name, job):
        if not looked:
            folder.replace(bundle, {"report.html": b"<p>another"}, lambda m: m)
        return real(name, job)

    monkeypatch.setattr(verify, "_check", check)
    assert all(one.ok for one in verify.verify(bundle))
    assert len(looked) == 2


def test_a_damaged_bundle_is_verified_once(bundle, looked):
    (bundle / "model.onnx").write_bytes(b"tampered")
    assert [one.name for one in verify.verify(bundle) if not one.ok] == ["hashes"]
    assert len(looked) == 1


def test_an_engine_that_fails_is_a_no(bundle, monkeypatch):
    def opened(model, precision, threads):
        return lambda pictures: 1 / 0

    monkeypatch.setitem(ENGINES, "onnxruntime", opened)
    last = verify.verify(bundle)[-1]
    assert (last.name, last.ok) == ("samples", False)
    assert "onnxruntime float32 gave no answer: division by zero" in last.found
