"""A tiny bundle that runs for real: its graph looks at the mean of red and blue, and nothing of it was learnt.

Classes "bad" and "good"; margin = log-odds of good = 20 × (red − blue) of the mean pixel, in [0, 1]. A red part is
accepted (margin ≥ 2), a blue one rejected (margin < −2), a grey one held.
"""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np

from lineside.bundle import folder
from lineside.bundle.manifest import Data, Input, Manifest, Served
from lineside.bundle.model import Model
from lineside.evidence.operating import OperatingPoint, choose

RED, BLUE, GREY = (200, 30, 30), (30, 30, 200), (128, 128, 128)
CLASSES = ("bad", "good")


def point() -> OperatingPoint:
    chosen = choose(np.array([-9.0, -8.0, 8.0, 9.0]), np.array([False, False, True, True]), max_escape=0.9)
    return replace(chosen, accept_at=2.0, reject_below=-2.0)


SERVED = (Served("onnxruntime", "float32", "model.onnx"),)


def manifest(accept=("good",), operating_point=None, files=None, served=SERVED) -> Manifest:
    return Manifest(
        format=1,
        task="classify",
        created="2026-11-22T13:00:00Z",
        classes=CLASSES,
        accept=accept,
        input=Input(16, (0.5,) * 3, (0.5,) * 3, 8, (16, 64), (16, 64)),
        net="tiny",
        temperature=1.0,
        served=served,
        data=Data(source="nowhere", root="", counts={}, sha256="0" * 64),
        files=files if files is not None else {"model.onnx": "0" * 64},
        operating_point=point() if operating_point is None and accept else operating_point,
    )


def logits_of(pictures: np.ndarray) -> np.ndarray:
    """(N, H, W, 3) uint8 → (N, 2) float32, in numpy: what `graph` computes."""
    mean = pictures.astype(np.float32).mean(axis=(1, 2)) / 255
    good = 10 * (mean[:, 0] - mean[:, 2])
    return np.stack([-good, good], axis=1).astype(np.float32)


def stub(infer=logits_of, path=Path("tiny.bundle"), **changed) -> Model:
    """A Model whose engine is a plain function."""
    return Model(path, manifest(**changed), "ab" * 32, Served("onnxruntime", "float32", "model.onnx"), infer)


def graph() -> bytes:
    """The same as ONNX, from raw pictures of any size."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.array([[-10, 10], [0, 0], [10, -10]], np.float32) / 255
    nodes = [
        helper.make_node("Cast", ["pictures"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    made = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["N", "H", "W", 3])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 2]),
        ],
        [
            numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
            numpy_helper.from_array(weights, "weights"),
        ],
    )
    return onnx.ModelProto.SerializeToString(
        helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    )


def write_bundle(
    path: Path, split: tuple[tuple[str, ...], ...] = (), extra: dict[str, bytes] | None = None, **changed
) -> Path:
    """A true bundle on disk. split: rows of split.csv (part, label, name, sha256, group). extra: more of its files."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("part", "label", "name", "sha256", "group"), *split])
    files = {"model.onnx": graph(), "split.csv": text.getvalue().encode(), **(extra or {})}
    listed = {name: folder.sha256(data) for name, data in files.items()}
    return folder.write(path, files, manifest(files=listed, **changed))


def picture(color, side=16) -> np.ndarray:
    return np.full((side, side, 3), color, np.uint8)


def png(color, side=16) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture(color, side)).save(out, "PNG")
    return out.getvalue()


def run(model, source, sinks, store, *, drift=None, deadline_ms=None, max_fps=None, parts=None, **given):
    """A line with one camera and one product."""
    from lineside.line.pace import Pace
    from lineside.line.run import run as run_line
    from lineside.line.view import only

    pace = Pace(deadline_ms=deadline_ms, max_fps=max_fps, parts=parts)
    return run_line(only(model, source, drift), sinks, store, pace=pace, **given)
