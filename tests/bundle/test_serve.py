"""Another engine is added if parity allows it, comes first if it is faster, and is refused with a table otherwise."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from lineside.bundle import export, folder, model, parity, samples, serve
from lineside.bundle.engine import ENGINES
from lineside.bundle.verify import verify
from lineside.cli.main import main
from lineside.data import picture
from lineside.errors import BundleError, MissingExtra, ParityError
from lineside.tasks.classify.decode import verdicts
from tests.bundle.conftest import every_engine, needs_openvino

QUICK, SLOW = 1.0, 9.0  # ms, as answered by the patched clock


@pytest.fixture
def judge(decide):
    return lambda manifest: decide


@pytest.fixture
def takes(monkeypatch):
    """Make engines look quick or slow: serve compares medians, and this machine's are noise."""
    real = parity.answers

    def set_times(*ms: float) -> None:
        def answers(engines, files, progress=parity.silent):
            return [
                replace(a, ms=np.full_like(a.ms, t)) for a, t in zip(real(engines, files, progress), ms, strict=True)
            ]

        monkeypatch.setattr(parity, "answers", answers)

    return set_times


@needs_openvino
def test_a_faster_engine_comes_first_and_says_so(bundle, judge, takes):
    takes(QUICK, SLOW)
    outcome = serve.serve(bundle, "openvino", "float32", judge, threads=1)
    assert outcome.first
    assert "openvino float32 runs from now on: 1.00 ms a picture, onnxruntime float32 9.00 ms" in outcome.sentence
    manifest = folder.open_bundle(bundle).manifest
    assert [(s.engine, s.precision) for s in manifest.served] == [("openvino", "float32"), ("onnxruntime", "float32")]
    assert model.load(bundle).served.engine == "openvino"
    assert model.load(bundle, engine="onnxruntime").served.engine == "onnxruntime"
    rows = parity.read_rows((bundle / "parity.json").read_bytes(), "p")
    assert [row.engine for row in rows] == ["onnxruntime", "openvino"]
    assert all(check.ok for check in verify(bundle))
    assert len([c for c in verify(bundle) if "openvino float32: 12 pictures" in c.found]) == 1


@needs_openvino
def test_a_slower_engine_is_kept_behind(bundle, judge, takes):
    takes(SLOW, QUICK)
    outcome = serve.serve(bundle, "openvino", "float32", judge, threads=1)
    assert not outcome.first
    assert "not the faster one" in outcome.sentence
    assert model.load(bundle).served.engine == "onnxruntime"
    assert model.load(bundle, engine="openvino").served.latency.median_ms == SLOW


@needs_openvino
def test_twice_is_once(bundle, judge, takes):
    takes(QUICK, SLOW)
    serve.serve(bundle, "openvino", "float32", judge, threads=1)
    outcome = serve.serve(bundle, "openvino", "float32", judge, threads=1)
    assert "still runs" in outcome.sentence
    assert len(folder.open_bundle(bundle).manifest.served) == 2
    assert len(parity.read_rows((bundle / "parity.json").read_bytes(), "p")) == 2


@every_engine
def test_int8_is_another_model_in_the_bundle(bundle, judge, takes, engine):
    takes(QUICK, SLOW)
    outcome = serve.serve(bundle, engine, "int8", judge, threads=1)
    assert outcome.row.paired is not None
    assert outcome.row.paired.shown
    assert "not inferior" in outcome.sentence
    served = model.load(bundle, threads=1).served
    assert (served.engine, served.precision, served.file) == (engine, "int8", f"model-{engine}-int8.onnx")
    assert 0 < outcome.row.score_max < 0.2
    assert all(check.ok for check in verify(bundle)), verify(bundle)


def test_int8_leaves_the_resize_and_the_last_layer_in_float(pristine, trained):
    import onnx

    from lineside.bundle.quantise import float_nodes, int8

    float_model = folder.open_bundle(pristine).read("model.onnx")
    stay = float_nodes(onnx.load_from_string(float_model))
    graph = onnx.load_from_string(int8(float_model, [p.path for p in trained.split.of("calibrate")][:20]))
    made = {out: node for node in graph.graph.node for out in node.output}
    nodes = {node.name: node for node in graph.graph.node}
    matrix = [nodes[name] for name in stay if name in nodes and nodes[name].op_type in ("MatMul", "Gemm", "Softmax")]
    assert len(matrix) == 4  # two of the resize, the last layer, the scores
    for node in matrix[:2] + matrix[3:]:
        assert not any(one in made and made[one].op_type == "DequantizeLinear" for one in node.input)
    convolutions = [node for node in graph.graph.node if node.op_type == "Conv"]
    assert convolutions
    assert all(made[node.input[1]].op_type == "DequantizeLinear" for node in convolutions)


