"""A small inspection without torch: pictures of coloured blocks, and a bundle whose net is the mean colour.

The graph is made by hand: uint8 (N, H, W, 3) → mean over the picture → one linear layer → logits, scores. Its classes:
"blue" and "green" (may pass) and "red" (bad); colours overlap, so it makes errors.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from lineside.bundle import folder, parity
from lineside.bundle.engine import open_model
from lineside.bundle.manifest import Data, Input, Manifest, Served
from lineside.bundle.model import load
from lineside.data.doctor import check
from lineside.data.read import Picture, read
from lineside.data.split import split, write_csv
from lineside.evidence.operating import choose
from lineside.tasks.classify.decode import margin

CLASSES = ("blue", "green", "red")
ACCEPT = ("blue", "green")
SIDE = 32


def picture(rng: np.random.Generator, label: str, strength: float) -> Image.Image:
    """Coarse random blocks, so that no two are near duplicates, with `strength` more of the label's colour."""
    blocks = rng.integers(40, 200, size=(8, 8, 1)).repeat(3, axis=2).astype(np.float64)
    blocks += rng.normal(0, 12, size=blocks.shape)
    blocks[:, :, ("red", "green", "blue").index(label)] += strength
    pixels = np.clip(blocks, 0, 255).astype(np.uint8).repeat(SIDE // 8, axis=0).repeat(SIDE // 8, axis=1)
    return Image.fromarray(pixels)


def fill(root: Path, counts: dict[str, int], seed: int, strength: float = 20.0) -> Path:
    """Pictures into root/<label>/<number>.png."""
    rng = np.random.default_rng(seed)
    for label, count in counts.items():
        (root / label).mkdir(parents=True)
        for i in range(count):
            picture(rng, label, rng.normal(strength, 9)).save(root / label / f"{seed}-{i:03}.png")
    return root


def graph(scale: float = 0.25) -> bytes:
    """The net as ONNX: logits are the mean of each class's colour, less the mean of all, times scale."""
    weight = np.zeros((3, 3), np.float32)  # RGB rows, class columns
    for column, row in enumerate((2, 1, 0)):
        weight[:, column] = -scale / 3
        weight[row, column] += scale
    nodes = [
        helper.make_node("Cast", ["pictures"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    made = helper.make_graph(
        nodes,
        "colour",
        [helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["n", "height", "width", 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("logits", "scores")],
        [numpy_helper.from_array(np.array([1, 2], np.int64), "axes"), numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def make_bundle(path: Path, data: Path, accept: tuple[str, ...] = ACCEPT, shares=(0.3, 0.4, 0.3)) -> Path:
    """A bundle of the colour net, calibrated on a real split of data."""
    parts = split(check(read(str(data)), workers=1), seed=0, shares=shares)
    model = graph()
    infer = open_model("onnxruntime", model, "float32", 1)
    calibrate: tuple[Picture, ...] = parts.of("calibrate")
    logits = parity.answers([infer], [p.path for p in calibrate])[0].logits
    labels = np.array([CLASSES.index(p.label) for p in calibrate])
    passing = [CLASSES.index(name) for name in accept]
    truth = parity.Reference(
        tuple(p.name for p in calibrate), tuple(p.label for p in calibrate), CLASSES, accept, logits
    )
    write_csv(parts, path.with_suffix(".split.csv"))
    files = {
        "model.onnx": model,
        "split.csv": path.with_suffix(".split.csv").read_bytes(),
        "calibrate.csv": parity.write_reference(truth),
        "parity.json": json.dumps([]).encode(),
    }
    manifest = Manifest(
        format=1,
        task="classify",
        created="2026-11-22T13:00:00Z",
        classes=CLASSES,
        accept=accept,
        input=Input(SIDE, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 16, (SIDE, SIDE), (SIDE, SIDE)),
        net="colour",
        temperature=1.5,
        served=(Served("onnxruntime", "float32", "model.onnx"),),
        data=Data(
            source=str(data),
            root=str(data),
            counts={"calibrate": {c: int((labels == i).sum()) for i, c in enumerate(CLASSES)}},
            sha256="0" * 64,
        ),
        files=dict.fromkeys(files, "0" * 64),
        operating_point=choose(margin(logits, passing), np.isin(labels, passing), max_escape=0.05) if accept else None,
    )
    return folder.write(path, files, manifest)


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 pictures in folders blue, green, red."""
    return fill(tmp_path_factory.mktemp("colours") / "data", {"blue": 80, "green": 70, "red": 150}, seed=1)


@pytest.fixture(scope="session")
def _made(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "colour.bundle", colours)


@pytest.fixture
def bundle(_made: Path, tmp_path: Path) -> Path:
    """A fresh copy of the bundle made from `colours`."""
    return folder.pack(_made, tmp_path / "colour.bundle")


@pytest.fixture(scope="session")
def _made_sorter(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("sorter") / "sorter.bundle", colours, accept=())


@pytest.fixture
def sorter(_made_sorter: Path, tmp_path: Path) -> Path:
    """A fresh copy of a bundle that accepts nothing."""
    return folder.pack(_made_sorter, tmp_path / "sorter.bundle")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """make("name", counts, seed=…) → a folder of new pictures."""
    return lambda name, counts, **how: fill(tmp_path / name, counts, **how)


@pytest.fixture
def change() -> Callable[..., None]:
    """change(bundle, files={…}, **manifest fields): rewrite a bundle in place."""

    def do(path: Path, files: dict[str, bytes] | None = None, **fields) -> None:
        folder.replace(path, files or {}, lambda now: replace(now, **fields))
        load(path)

    return do
