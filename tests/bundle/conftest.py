"""A small data set, a small net with an operating point, and the bundle made of them: once for the whole folder."""

import hashlib
import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lineside.bundle import export, parity
from lineside.bundle.engine import ENGINES
from lineside.bundle.export import Trained
from lineside.data.read import Picture
from lineside.data.split import Split
from lineside.evidence.intervals import clopper_pearson
from lineside.evidence.operating import OperatingPoint, choose, zones
from lineside.nets.catalog import NETS
from lineside.nets.input import Input
from lineside.tasks.classify.decode import margin

NET, CLASSES, ACCEPT, TEMPERATURE = "lenet5", ("bad part", "good"), ("good",), 1.25
N_CALIBRATE = 160

needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
every_engine = pytest.mark.parametrize(
    "engine", [pytest.param(name, marks=needs_openvino if name == "openvino" else ()) for name in ENGINES]
)


def decider(point: OperatingPoint):
    return lambda logits: zones(margin(logits, [1]), point)


@pytest.fixture(scope="session")
def split(tmp_path_factory) -> Split:
    """Good pictures are bright on the left, bad ones on the right, all of them noisy; names with spaces and umlauts."""
    root, rng, pictures, parts, contents = tmp_path_factory.mktemp("data set"), np.random.default_rng(3), [], [], []
    for number in range(N_CALIBRATE + 8):
        label = CLASSES[number % 2]
        pixels = rng.integers(0, 90, (36 + number % 3, 44, 3))
        pixels[:, :22] += 120 * (label == "good")
        pixels[:, 22:] += 120 * (label != "good")
        file = root / label / f"größe {number:03}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(file)
        pictures.append(Picture(file, f"{label}/{file.name}", label))
        parts.append("calibrate" if number < N_CALIBRATE else "train" if number % 4 < 2 else "test")
        contents.append(hashlib.sha256(file.read_bytes()).hexdigest())
    return Split(tuple(pictures), tuple(parts), tuple(contents), 0, "by hand")


@pytest.fixture(scope="session")
def trained(split: Split) -> Trained:
    """LeNet-5 whose last layer is fitted, by least squares, to tell left from right."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the machine is shared; a small net gains nothing by more
    row = NETS[NET]
    net, net_input = row.build(len(CLASSES)).eval(), Input(row.size_px, row.mean, row.std)
    calibrate = split.of("calibrate")
    good = np.array([one.label == "good" for one in calibrate])
    body = torch.nn.Sequential(*net[:-1], *net[-1][:-1])
    with torch.inference_mode():
        x = torch.cat([body(net_input(_pixels(one))).flatten(1) for one in calibrate]).numpy()
    design, wanted = np.c_[x, np.ones(len(x))], np.where(np.c_[~good, good], 3.0, -3.0)
    weights = np.linalg.lstsq(design.T @ design + 1e-3 * np.eye(design.shape[1]), design.T @ wanted, rcond=None)[0]
    with torch.no_grad():
        net[-1][-1].weight.copy_(torch.from_numpy(weights[:-1].T.astype(np.float32)))
        net[-1][-1].bias.copy_(torch.from_numpy(weights[-1].astype(np.float32)))
    (answers,) = parity.answers([export.reference(net, net_input, TEMPERATURE)], [one.path for one in calibrate])
    assert (answers.logits.argmax(1) == good).all()
    return Trained(
        pool_power=1.0,
        net=net,
        name=NET,
        input=net_input,
        classes=CLASSES,
        accept=ACCEPT,
        temperature=TEMPERATURE,
        recipe={"net": NET, "augment": {"flip_horizontal": False}},
        source=str(calibrate[0].path.parents[1]),
        split=split,
        seen_width_px=(44, 44),
        seen_height_px=(36, 38),
        logits=answers.logits,
        operating_point=choose(margin(answers.logits, [1]), good, max_escape=0.05),
        metrics={"calibrate top-1": clopper_pearson(len(good), len(good))},
    )


@pytest.fixture(scope="session")
def decide(trained: Trained):
    return decider(trained.operating_point)


@pytest.fixture(scope="session")
def pristine(trained: Trained, decide, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "parts.bundle"
    export.write(trained, path, decide=decide, extra={"report.html": b"<!doctype html><p>report"}, threads=1)
    return path


@pytest.fixture
def bundle(pristine: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may spoil."""
    return Path(shutil.copytree(pristine, tmp_path / "parts.bundle"))


def _pixels(one: Picture) -> torch.Tensor:
    from lineside.data.picture import load

    return torch.from_numpy(load(one.path))[None]
