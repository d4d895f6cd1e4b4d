"""Graphs for bundles of the fault campaign, in place of the tiny bundle's: model.onnx as bytes."""

import numpy as np

BRIGHT = 0.6  # of green: where `hanging` hangs


def anything() -> bytes:
    """Accepts every picture with a margin of 10: what must not pass may then not reach the engine."""
    return _graph(np.zeros((3, 2), np.float32), np.array([-5, 5], np.float32), trips=0)


def hanging(trips: int) -> bytes:
    """The tiny bundle's answers, but for a bright green picture it goes round in a loop so many times first."""
    return _graph(np.array([[-10, 10], [0, 0], [10, -10]], np.float32) / 255, np.zeros(2, np.float32), trips)


def _graph(weights: np.ndarray, bias: np.ndarray, trips: int) -> bytes:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def constant(name: str, value, dtype) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(value, dtype), name)

    again = helper.make_graph(
        [
            helper.make_node("Add", ["before", "nothing"], ["after"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "again",
        [
            helper.make_tensor_value_info("k", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, ["N", 2]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, ["N", 2]),
        ],
        [constant("nothing", [0, 0], np.float32)],
    )
    nodes = [
        helper.make_node("Cast", ["pictures"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
        helper.make_node("Gemm", ["mean", "weights", "bias"], ["answer"]),
        helper.make_node("ReduceMax", ["mean", "parts"], ["most"], keepdims=0),
        helper.make_node("Gather", ["most", "green"], ["bright"], axis=0),
        helper.make_node("Greater", ["bright", "level"], ["hangs"]),
        helper.make_node("Where", ["hangs", "trips", "none"], ["rounds"]),
        helper.make_node("Loop", ["rounds", "true", "answer"], ["logits"], body=again),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    made = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in ("logits", "scores")],
        [
            constant("axes", [1, 2], np.int64),
            constant("parts", [0], np.int64),
            constant("green", 1, np.int64),
            constant("level", 255 * BRIGHT, np.float32),
            constant("trips", trips, np.int64),
            constant("none", 0, np.int64),
            constant("true", True, np.bool_),
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(bias, "bias"),
        ],
    )
    opset = [helper.make_opsetid("", 18)]
    return onnx.ModelProto.SerializeToString(helper.make_model(made, opset_imports=opset, ir_version=9))