def test_int8_feeds_its_first_convolution_with_the_very_picture_that_float_does(trained):
    """The two matrix products of Input's resize are not quantised; only their result is."""
    import onnx
    import torch

    from lineside.bundle import export
    from lineside.bundle.quantise import int8
    from lineside.nets.catalog import NETS
    from lineside.nets.input import Input

    row, files = NETS["resnet20"], [p.path for p in trained.split.of("calibrate")]
    entry = Input(row.size_px, row.mean, row.std).eval()
    graph = onnx.load_from_string(int8(export.to_onnx(row.build(2).eval(), entry, 1.0), files[:20]))
    made = {out: node for node in graph.graph.node for out in node.output}
    products = [node for node in graph.graph.node if node.op_type == "MatMul"]
    assert len(products) == 2
    assert not any(made[one].op_type == "DequantizeLinear" for node in products for one in node.input)
    first = next(node for node in graph.graph.node if node.op_type == "QuantizeLinear").input[0]
    assert first in made
    del graph.graph.output[:]
    graph.graph.output.append(onnx.helper.make_tensor_value_info(first, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    for file in files[-3:]:
        pictures = picture.load(file)[None]
        expected = entry(torch.from_numpy(pictures)).numpy()
        np.testing.assert_allclose(session.run(None, {"pictures": pictures})[0], expected, atol=1e-5)


def test_lots_of_the_split_are_no_independent_witnesses(bundle, judge, monkeypatch):
    monkeypatch.setattr("lineside.bundle.serve.groups_of", lambda names, split: ("one lot",) * len(names))
    with pytest.raises(ParityError, match="so worth 1 independent ones"):
        serve.serve(bundle, "onnxruntime", "int8", judge, threads=1)


def test_int8_for_an_engine_that_is_not_installed_is_refused_before_the_work(bundle, judge, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr("lineside.bundle.quantise.int8", lambda *_: pytest.fail("was quantised"))
    with pytest.raises(MissingExtra, match=r"pip install 'lineside\[openvino\]'"):
        serve.serve(bundle, "openvino", "int8", judge, threads=1)


def perturbed(monkeypatch, change) -> None:
    """An openvino whose answers are changed."""
    real = ENGINES["openvino"]

    def bad(*args):
        infer = real(*args)
        return lambda pictures: change(infer(pictures))

    monkeypatch.setitem(ENGINES, "openvino", bad)


@needs_openvino
@pytest.mark.parametrize(
    ("precision", "change", "message"),
    [
        ("float32", lambda x: x + np.float32([0.01, 0]), r"a score moved by .*allowed: 0.0001"),
        ("float32", lambda x: x[:, ::-1], "160 labels and 160 verdicts of 160 changed"),
        ("float32", lambda x: x * np.nan, "an answer is not finite"),
        ("int8", lambda x: np.abs(x) * np.float32([-1, 1]), "80 bad parts would escape"),
        ("int8", lambda x: x + np.float32([9, 0]), "not shown to be as good: 80 of 160 pictures lost"),
    ],
)
def test_a_perturbed_engine_is_refused_with_the_table_and_the_bundle_unchanged(
    bundle, judge, monkeypatch, precision, change, message
):
    before = (bundle / "manifest.json").read_bytes()
    perturbed(monkeypatch, change)
    with pytest.raises(ParityError, match=message) as refusal:
        serve.serve(bundle, "openvino", precision, judge, threads=1)
    assert "max |Δ score|" in str(refusal.value)
    assert (bundle / "manifest.json").read_bytes() == before
    assert all(check.ok for check in verify(bundle))


def test_pictures_that_were_moved_are_found_with_data(bundle, judge, trained, tmp_path, takes):
    takes(QUICK, SLOW)
    moved = Path(shutil.copytree(trained.source, tmp_path / "moved"))
    folder.replace(bundle, {}, lambda m: replace(m, data=replace(m.data, source="gone", root=str(tmp_path / "gone"))))
    with pytest.raises(BundleError, match=r"is not there \(160 missing and 0 changed of 160 calibrate.*--data DATA"):
        serve.serve(bundle, "onnxruntime", "float32", judge, threads=1)
    serve.serve(bundle, "onnxruntime", "float32", judge, data=str(moved), threads=1)
    first = trained.split.of("calibrate")[0]
    (moved / first.name).write_bytes((moved / trained.split.of("calibrate")[1].name).read_bytes())
    with pytest.raises(
        BundleError, match=r"is another picture than the bundle was made with \(0 missing and 1 changed"
    ):
        serve.serve(bundle, "onnxruntime", "float32", judge, data=str(moved), threads=1)


def test_a_bundle_made_again_meanwhile_is_not_overwritten(bundle, judge, monkeypatch):
    real = parity.answers

    def meanwhile(engines, files, progress=parity.silent):
        found = real(engines, files, progress)
        other = (bundle / "model.onnx").read_bytes() + b"\x00"
        folder.replace(bundle, {"model.onnx": other}, lambda m: m)
        return found

    monkeypatch.setattr(parity, "answers", meanwhile)
    with pytest.raises(BundleError, match="was changed while this export ran; run the export again"):
        serve.serve(bundle, "onnxruntime", "float32", judge, threads=1)
    assert len(folder.open_bundle(bundle).manifest.served) == 1


def other_point(manifest):
    return {"operating_point": replace(manifest.operating_point, accept_at=manifest.operating_point.accept_at + 1)}


def other_engine(manifest):
    return {"served": (*manifest.served, replace(manifest.served[0], engine="openvino"))}


@pytest.mark.parametrize("change", [other_point, other_engine])
def test_thresholds_or_engines_that_came_meanwhile_are_not_lost(bundle, judge, monkeypatch, change):
    """Parity was shown for other thresholds, or the rows of the other engine's proof were read before it came."""
    real = parity.answers

    def meanwhile(engines, files, progress=parity.silent):
        folder.replace(bundle, {}, lambda m: replace(m, **change(m)))
        return real(engines, files, progress)

    monkeypatch.setattr(parity, "answers", meanwhile)
    with pytest.raises(BundleError, match="was changed while this export ran; run the export again"):
        serve.serve(bundle, "onnxruntime", "float32", judge, threads=1)


def test_another_operating_point_withdraws_what_was_proved_for_the_old_one(bundle, judge, takes):
    takes(QUICK, SLOW)
    served, files = serve.withdraw(folder.open_bundle(bundle))
    assert (served, files) == (folder.open_bundle(bundle).manifest.served, {})
    serve.serve(bundle, "onnxruntime", "int8", judge, threads=1)
    served, files = serve.withdraw(folder.open_bundle(bundle))
    folder.replace(bundle, files, lambda m: replace(m, served=served))
    manifest = folder.open_bundle(bundle).manifest
    assert [(s.engine, s.precision, s.file) for s in manifest.served] == [("onnxruntime", "float32", "model.onnx")]
    assert not [name for name in manifest.files if "int8" in name]
    assert [row.precision for row in parity.read_rows((bundle / "parity.json").read_bytes(), "p")] == ["float32"]
    rows = samples.read_expected((bundle / samples.EXPECTED).read_bytes(), "s")
    assert {key for row in rows for key in row.logits} == {"onnxruntime float32"}
    assert all(check.ok for check in verify(bundle))


def test_samples_that_answer_otherwise_fail_verify(bundle):
    rows = samples.read_expected((bundle / samples.EXPECTED).read_bytes(), "s")
    name = samples.key("onnxruntime", "float32")
    off = [replace(one, logits={name: (one.logits[name][0] + 0.5, one.logits[name][1])}) for one in rows]
    folder.replace(bundle, {samples.EXPECTED: samples.write_expected(off)}, lambda m: m)
    last = verify(bundle)[-1]
    assert not last.ok
    assert "answers differently on this machine: a score is off by" in last.found


# -------------------------------------------------------------------------------------------------------- command line


@needs_openvino
def test_the_commands(bundle, trained, capsys, tmp_path):
    from tests.bundle.test_signature import key_pair

    private, public = key_pair(tmp_path)
    assert main(["verify", str(bundle)]) == 0
    assert "good" in capsys.readouterr().out
    assert main(["export", str(bundle), "--engine", "openvino", "--sign", str(private)]) == 0
    out = capsys.readouterr().out
    assert "openvino     float32 " in out
    assert "signed by" in out
    assert main(["export", str(bundle), "-o", str(tmp_path / "parts.zip")]) == 0
    capsys.readouterr()
    assert main(["verify", str(tmp_path / "parts.zip"), "--key", str(public), "--json"]) == 0
    import json

    found = json.loads(capsys.readouterr().out)
    assert found["good"]
    assert [one["name"] for one in found["checks"]] == ["format", "hashes", "signature", "evidence", "samples"]


@needs_openvino
def test_the_decisions_of_a_bundle_that_only_sorts_are_its_labels(trained, tmp_path, monkeypatch, capsys):
    """It accepts nothing, whatever its classes are called; a label that changes is a decision that changes."""
    only = replace(trained, accept=(), operating_point=None)
    of = verdicts(only.classes, only.accept, only.operating_point)
    assert of(np.array([[1, 0], [0, 1], [np.nan, 0]])).tolist() == ["bad part", "good", "reject"]
    sorter = tmp_path / "sorter.bundle"
    export.write(only, sorter, decide=of, threads=1)
    assert main(["export", str(sorter), "--engine", "openvino"]) == 0
    (row,) = [r for r in parity.read_rows((sorter / "parity.json").read_bytes(), "p") if r.engine == "openvino"]
    assert {moved.was for moved in row.worst} <= set(trained.classes)
    perturbed(monkeypatch, lambda x: x[:, ::-1])
    assert main(["export", str(sorter), "--engine", "openvino"]) == 1
    assert "160 labels and 160 verdicts of 160 changed" in capsys.readouterr().err


@needs_openvino
def test_exit_codes(bundle, capsys, tmp_path, monkeypatch):
    assert main(["verify", str(tmp_path / "none")]) == 4
    assert main(["export", str(bundle)]) == 2
    assert "nothing to do: give --engine, --sign or -o" in capsys.readouterr().err
    assert main(["export", str(bundle), "--int8"]) == 2
    assert "add --engine" in capsys.readouterr().err
    for engines in ([], ["--engine", "onnxruntime"]):
        assert main(["export", str(bundle), "--precision", "bfloat16", *engines]) == 2
        assert "--precision bfloat16 is for --engine openvino" in capsys.readouterr().err
    assert main(["export", str(bundle), "--data", "nuts:"]) == 2
    assert "--data is where parity finds the calibrate pictures: add --engine" in capsys.readouterr().err
    perturbed(monkeypatch, lambda x: x[:, ::-1])
    assert main(["export", str(bundle), "--engine", "openvino"]) == 1
    assert "160 verdicts of 160 changed" in capsys.readouterr().err
    (bundle / "model.onnx").write_bytes(b"tampered")
    assert main(["verify", str(bundle)]) == 1
    assert "do not use it" in capsys.readouterr().out
    (bundle / "weights.pt").write_bytes(b"x")
    assert main(["verify", str(bundle)]) == 4
    assert "is a pickle" in capsys.readouterr().err


@needs_openvino
def test_a_change_of_a_signed_bundle_says_that_the_signature_is_gone(bundle, capsys, tmp_path):
    from tests.bundle.test_signature import key_pair

    assert main(["export", str(bundle), "--sign", str(key_pair(tmp_path)[0])]) == 0
    assert main(["export", str(bundle), "--engine", "openvino"]) == 0
    assert "the bundle has changed and lost its signature: sign it with --sign KEY" in capsys.readouterr().err


def test_a_copy_of_a_signed_bundle_says_that_the_copy_is_not_signed(bundle, capsys, tmp_path):
    from tests.bundle.test_signature import key_pair

    assert main(["export", str(bundle), "--sign", str(key_pair(tmp_path)[0])]) == 0
    out = tmp_path / "other.zip"
    assert main(["export", str(bundle), "--engine", "onnxruntime", "-o", str(out)]) == 0
    said = capsys.readouterr().err
    assert f"{out} is not signed: sign it with --sign KEY" in said
    assert "lost" not in said
    assert folder.open_bundle(bundle).signed_by()


@pytest.mark.parametrize("expected", [b"[]", b"{}", b"[1]", b"null", b"\xff"])
def test_without_an_expected_answer_the_samples_are_not_verified(bundle, expected):
    folder.replace(bundle, {samples.EXPECTED: expected}, lambda m: m)
    (check,) = (check for check in verify(bundle) if check.name == "samples")
    assert not check.ok
    assert "samples/expected.json: not a table of expected answers" in check.found


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("split.csv", b"hello", r"parts\.bundle: split\.csv, line 1: has the columns hello; .*from its source again"),
        ("calibrate.csv", b"name,label,logit bad part,logit good\r\n", r"calibrate\.csv: .*: it holds no picture"),
        ("model.onnx", b"no model", r"parts\.bundle: model\.onnx: onnxruntime can not open the model"),
        ("parity.json", b"[1]", r"parts\.bundle: parity\.json: not a parity table"),
    ],
)
def test_a_damaged_file_is_named_before_any_picture_is_looked_at(bundle, judge, monkeypatch, name, data, message):
    folder.replace(bundle, {name: data}, lambda m: m)
    monkeypatch.setattr(parity, "answers", lambda *_: pytest.fail("pictures were looked at"))
    with pytest.raises(BundleError, match=message):
        serve.serve(bundle, "onnxruntime", "float32", judge, threads=1)


@needs_openvino
def test_out_leaves_the_bundle_as_it_is(bundle, tmp_path):
    before = (bundle / "manifest.json").read_bytes()
    assert main(["export", str(bundle), "--engine", "openvino", "-o", str(tmp_path / "other.zip")]) == 0
    assert (bundle / "manifest.json").read_bytes() == before
    assert len(folder.open_bundle(tmp_path / "other.zip").manifest.served) == 2
