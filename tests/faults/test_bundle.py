"""A bundle that is damaged: bits that were flipped on the disk before the start, files replaced while a line runs."""

import json
import random
import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lineside.bundle import folder, signature
from lineside.bundle.model import load
from lineside.errors import BundleError
from tests.faults.shop import PARTS, gate_is_stored, so_far, sqlite, store_is_whole
from tests.line.tiny import RED, logits_of, picture, write_bundle

pytestmark = pytest.mark.slow
SLOW = "deadline_ms=30000&pass_ms=1"


def flip(path, at: int, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def taken(bundle) -> None:
    """What a line looks at before it loads the engine."""
    opened = folder.open_bundle(bundle)
    opened.signed_by()
    opened.read("model.onnx")


def test_a_flipped_bit_in_the_model_moves_nothing(shop, plc):
    shop.furnish()
    flip(shop.bundle / "model.onnx", 100, 3)
    line = shop.line("--gate", f"modbus://127.0.0.1:{plc.port}?{SLOW}")
    assert line.ends() == 4, line.said()
    assert "model.onnx: was changed or damaged: its sha256 is" in line.said()
    assert "take the bundle from its source again" in line.said()
    assert plc.seen() == []
    assert not shop.store.exists()


def test_a_thousand_flipped_bits_in_the_model_are_all_seen(shop):
    shop.furnish(0)
    draw, path = random.Random(1), shop.bundle / "model.onnx"
    whole = path.read_bytes()
    for _ in range(PARTS):
        flip(path, draw.randrange(len(whole)), draw.randrange(8))
        with pytest.raises(BundleError, match="was changed or damaged"):
            taken(shop.bundle)
        path.write_bytes(whole)
    assert (load(shop.bundle).infer(picture(RED)[None]) == logits_of(picture(RED)[None])).all()


def test_a_thousand_flipped_bits_in_a_signed_manifest_are_all_seen(shop):
    shop.furnish(0)
    key = Ed25519PrivateKey.generate()
    folder.replace(shop.bundle, {}, lambda manifest: manifest, lambda text: signature.sign(text, key))
    _every_flip_is_refused(shop)


def test_a_thousand_flipped_bits_in_a_manifest_are_all_seen(shop):
    """One bit makes accept_at 2.0 into 0.0, and a bad part would pass; only the checksum tells."""
    shop.furnish(0)
    _every_flip_is_refused(shop)


def _every_flip_is_refused(shop):
    draw, path = random.Random(2), shop.bundle / "manifest.json"
    whole = path.read_bytes()
    found = []
    for _ in range(PARTS):
        flip(path, draw.randrange(len(whole)), draw.randrange(8))
        changed = path.read_bytes()
        try:
            taken(shop.bundle)
        except BundleError:
            pass
        else:
            found.append(changed)
        path.write_bytes(whole)
    assert [json.loads(one) for one in found if json.loads(one) != json.loads(whole)] == []


def test_a_bundle_that_is_replaced_while_the_line_runs(shop, plc):
    """The line keeps what it has loaded, and its run's row says which that was; the next start takes the new one."""
    shop.furnish()
    gate = ("--gate", f"modbus://127.0.0.1:{plc.port}?{SLOW}")
    line = shop.line(*gate)
    line.until(lambda: so_far(plc) > 200)
    (shop.bundle / "model.onnx").write_bytes(b"something else")
    line.until(lambda: so_far(plc) > 400)
    shutil.rmtree(shop.bundle)
    line.until(lambda: so_far(plc) > 600)
    write_bundle(shop.bundle, accept=("bad",))  # what was bad is good now: a line that looked again would show it
    assert line.ends() == 0, line.said()
    ask = sqlite(shop.store)
    found = store_is_whole(ask, shop.store)
    assert len(found) == PARTS
    gate_is_stored(plc, found, shop.names)
    ((before,),) = ask("SELECT bundle_sha256 FROM run")
    assert before != load(shop.bundle).sha256
