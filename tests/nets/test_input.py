"""Input equals torch's antialiased bilinear, and every engine computes the same."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lineside.nets.input import Input, windows

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LEVEL = 1e-5 * 255  # of a picture's 0..255


def pictures(n: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (n, height, width, 3), dtype=torch.uint8, generator=torch.manual_seed(seed))


def levels(module: Input, x: torch.Tensor) -> torch.Tensor:
    """What comes out, before normalising, in 0..255."""
    return (module(x) - module.shift) / module.gain


def reference(x: torch.Tensor, size: int) -> torch.Tensor:
    planes = x.permute(0, 3, 1, 2).double()
    return F.interpolate(planes, (size, size), mode="bilinear", antialias=True, align_corners=False).float()


@given(height=st.integers(1, 90), width=st.integers(1, 90), size=st.integers(1, 48), n=st.integers(1, 2))
@settings(max_examples=60, deadline=None)
def test_equals_antialiased_bilinear_for_any_shape(height, width, size, n):
    x = pictures(n, height, width)
    torch.testing.assert_close(levels(Input(size, MEAN, STD), x), reference(x, size), atol=LEVEL, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(700, 513), (1024, 1000), (128, 128), (29, 401)])
def test_equals_antialiased_bilinear_at_camera_sizes(height, width):
    x = pictures(1, height, width)
    torch.testing.assert_close(levels(Input(224, MEAN, STD), x), reference(x, 224), atol=LEVEL, rtol=0)


def test_the_size_of_the_net_passes_unchanged_and_normalised_as_torchvision_does():
    x = pictures(2, 64, 64)
    expected = (x.permute(0, 3, 1, 2) / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(Input(64, MEAN, STD)(x), expected, atol=2e-6, rtol=0)


def test_a_flat_picture_stays_flat_and_a_batch_equals_its_pictures():
    flat = torch.full((1, 37, 91, 3), 200, dtype=torch.uint8)
    torch.testing.assert_close(levels(Input(16, MEAN, STD), flat), torch.full((1, 3, 16, 16), 200.0))
    x, module = pictures(3, 50, 41), Input(16, MEAN, STD)
    torch.testing.assert_close(module(x), torch.cat([module(x[i : i + 1]) for i in range(3)]), atol=2e-6, rtol=0)


@given(length=st.integers(1, 300), size=st.integers(1, 60))
@settings(max_examples=150, deadline=None)
def test_windows_hold_the_whole_filter(length, size):
    """Rows are means, and together they are the dense triangle: no weight lies outside a window."""
    first, weight = windows(length, size, torch.device("cpu"))
    blocks, block, taps = weight.shape
    assert (first >= 0).all()
    assert (first + taps <= length).all()
    got = torch.zeros(blocks * block, length)
    for b in range(blocks):
        got[b * block : (b + 1) * block, first[b] : first[b] + taps] = weight[b]
    centre_in = torch.arange(length, dtype=torch.float64) + 0.5
    centre_out = ((torch.arange(size, dtype=torch.float64) + 0.5) * length / size).clamp(max=centre_in[-1])
    dense = (1 - (centre_in - centre_out[:, None]).abs() / max(length / size, 1)).clamp(min=0)
    torch.testing.assert_close(got[:size].double(), dense / dense.sum(1, keepdim=True), atol=1e-6, rtol=0)
    torch.testing.assert_close(got.sum(1), torch.ones(blocks * block))


def test_nothing_of_it_is_learnt_or_saved():
    assert not Input(64, MEAN, STD).state_dict()
    assert not list(Input(64, MEAN, STD).parameters())


@pytest.mark.filterwarnings("ignore::FutureWarning:copyreg")  # torch.export copies a deprecated LeafSpec of its own
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of onnxscript and openvino themselves
def test_one_graph_gives_the_same_in_torch_onnxruntime_and_openvino(tmp_path):
    ort = pytest.importorskip("onnxruntime")
    ov = pytest.importorskip("openvino")
    module, path, free = Input(96, MEAN, STD).eval(), tmp_path / "input.onnx", torch.export.Dim.DYNAMIC
    torch.onnx.export(
        module,
        (pictures(2, 64, 80),),  # a batch of 1 would be baked into the graph
        path,
        dynamo=True,
        verbose=False,
        input_names=["pictures"],
        dynamic_shapes=({0: free, 1: free, 2: free},),
    )
    session = ort.InferenceSession(path)
    compiled, coarse = (
        ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": hint}) for hint in ("f32", "bf16")
    )
    for n, height, width in [(1, 96, 96), (3, 33, 57), (1, 300, 211), (2, 192, 192), (1, 701, 640)]:
        x = pictures(n, height, width, seed=height)
        expected = module(x).numpy()
        assert expected.shape == (n, 3, 96, 96)
        np.testing.assert_allclose(session.run(None, {"pictures": x.numpy()})[0], expected, atol=1e-5)
        np.testing.assert_allclose(compiled(x.numpy())[0], expected, atol=1e-5)
        # bf16 has 8 bits: about 4 of a picture's 255 levels, but never another place in the picture
        np.testing.assert_allclose(coarse(x.numpy())[0], expected, atol=0.08)
