"""What a file's places see is what the net's places see that it was exported from; and by hand, node by node."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from lineside.ledger.cost import cost
from lineside.ledger.onnx_file import cost_of_model
from lineside.ledger.row import Reach
from lineside.nets.catalog import NETS
from tests.ledger.test_onnx_file import exported, graph


def field(nodes, shape=(1, 4, 32, 32), weights=(), numbers=()):
    """Of the last node, square: (size, jump); all: it sees everything; None: not known."""
    model = onnx.load_model_from_string(graph(nodes, shape, dict(weights)))
    model.graph.initializer.extend(numpy_helper.from_array(np.array(v, np.int64), n) for n, v in dict(numbers).items())
    last = cost_of_model(model.SerializeToString(), "one", None).rows[-1].field
    if not last:
        return None
    assert len(set(last)) == 1
    return (last[0].size, last[0].jump) if last[0] else "all"


def node(op, *inputs, **said):
    return helper.make_node(op, list(inputs), ["y"], **said)


def test_windows():
    w = {"w": (6, 4, 3, 3)}
    assert field([node("Conv", "x", "w", strides=[2, 2], dilations=[2, 2])], weights=w) == (5, 2)
    assert field([node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2])]) == (3, 2)
    assert field([node("ConvTranspose", "x", "w", strides=[2, 2])], weights={"w": (4, 6, 3, 3)})[1] == 0.5
    assert field([node("GlobalAveragePool", "x")]) == "all"
    assert field([node("ReduceMean", "x", axes=[2, 3])]) == "all"
    assert field([node("ReduceMean", "x", axes=[1])]) == (1, 1)


@pytest.mark.parametrize(("auto", "low"), [("SAME_UPPER", 0), ("SAME_LOWER", -1), ("VALID", 0)])
def test_paddings_that_are_left_to_the_shapes(auto, low):
    """32 places by 3 every 2: one place is missing, and stands behind or before."""
    data = graph([node("Conv", "x", "w", strides=[2, 2], auto_pad=auto)], (1, 4, 32, 32), {"w": (6, 4, 3, 3)})
    (row,) = cost_of_model(data, "one", None).rows
    assert row.field == (Reach(low, low + 2, 2),) * 2
    assert row.pad == ((0, 0) if auto == "VALID" else (1, 1))


def test_places_that_move():
    three = {"a": [0, 0, 3, 3, 0, 0, 1, 1]}
    padded = [helper.make_node("Pad", ["x", "a"], ["p"]), node("Conv", "p", "w")]
    data = onnx.load_model_from_string(graph(padded, (1, 4, 9, 9), {"w": (6, 4, 3, 3)}))
    data.graph.initializer.append(numpy_helper.from_array(np.array(three["a"]), "a"))
    assert cost_of_model(data.SerializeToString(), "one", None).rows[-1].field == (Reach(-3, -1, 1),) * 2
    numbers = {"from": [1], "to": [32], "at": [2], "by": [2]}
    sliced = [
        helper.make_node("Slice", ["x", "from", "to", "at", "by"], ["s"]),
        helper.make_node("Slice", ["s", "from", "to", "three", "by"], ["y"]),
    ]
    assert field(sliced, numbers=numbers | {"three": [3]}) == (1, 2)
    assert field([node("SpaceToDepth", "x", blocksize=2)]) == (1, 2)


def test_tokens_and_maps():
    """Attention of all places to all; what runs along the features alone keeps them apart."""
    to_tokens = [
        helper.make_node("Reshape", ["x", "s"], ["r"]),
        helper.make_node("Transpose", ["r"], ["t"], perm=[0, 2, 1]),
    ]
    numbers = {"s": [1, 4, 1024]}
    assert field([*to_tokens, node("MatMul", "t", "w")], weights={"w": (4, 7)}, numbers=numbers) == (1, 1)
    assert field([*to_tokens, node("Softmax", "t")], numbers=numbers) == (1, 1)
    assert field([*to_tokens, node("Softmax", "t", axis=1)], numbers=numbers) == "all"
    assert field([*to_tokens, node("MatMul", "t", "r")], numbers=numbers) == (1, 1)
    assert field([*to_tokens, node("MatMul", "r", "t")], numbers=numbers) == "all"


def test_what_is_not_followed_has_no_figure():
    """Nor has what comes behind it."""
    lost = helper.make_node("Einsum", ["x", "x"], ["e"], equation="abcd,abcd->abcd")
    assert field([lost, node("Relu", "e")]) is None
    brightest = [
        helper.make_node("ReduceMax", ["x"], ["m"]),
        helper.make_node("Reshape", ["m", "one"], ["r"]),
        helper.make_node("Cast", ["r"], ["from"], to=TensorProto.INT64),
    ]
    cut = node("Slice", "x", "from", "big", "two")
    assert field([*brightest, cut], numbers={"one": [1], "big": [32], "two": [2]}) is None


def test_numbers_that_the_graph_computes_from_its_sizes_are_known():
    """As the older exporter writes slices of a net that takes any size: half of the columns' number is 16."""
    nodes = [
        helper.make_node("Shape", ["x"], ["sides"]),
        helper.make_node("Gather", ["sides", "three"], ["side"]),
        helper.make_node("Div", ["side", "two"], ["from"]),
        helper.make_node("Slice", ["x", "from", "side", "three"], ["y"]),
    ]
    model = onnx.load_model_from_string(graph(nodes, (1, 4, 32, 32), {}))
    for name, value in (("two", [2]), ("three", [3])):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), name))
    assert cost_of_model(model.SerializeToString(), "one", None).rows[-1].field == (Reach(), Reach(16, 16, 1))


def test_a_transformer_sees_what_torch_says():
    """Patches, class token, positions, heads, as torch writes them into a file."""
    ours = [r for r in cost(NETS["vit_tiny_patch16_224"].build(10), (1, 3, 224, 224)).rows if r.macs]
    found = cost_of_model(exported(NETS["vit_tiny_patch16_224"].build(10), (1, 3, 224, 224)), "vit", 224)
    assert [(r.macs, r.field) for r in found.rows if r.macs] == [(r.macs, r.field) for r in ours]


def test_one_axis():
    net = nn.Sequential(nn.Conv1d(3, 4, 5, 2), nn.ReLU(), nn.Conv1d(4, 4, 3, dilation=2))
    file = torch.zeros(1, 3, 64)
    ours = [r.field for r in cost(net, file).rows if r.macs]
    assert [r.field for r in cost_of_model(exported_1d(net, file), "one", None).rows if r.macs] == ours


def exported_1d(net, x):
    w = {f"w{i}": tuple(m.weight.shape) for i, m in enumerate(net) if isinstance(m, nn.Conv1d)}
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], strides=[2]),
        helper.make_node("Relu", ["a"], ["b"]),
        node("Conv", "b", "w2", dilations=[2]),
    ]
    return graph(nodes, tuple(x.shape), w)
