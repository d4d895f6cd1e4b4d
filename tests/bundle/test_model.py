"""What the line loads: quick, torch-free, and strict about what it is given."""

import subprocess
import sys

import numpy as np
import pytest

from lineside.bundle import folder, model
from lineside.errors import BundleError, PictureError


def test_a_folder_and_its_archive_answer_alike(bundle, tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)
    archive = folder.pack(bundle, tmp_path / "a.zip")
    assert np.array_equal(model.load(bundle).infer(pictures), model.load(archive).infer(pictures))
    assert model.load(bundle).sha256 == model.load(archive).sha256 == folder.open_bundle(bundle).sha256


def test_no_torch(pristine):
    script = "import sys; from lineside.bundle.model import load; load(sys.argv[1]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script, str(pristine)], check=True)


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (np.zeros((1, 40, 40, 3), np.float32), "expected pictures as uint8, 0 to 255, got float32"),
        ([[1]], "expected pictures as uint8, 0 to 255, got list"),
        (np.zeros((40, 40, 3), np.uint8), r"expected pictures as \(N, H, W, 3\) RGB, got the shape \(40, 40, 3\)"),
        (np.zeros((1, 3, 40, 40), np.uint8), r"\(N, H, W, 3\)"),
        (np.zeros((0, 40, 40, 3), np.uint8), r"\(N, H, W, 3\)"),
        (np.zeros((1, 40, 40, 1), np.uint8), r"\(N, H, W, 3\)"),
        (np.zeros((1, 7, 40, 3), np.uint8), "the picture is 40×7 pixels; this bundle takes sides of at least 8"),
    ],
)
def test_what_is_no_picture_is_refused(pristine, pictures, message):
    with pytest.raises(PictureError, match=message):
        model.load(pristine).infer(pictures)


def test_a_view_that_is_not_contiguous_is_answered_as_its_copy(pristine):
    pictures = np.random.default_rng(0).integers(0, 256, (1, 80, 100, 3), dtype=np.uint8)
    infer = model.load(pristine).infer
    assert np.array_equal(infer(pictures[:, ::2, ::2]), infer(pictures[:, ::2, ::2].copy()))
    assert np.array_equal(infer(pictures[..., ::-1]), infer(pictures[..., ::-1].copy()))


def test_an_engine_that_parity_never_saw_is_refused(pristine):
    with pytest.raises(
        BundleError,
        match=r"never shown for openvino, only for onnxruntime float32; try it with: lineside export .*openvino",
    ):
        model.load(pristine, engine="openvino")
    with pytest.raises(BundleError, match=r"never shown for int8.*--int8"):
        model.load(pristine, precision="int8")


def test_a_tampered_model_is_refused_before_it_is_opened(bundle):
    data = bytearray((bundle / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / "model.onnx").write_bytes(data)
    with pytest.raises(BundleError, match=r"parts.bundle: model\.onnx: was changed or damaged: its sha256 is"):
        model.load(bundle)


def test_a_model_with_other_classes_than_the_manifest_is_refused(bundle):
    from dataclasses import replace

    folder.replace(bundle, {}, lambda m: replace(m, classes=("bad part", "good", "ugly")))
    with pytest.raises(BundleError, match=r"answers of shape \(1, 2\), the manifest's 3 classes"):
        model.load(bundle).infer(np.zeros((1, 40, 40, 3), np.uint8))


def test_a_model_that_the_engine_can_not_open_names_the_file(bundle):
    folder.replace(bundle, {"model.onnx": b"no model"}, lambda m: m)
    with pytest.raises(BundleError, match=r"parts.bundle: model\.onnx: onnxruntime can not open the model"):
        model.load(bundle)
