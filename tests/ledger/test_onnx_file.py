"""An ONNX file costs what the net that it was exported from costs."""

import io
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from lineside.bundle.export import to_onnx
from lineside.errors import SettingsError
from lineside.ledger import onnx_file
from lineside.ledger.cost import cost
from lineside.ledger.memory import inference
from lineside.ledger.onnx_file import cost_of_model
from lineside.ledger.wiring import wiring
from lineside.nets.catalog import NETS
from lineside.nets.input import Input


def exported(net: nn.Module, shape: tuple[int, ...]) -> bytes:
    """With open batch and sides, by torch's older exporter: another graph than bundles have."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(),
            (torch.zeros(shape),),
            file,
            dynamo=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "n", 2: "h", 3: "w"}},
        )
    return file.getvalue()


@pytest.mark.parametrize("name", ["lenet5", "resnet20", "mobilenet_v2", "googlenet", "shufflenet_v2_x0_5"])
def test_exported_nets_cost_what_the_torch_ledger_says(name):
    row = NETS[name]
    net = row.build(row.classes)
    for module in net.modules():  # so that no two folded norms have the same numbers, which the file would keep once
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
    found = cost_of_model(exported(net, (1, 3, row.size_px, row.size_px)), name, row.size_px)
    ours = cost(net, (1, 3, row.size_px, row.size_px))
    assert found.shapes == ours.shapes
    assert found.macs == ours.macs == row.macs
    assert found.pool_ops == ours.pool_ops
    norms = sum(m.num_features for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    assert found.params == row.params - norms  # a folded norm leaves one bias a channel of its two numbers
    layers, again = (
        [(r.kind, r.input, r.output, r.kernel, r.stride, r.groups, r.macs, r.field) for r in c.rows if r.macs]
        for c in (found, ours)
    )
    assert layers == again


def test_a_bundles_graph_is_the_net_and_the_resize_of_its_input():
    """Two products a picture, and shapes that the graph computes itself."""
    row = NETS["resnet20"]
    graph = to_onnx(row.build(4), Input(32, row.mean, row.std), 1.0)
    found, net = cost_of_model(graph, "model.onnx", (48, 40)), cost(row.build(4), (1, 3, 32, 32))
    resize = sum(r.macs for r in found.rows if r.kind == "matmul")
    assert found.macs == net.macs + resize
    assert found.shapes == ((1, 48, 40, 3),)
    assert 0 < resize < 48 * 32 * 40 * 3 + 40 * 32 * 32 * 3  # less than dense products
    most, _ = inference(found)
    assert most >= 16 * 32 * 32 * 4


def graph(nodes, shape, weights, out="y"):
    floats = [numpy_helper.from_array(np.zeros(s, np.float32), n) for n, s in weights.items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info(out, TensorProto.FLOAT, None)
    made = helper.make_graph(nodes, "g", [x], [y], floats)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


@pytest.mark.parametrize(
    ("node", "shape", "weights", "macs", "pool_ops", "params"),
    [
        (("Conv", {"group": 2}), (1, 4, 9, 9), {"w": (6, 2, 3, 3), "b": (6,)}, 6 * 49 * 18, 0, 114),
        (("ConvTranspose", {"strides": [2, 2]}), (1, 4, 5, 5), {"w": (4, 6, 3, 3)}, 100 * 54, 0, 216),
        (("Gemm", {"transB": 1}), (1, 8), {"w": (5, 8), "b": (5,)}, 40, 0, 45),
        (("MatMul", {}), (1, 7, 8), {"w": (8, 5)}, 280, 0, 40),
        (("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}), (1, 4, 8, 8), {}, 0, 4 * 16 * 9, 0),
        (("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}), (1, 4, 8, 8), {}, 0, 4 * 16 * 4, 0),
        (("GlobalAveragePool", {}), (1, 4, 8, 8), {}, 0, 256, 0),
        (("Einsum", {"equation": "bij,jk->bik"}), (1, 7, 8), {"w": (8, 5)}, 280, 0, 40),
    ],
)  # fmt: skip
def test_nodes_by_hand(node, shape, weights, macs, pool_ops, params):
    op, said = node
    found = cost_of_model(graph([helper.make_node(op, ["x", *weights], ["y"], **said)], shape, weights), "one", None)
    assert (found.macs, found.pool_ops, found.params) == (macs, pool_ops, params)


def test_a_files_nodes_know_what_feeds_them():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Add", ["r", "x"], ["y"]),
    ]
    wired = wiring(cost_of_model(graph(nodes, (1, 4, 9, 9), {"w": (4, 4, 3, 3)}), "one", None))
    assert [node.kind for node in wired.nodes] == ["in", "layer", "join", "out"]
    assert [e.start for e in wired.into(2)] == [1, 0]
    assert wired.nodes[1].after == ["Relu"]


def test_quantised_weights_count_as_many_parameters():
    weights = {"w": (6, 4, 3, 3)}
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["w2"]),
        helper.make_node("Conv", ["x", "w2"], ["y"]),
    ]
    model = onnx.load_model_from_string(graph(nodes, (1, 4, 9, 9), {}))
    model.graph.initializer.extend(
        [numpy_helper.from_array(np.zeros(weights["w"], np.int8), "q"), numpy_helper.from_array(np.float32(1), "s")]
    )
    found = cost_of_model(model.SerializeToString(), "int8", None)
    assert (found.params, found.macs) == (216, 6 * 49 * 36)


def test_open_and_fixed_sizes(tmp_path):
    file = tmp_path / "net.onnx"
    file.write_bytes(exported(NETS["resnet20"].build(10), (1, 3, 32, 32)))
    with pytest.raises(SettingsError, match="leaves its size open; say it with --size N"):
        onnx_file.read(file, None)
    assert onnx_file.read(file, 64).macs == cost(NETS["resnet20"].build(10), (1, 3, 64, 64)).macs
    file.write_bytes(graph([helper.make_node("Relu", ["x"], ["y"])], (1, 3, 8, 8), {}))
    assert onnx_file.read(file, None).macs == 0
    with pytest.raises(SettingsError, match="is fixed at 1x3x8x8; leave out --size"):
        onnx_file.read(file, 9)


def test_what_is_no_onnx_file_is_a_sentence(tmp_path):
    file = tmp_path / "net.onnx"
    with pytest.raises(SettingsError, match=r"net.onnx: can not be read"):
        onnx_file.read(file, None)
    file.write_bytes(b"not an onnx file at all")
    with pytest.raises(SettingsError, match=r"net.onnx: is not an ONNX file"):
        onnx_file.read(file, None)


def relu(x: str = "x", y: str = "y", **more) -> onnx.NodeProto:
    return helper.make_node("Relu", [x], [y], **more)


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([], "it holds no operation"),
        ([relu(y="")], "its node 'Relu' puts nothing out"),
        ([relu("gone")], "'gone' is not a graph input"),
        ([helper.make_node("Frobnicate", ["x"], ["y"], domain="my.own")], "No opset import for domain my.own"),
    ],
)
def test_a_graph_that_is_none_is_a_sentence(tmp_path, nodes, reason):
    data = graph(nodes, (1, 3, 8, 8), {})
    (tmp_path / "net.onnx").write_bytes(data)
    for ask in (lambda: onnx_file.read(tmp_path / "net.onnx", None), lambda: cost_of_model(data, "net.onnx", None)):
        with pytest.raises(SettingsError, match=f"net.onnx: is not an ONNX file that can be read: .*{reason}"):
            ask()


def test_an_input_that_is_no_tensor_is_a_sentence():
    given = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None)
    put_out = helper.make_tensor_value_info("y", TensorProto.INT64, [])
    made = helper.make_graph([helper.make_node("SequenceLength", ["x"], ["y"])], "g", [given], [put_out])
    with pytest.raises(SettingsError, match="its input 'x' is no tensor"):
        cost_of_model(helper.make_model(made).SerializeToString(), "one", None)


def test_weights_that_lie_outside_and_are_gone_are_a_sentence(tmp_path):
    """Shapes that depend on values are found by running, for which weights are needed."""
    nodes = [helper.make_node("Mul", ["x", "w"], ["a"]), helper.make_node("NonZero", ["a"], ["y"])]
    model = onnx.load_model_from_string(graph(nodes, (1, 3, 8, 8), {"w": (3, 8, 8)}))
    outside = model.graph.initializer[0]
    outside.ClearField("raw_data")
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="gone.bin")
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(SettingsError, match=r"can be read: .*gone\.bin"):
        onnx_file.read(tmp_path / "net.onnx", None)


def test_an_einsum_over_unnamed_axes_is_not_counted():
    node = helper.make_node("Einsum", ["x", "x"], ["y"], equation="...hw,...hw->...h")
    found = cost_of_model(graph([node], (1, 3, 8, 8), {}), "one", None)
    assert found.notes == ("operations that multiply and could not be counted: Einsum",)


def test_a_recurrent_layer_multiplies_its_two_weights_at_every_step():
    """As torch's own LSTM: 4 gates of 2, of 3 features and 2 of the state."""
    node = helper.make_node("LSTM", ["x", "w", "r"], ["", "y"], hidden_size=2)
    found = cost_of_model(graph([node], (5, 1, 3), {"w": (1, 8, 3), "r": (1, 8, 2)}), "one", None)
    assert found.macs == cost(nn.LSTM(3, 2), (5, 1, 3)).macs == 5 * 8 * (3 + 2)
    assert (found.params, found.notes) == (40, ())


