"""The graph is the trained net: same answers for any N, H, W, same bytes twice, nothing of this machine inside."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save as save_tensors

from lineside.bundle import export, folder, model, parity
from lineside.bundle.engine import open_model
from lineside.errors import BundleError, ParityError
from lineside.nets.catalog import NETS
from lineside.nets.input import Input
from tests.nets.members import FINITE


def test_the_bundle_answers_as_the_trained_net(pristine, trained):
    reference = export.reference(trained.net, trained.input, trained.temperature)
    infer = model.load(pristine).infer
    rng = np.random.default_rng(0)
    for n, height, width in [(1, 36, 44), (1, 8, 8), (3, 120, 31), (2, 17, 300)]:
        pictures = rng.integers(0, 256, (n, height, width, 3), dtype=np.uint8)
        np.testing.assert_allclose(infer(pictures), reference(pictures), atol=2e-5)


def test_batched_is_single(pristine):
    infer = model.load(pristine).infer
    pictures = np.random.default_rng(1).integers(0, 256, (5, 40, 50, 3), dtype=np.uint8)
    np.testing.assert_allclose(infer(pictures), np.concatenate([infer(one[None]) for one in pictures]), atol=1e-5)


def test_logits_are_divided_by_the_temperature_and_scores_are_their_softmax(trained):
    import onnxruntime

    pictures = np.random.default_rng(2).integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)
    once, hot = (
        onnxruntime.InferenceSession(export.to_onnx(trained.net, trained.input, t)).run(None, {"pictures": pictures})
        for t in (1.0, 4.0)
    )
    np.testing.assert_allclose(once[0] / 4, hot[0], rtol=1e-5)
    np.testing.assert_allclose(hot[1], parity.scores(hot[0]), atol=1e-6)


def test_the_same_net_gives_the_same_bytes_and_nothing_of_this_machine(pristine, trained):
    written = folder.open_bundle(pristine).read("model.onnx")
    assert export.to_onnx(trained.net, trained.input, trained.temperature) == written
    graph = onnx.load_from_string(written)
    assert {p.key: p.value for p in graph.metadata_props}["task"] == "classify"
    assert not any(node.metadata_props or node.doc_string for node in graph.graph.node)
    assert b"site-packages" not in written
    assert b".py" not in written
    assert not any(one.external_data for one in graph.graph.initializer)


def test_rebuild_gives_the_net_back(pristine, trained):
    net, manifest = export.rebuild(pristine)
    pictures = np.random.default_rng(3).integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)
    settings = manifest.input
    again = export.reference(net, Input(settings.size_px, settings.mean, settings.std), manifest.temperature)
    first = export.reference(trained.net, trained.input, trained.temperature)
    assert np.array_equal(again(pictures), first(pictures))


def test_a_net_with_its_own_pooling_comes_back_with_it(bundle):
    first = NETS["resnet18"].make(2, 3.0).eval()
    tensors = {name: t.contiguous() for name, t in first.state_dict().items()}
    folder.replace(
        bundle, {"weights.safetensors": save_tensors(tensors)}, lambda m: replace(m, net="resnet18", pool_power=3.0)
    )
    again, x = export.rebuild(bundle)[0], torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(x), first(x))
        assert not torch.allclose(again(x), NETS["resnet18"].make(2).eval()(x))


def test_a_net_of_a_newer_program_is_refused(bundle):
    folder.replace(bundle, {}, lambda m: replace(m, net="resnet9000"))
    with pytest.raises(BundleError, match=r"resnet9000.*not one of this program's.*pip install --upgrade lineside"):
        export.rebuild(bundle)


def test_weights_of_another_net_are_refused(bundle):
    folder.replace(bundle, {}, lambda m: replace(m, net="resnet18"))
    with pytest.raises(BundleError, match=r"weights.safetensors: is not for resnet18"):
        export.rebuild(bundle)


def test_weights_changed_after_the_answers_are_refused_and_nothing_is_written(trained, decide, tmp_path):
    moved = replace(trained, logits=trained.logits + np.float32([0.01, 0]))
    with pytest.raises(ParityError, match=r"a score moved by .* \(allowed: 0.0001\).*unchanged"):
        export.write(moved, tmp_path / "no.bundle", decide=decide)
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_normalisation_is_refused(trained, decide, tmp_path):
    other = Input(trained.input.size_px, (0.1, 0.2, 0.3), (0.2, 0.2, 0.2))
    wrong = replace(trained, input=other, logits=trained.logits)
    (answers,) = parity.answers(
        [export.reference(trained.net, other, trained.temperature)], [p.path for p in trained.split.of("calibrate")]
    )
    with pytest.raises(BundleError, match="not normalised with the mean and std of lenet5"):
        export.write(replace(wrong, logits=answers.logits), tmp_path / "no.bundle", decide=lambda x: x.argmax(1))


def test_batch_norm_is_folded_and_the_exporter_keeps_quiet():
    script = (
        "import torch, onnx; from lineside.bundle.export import to_onnx; from lineside.nets.input import Input\n"
        "from torch import nn\n"
        "class Parted(nn.Module):\n"  # splits what it has learnt, as Swin-V2 does: the exporter says so every time
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.learnt = nn.Parameter(torch.randn(8))\n"
        "    def forward(self, x):\n"
        "        gain, bias = self.learnt.chunk(2)\n"
        "        return x * gain + bias\n"
        "net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1),"
        " nn.Flatten(), Parted(), nn.Linear(4, 2)).eval()\n"
        "g = onnx.load_from_string(to_onnx(net, Input(16, (.5, .5, .5), (.5, .5, .5)), 1.0))\n"
        "assert [n.op_type for n in g.graph.node].count('Conv') == 1\n"
        "assert not any(n.op_type in ('BatchNormalization', 'Resize') for n in g.graph.node)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FINITE if name != "lenet5"])
def test_every_small_net_in_every_float32_engine(name):
    torch.manual_seed(1)
    row = NETS[name]
    net, net_input = row.build(5).eval(), Input(row.size_px, row.mean, row.std)
    graph = export.to_onnx(net, net_input, 1.0)
    pictures = np.random.default_rng(4).integers(0, 256, (2, 100, 90, 3), dtype=np.uint8)
    truth = export.reference(net, net_input, 1.0)(pictures)
    for engine in ("onnxruntime", "openvino"):
        found = open_model(engine, graph, "float32", 2)(pictures)
        assert np.abs(found - truth).max() <= 1e-4 * max(1, np.abs(truth).max())
