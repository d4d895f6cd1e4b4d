"""Several nets as one graph: it answers with the mean of their scores, in every engine, whatever each of them eats."""

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from lineside.bundle import export, parity
from lineside.bundle.engine import open_model
from lineside.bundle.ensemble import Ensemble
from lineside.bundle.manifest import Input as Settings
from lineside.bundle.manifest import Member
from lineside.bundle.quantise import float_nodes
from lineside.nets.catalog import NETS
from lineside.nets.input import Input
from tests.bundle.conftest import every_engine

HEAT = 1.3  # of the ensemble


def member(size_px: int, mean: float, temperature: float) -> Member:
    eats = Settings(size_px, (mean, mean, mean), (0.5, 0.4, 0.3), 8, (40, 60), (40, 60))
    return Member("lenet5", 1.0, temperature, eats, "0" * 64)


MEMBERS = (member(32, 0.5, 0.7), member(40, 0.4, 1.5), member(32, 0.5, 1.1))  # the third eats what the first eats


@pytest.fixture(scope="module")
def nets() -> list[nn.Sequential]:
    torch.manual_seed(0)
    return [NETS["lenet5"].make(4).eval() for _ in MEMBERS]


@pytest.fixture(scope="module")
def graph(nets) -> bytes:
    return export.to_onnx(Ensemble(MEMBERS, nets), nn.Identity(), HEAT)


def mean_of_scores(nets, pictures: np.ndarray) -> np.ndarray:
    """Each member on its own, as its bundle would run it; the mean by numpy."""
    each = [
        export.reference(net, Input(one.input.size_px, one.input.mean, one.input.std), one.temperature)(pictures)
        for net, one in zip(nets, MEMBERS, strict=True)
    ]
    return np.mean([parity.scores(logits) for logits in each], axis=0)


@every_engine
def test_it_answers_with_the_mean_of_the_members_scores(nets, graph, engine):
    infer = open_model(engine, graph, "float32", 1)
    rng = np.random.default_rng(0)
    for n, height, width in [(1, 36, 44), (3, 120, 31)]:
        pictures = rng.integers(0, 256, (n, height, width, 3), dtype=np.uint8)
        logits = infer(pictures)
        np.testing.assert_allclose(parity.scores(HEAT * logits), mean_of_scores(nets, pictures), atol=2e-5)
        np.testing.assert_allclose(np.exp(HEAT * logits).sum(1), 1, atol=1e-5)  # logits are logs of probabilities


def test_members_that_eat_the_same_share_it(nets):
    assert len(Ensemble(MEMBERS, nets).inputs) == 2


def test_its_weights_are_those_of_its_members_and_come_back(nets):
    made = Ensemble(MEMBERS, nets)
    state = load_tensors(save_tensors({k: v.contiguous() for k, v in made.state_dict().items()}))
    assert len(state) == sum(len(net.state_dict()) for net in nets)
    again = Ensemble(MEMBERS, [NETS["lenet5"].make(4) for _ in MEMBERS]).eval()
    again.load_state_dict(state)
    pictures = torch.randint(0, 256, (2, 50, 40, 3), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(again(pictures), made.eval()(pictures))


class Constant(nn.Module):
    """Answers these logits to every picture."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.tensor([logits])

    def forward(self, x):
        return self.logits.expand(len(x), -1)


@pytest.mark.parametrize(("last", "finite"), [(-400.0, True), (float("nan"), False)])
def test_an_unlikely_class_has_a_logit_and_a_nan_stays_one(last, finite):
    """exp(-400) is 0 in float32: the log of a plain mean of scores would be minus infinity."""
    made = Ensemble(MEMBERS[:2], [Constant([0.0, -400.0]), Constant([0.0, last])])
    answer = made(torch.zeros(1, 8, 8, 3, dtype=torch.uint8))
    assert bool(answer.isfinite().all()) == finite


def test_in_int8_every_members_input_and_last_layer_stay_float(graph):
    model = onnx.load_from_string(graph)
    stay = set(float_nodes(model))
    made_by = {name: node for node in model.graph.node for name in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 9
    assert not stay & {node.name for node in convolutions}
    first = [node for node in convolutions if not _behind(node, made_by) & {one.name for one in convolutions}]
    assert len(first) == 3
    assert set().union(*(_behind(node, made_by) for node in first)) <= stay
    gemms = [node for node in model.graph.node if node.op_type == "Gemm"]
    assert [node.name in stay for node in gemms].count(True) == 3  # fc of each; fc6 of each is quantised
    assert len(gemms) == 6


def _behind(node: onnx.NodeProto, made_by: dict[str, onnx.NodeProto]) -> set[str]:
    """Names of all nodes that this one needs."""
    found, todo = set(), [made_by[name] for name in node.input if name in made_by]
    while todo:
        one = todo.pop()
        if one.name not in found:
            found.add(one.name)
            todo += [made_by[name] for name in one.input if name in made_by]
    return found