def test_attention_is_its_two_products():
    shapes = [(1, 2, 7, 8), (1, 2, 9, 8), (1, 2, 9, 4)]  # heads of 7 queries and 9 keys
    given = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in zip("qkv", shapes, strict=True)]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 2, 7, 4))
    made = helper.make_graph([helper.make_node("Attention", list("qkv"), ["y"])], "g", given, [out])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    assert cost_of_model(model.SerializeToString(), "one", None).macs == 2 * 7 * 9 * (8 + 4)


@pytest.mark.parametrize(
    ("node", "named"),
    [
        (helper.make_node("QAttention", ["x"], ["y"], domain="com.microsoft"), "com.microsoft.QAttention"),
        (helper.make_node("Frobnicate", ["x"], ["y"]), "Frobnicate"),
        (helper.make_node("DFT", ["x"], ["y"], axis=1), "DFT"),
    ],
)
def test_what_can_not_be_counted_is_named(node, named):
    model = onnx.load_model_from_string(graph([node], (1, 3, 8, 2), {}))
    model.opset_import.add(domain="com.microsoft", version=1)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 3, 8, 2)))
    found = cost_of_model(model.SerializeToString(), "one", None)
    assert found.notes == (f"operations that multiply and could not be counted: {named}",)


def test_what_onnxruntime_fused_is_counted(tmp_path):
    """A file as onnxruntime saves it: Conv and Relu are one node of its own."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    plain = graph(nodes, (1, 4, 9, 9), {"w": (6, 4, 3, 3)})
    onnxruntime.InferenceSession(plain, options, providers=["CPUExecutionProvider"])
    found = onnx_file.read(tmp_path / "fused.onnx", None)
    assert "FusedConv" in {row.op for row in found.rows}
    assert (found.macs, found.params) == (6 * 49 * 36, 216)
    assert found.notes == ()


def test_a_function_is_counted_by_its_nodes():
    """As exporters write modules: the file defines what its own operations are made of."""
    made = helper.make_function(
        "my.own",
        "Block",
        ["a", "w"],
        ["b"],
        [helper.make_node("Conv", ["a", "w"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    model = onnx.load_model_from_string(
        graph([helper.make_node("Block", ["x", "w"], ["y"], domain="my.own")], (1, 4, 9, 9), {"w": (6, 4, 3, 3)})
    )
    model.opset_import.add(domain="my.own", version=1)
    model.functions.append(made)
    assert cost_of_model(model.SerializeToString(), "one", None).macs == 6 * 49 * 36


def test_weights_in_constant_nodes_are_parameters_where_a_layer_reads_them():
    weight = numpy_helper.from_array(np.zeros((6, 4, 3, 3), np.float32))
    luma = numpy_helper.from_array(np.zeros((4, 1, 1), np.float32))
    nodes = [
        helper.make_node("Constant", [], ["l"], value=luma),
        helper.make_node("Constant", [], ["w"], value=weight),
        helper.make_node("Mul", ["x", "l"], ["m"]),
        helper.make_node("Conv", ["m", "w"], ["y"]),
    ]
    found = cost_of_model(graph(nodes, (1, 4, 9, 9), {}), "one", None)
    assert [row.params for row in found.rows] == [0, 216]


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Conv", ["x"], ["y"]),
        helper.make_node("Conv", ["x", "gone"], ["y"]),
        helper.make_node("MaxPool", ["x"], ["y"]),
        helper.make_node("Gemm", ["x"], ["y"]),
        helper.make_node("Transpose", ["x"], ["y"], perm=[7, 8]),
    ],
    ids=lambda node: f"{node.op_type}-{len(node.input)}",
)
def test_a_node_that_lacks_something_is_a_sentence(node):
    """Where the file itself says what the node puts out, onnx does not look."""
    model = onnx.load_model_from_string(graph([node], (1, 4, 9, 9), {}))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 9, 9)))
    with pytest.raises(SettingsError, match=f"its node 'y' lacks an input, .* {node.op_type} needs"):
        cost_of_model(model.SerializeToString(), "one", None)


def test_a_constant_that_is_too_short_is_a_sentence():
    model = onnx.load_model_from_string(graph([helper.make_node("Gather", ["x", "i"], ["y"])], (1, 4, 9, 9), {}))
    short = numpy_helper.from_array(np.zeros(2, np.int64), "i")
    short.dims[0] = 7
    model.graph.initializer.append(short)
    with pytest.raises(SettingsError, match="its constant 'i' is broken"):
        cost_of_model(model.SerializeToString(), "one", None)


def test_an_input_of_no_shape_is_a_sentence(capfd):
    model = onnx.load_model_from_string(graph([relu()], (1,), {}))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, None))
    with pytest.raises(SettingsError, match="its input 'x' says nothing of its shape"):
        cost_of_model(model.SerializeToString(), "one", 8)
    assert capfd.readouterr().err == ""
