"""Engines agree, pin their precision, and speak to nobody."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from lineside.bundle import folder
from lineside.bundle.engine import ENGINES, open_model
from lineside.errors import BundleError
from tests.bundle.conftest import every_engine, needs_openvino


@pytest.fixture(scope="module")
def graph(pristine) -> bytes:
    return folder.open_bundle(pristine).read("model.onnx")


PICTURES = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)


@every_engine
def test_every_engine_gives_the_same_float32_answers(engine, graph, trained):
    from lineside.bundle.export import reference

    truth = reference(trained.net, trained.input, trained.temperature)(PICTURES)
    found = open_model(engine, graph, "float32", 1)(PICTURES)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, truth, atol=2e-5)


@every_engine
def test_an_answer_is_not_overwritten_by_the_next(engine, graph):
    infer = open_model(engine, graph, "float32", 1)
    first = infer(PICTURES[:1])
    kept = first.copy()
    infer(PICTURES[1:2])
    assert np.array_equal(first, kept)


@every_engine
def test_several_threads_may_share_an_engine(engine, graph):
    infer, found = open_model(engine, graph, "float32", 1), {}
    alone = [infer(one[None]) for one in PICTURES]

    def work(number: int) -> None:
        found[number] = [infer(PICTURES[i][None]) for i in [*range(3)] * 5 + [number]][-1]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(3):
        np.testing.assert_allclose(found[number], alone[number], atol=1e-6)


@every_engine
def test_an_engine_that_waits_leaves_the_processor_to_others(engine, graph):
    infer, burnt = open_model(engine, graph, "float32", 3), []
    for _ in range(5):
        infer(PICTURES)
        before = time.process_time()
        time.sleep(0.1)
        burnt.append(time.process_time() - before)
    assert np.median(burnt) < 0.01


@needs_openvino
def test_openvino_computes_in_the_precision_that_is_asked_for(graph):
    """OpenVINO takes bfloat16 by itself where the CPU has it: float32 must be float32 all the same."""
    exact = open_model("onnxruntime", graph, "float32", 1)(PICTURES)
    assert np.abs(open_model("openvino", graph, "float32", 1)(PICTURES) - exact).max() < 2e-5
    try:
        rounded = open_model("openvino", graph, "bfloat16", 1)(PICTURES)
    except BundleError as error:
        pytest.skip(str(error))  # no bfloat16 on this CPU, and it says so
    assert 2e-5 < np.abs(rounded - exact).max() < 0.2


@every_engine
@pytest.mark.parametrize("model", [b"", b"no model", b"\x08\x07"])
def test_what_is_no_model_is_refused(engine, model):
    with pytest.raises(BundleError, match=f"{engine} can not open the model"):
        open_model(engine, model, "float32", 1)


def made_by_hand(inputs: list[tuple[str, list]], output: str) -> bytes:
    """A graph that sums the pixels of its first input."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Cast", [inputs[0][0]], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["x"], [output], keepdims=0),
    ]
    made = helper.make_graph(
        nodes,
        "sum",
        [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [])],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


ANY = ["n", "height", "width", 3]


@every_engine
@pytest.mark.parametrize(
    ("inputs", "output"),
    [
        ([("pictures", ANY)], "answers"),
        ([("pictures", [1, 8, 8, 3])], "logits"),
    ],
)
def test_another_graph_than_ours_is_refused_by_a_sentence(engine, inputs, output):
    """When it is opened or when it is asked: never by an engine's own exception."""
    with pytest.raises(BundleError, match=f"{engine} (can not open the model|float32 gave no answer): .+"):
        open_model(engine, made_by_hand(inputs, output), "float32", 1)(PICTURES)


def test_onnxruntime_takes_one_input(graph):
    with pytest.raises(BundleError, match="onnxruntime can not open the model: too many values"):
        open_model("onnxruntime", made_by_hand([("pictures", ANY), ("more", ANY)], "logits"), "float32", 1)


def test_an_engine_that_fails_in_the_middle(graph, monkeypatch):
    def opened(model, precision, threads):
        def infer(pictures):
            raise RuntimeError("out of\nmemory")

        return infer

    monkeypatch.setitem(ENGINES, "onnxruntime", opened)
    with pytest.raises(BundleError, match=r"onnxruntime int8 gave no answer: out of memory; .* export it again"):
        open_model("onnxruntime", graph, "int8", 1)(PICTURES)


def test_onnxruntime_has_no_bfloat16(graph):
    with pytest.raises(BundleError, match="has no bfloat16 on CPUs; use --engine openvino"):
        open_model("onnxruntime", graph, "bfloat16", 1)


def test_an_unknown_engine(graph):
    with pytest.raises(BundleError, match="engine 'tensorrt' is not known; this program has: onnxruntime, openvino"):
        open_model("tensorrt", graph, "float32", 1)  # type: ignore[arg-type]


SILENCE = """
import os, sys
heard = []
def listen(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "subprocess.Popen",
                 "os.posix_spawn", "urllib.Request", "http.client.connect"):
        heard.append((event, str(args)[:200]))
sys.addaudithook(listen)
import numpy as np
from pathlib import Path
from lineside.bundle.engine import open_model
assert "torch" not in sys.modules
model = Path(sys.argv[1], "model.onnx").read_bytes()
picture = np.zeros((1, 40, 50, 3), np.uint8)
for engine in ("onnxruntime", "openvino"):
    open_model(engine, model, "float32", 1)(picture)
assert "torch" not in sys.modules
if sys.argv[2] == "quantise":
    from lineside.bundle.quantise import int8
    files = sorted(Path(sys.argv[3]).rglob("*.png"))[:20]
    for engine in ("onnxruntime", "openvino"):
        open_model(engine, int8(model, files), "int8", 1)(picture)
assert not heard, heard
assert not [m for m in sys.modules if m.startswith("openvino_telemetry.")]
"""


def silent(pristine, tmp_path, what: str, pictures: str = "") -> None:
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SILENCE, str(pristine), what, pictures],
        capture_output=True,
        text=True,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "telemetry" not in done.stderr
    # What speaks from C++ no hook of Python's sees; but it keeps a name for this device, and what it means to send.
    assert not [p for p in home.rglob("*") if p.is_file()]


@needs_openvino
def test_running_speaks_to_nobody_and_leaves_nothing_at_home(pristine, tmp_path):
    silent(pristine, tmp_path, "run")


@pytest.mark.slow
@needs_openvino
def test_quantising_speaks_to_nobody_either(pristine, tmp_path, trained):
    silent(pristine, tmp_path, "quantise", trained.source)
