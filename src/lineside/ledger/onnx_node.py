"""What one node of an ONNX file costs, from its attributes and the shapes of what it reads and puts out.

The same counts as count.py's, by ONNX's names. What multiplies and is not counted is named: `uncounted` tells.
"""

from collections.abc import Container, Sequence
from math import prod
from typing import Any, NamedTuple

import onnx
from onnx import NodeProto, helper

Shape = tuple[int, ...]
# com.microsoft's Fused… is what onnxruntime writes when it is asked to save the graph that it made of a file.
CONVS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "FusedConv": 1}  # which input is the weight
PRODUCTS = {"MatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3, "FusedMatMul": 1}  # which input is the right side
GEMMS = {"Gemm", "FusedGemm"}
RECURRENT = {"LSTM", "GRU", "RNN"}
POOLS = {"MaxPool", "AveragePool", "LpPool"}
GLOBAL = {"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"}
NORMS = {"BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization"}
ACTS = {
    *("Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Gelu"),
    *("Mish", "Softplus", "Softmax", "LogSoftmax", "Swish"),
}
JOINS = {"Add", "Mul", "Sub", "Concat", "Sum"}
UNCOUNTED = {"If", "Loop", "Scan", "DFT", "STFT", "DeformConv"}


class Work(NamedTuple):
    kind: str
    macs: int = 0
    pool_ops: int = 0
    filters: int = 0
    kernel: Shape = ()
    stride: Shape = ()
    pad: Shape = ()
    groups: int = 1
    ceil: bool = False


def attributes(node: NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def uncounted(node: NodeProto) -> str:
    """Its name if it may multiply and is not counted here: of a domain that is not onnx's, unknown, or known to; else
    ""."""
    op, domain = node.op_type, "" if node.domain == "ai.onnx" else node.domain
    if op == "Einsum":
        return "" if _is_plain(node) else op
    if op == "Attention" and not domain:
        return "" if _keeps_nothing(node) else op
    if op in (*CONVS, *PRODUCTS, *GEMMS):
        return ""
    if op in UNCOUNTED or not onnx.defs.has(op, domain):
        return f"{domain}.{op}" if domain else op
    return ""


def work(node: NodeProto, made: str, shapes: dict[str, Shape], constants: Container[str]) -> Work:
    """Of a node that makes the tensor `made`. IndexError, KeyError, ValueError where it lacks what its kind needs."""
    op, given, out = node.op_type, [shapes.get(n, ()) for n in node.input], shapes[made]
    said = attributes(node)
    if op in CONVS:
        weight = given[CONVS[op]]
        return Work("conv", prod(out) * prod(weight[1:]), filters=weight[0], **_window(said, weight[2:], given[0], out))
    if op == "ConvTranspose":
        return Work(
            "conv transposed",
            prod(given[0]) * prod(given[1][1:]),
            filters=out[1],
            **_window(said, given[1][2:], given[0], out),
        )
    if op in GEMMS:
        return Work("linear", prod(out) * given[0][-2 if said.get("transA") else -1], filters=out[-1])
    if op in PRODUCTS:
        other = node.input[PRODUCTS[op]]
        kind = "linear" if other in constants or node.input[0] in constants else "matmul"
        inner = given[0][-2 if said.get("transA") else -1]
        return Work(kind, prod(out) * inner, filters=out[-1] if kind == "linear" else 0)
    if op in RECURRENT:  # x (steps, batch, features), weights (directions, gates · hidden, features or hidden)
        return Work("linear", prod(given[0][:-1]) * (prod(given[1]) + prod(given[2])), filters=given[2][-1])
    if op == "Attention" and _keeps_nothing(node):
        return Work("attention", (prod(given[0]) + prod(out)) * given[1][-2])
    if op == "Einsum" and _is_plain(node):
        terms = _terms(node)
        return Work("matmul", prod(dict(zip("".join(terms), given[0] + given[1], strict=True)).values()))
    if op in POOLS:
        kernel = tuple(said["kernel_shape"])
        if prod(kernel) == 1:
            return Work("other")
        ceil = bool(said.get("ceil_mode", 0))
        return Work("pool", 0, prod(out) * prod(kernel), ceil=ceil, **_window(said, kernel, given[0], out))
    if op in GLOBAL or (op in ("ReduceMean", "ReduceMax") and _over_places(given[0], out)):
        if prod(out) == prod(given[0]):
            return Work("other")
        return Work("pool", 0, prod(given[0]), kernel=given[0][2:] if len(given[0]) > 2 else ())
    kind = "norm" if op in NORMS else "act" if op in ACTS else "join" if op in JOINS else "other"
    return Work(kind)


def _keeps_nothing(node: NodeProto) -> bool:
    """Attention over the keys that it is given, and none of earlier calls."""
    return not any(node.input[4:6])


def _terms(node: NodeProto) -> list[str]:
    """["bij", "bjk"] of "bij,bjk->bik"."""
    equation = next((helper.get_attribute_value(a) for a in node.attribute if a.name == "equation"), b"")
    return equation.decode("utf-8", "replace").replace(" ", "").split("->")[0].split(",")


def _is_plain(node: NodeProto) -> bool:
    """An einsum of two with a letter for every axis: what is counted here."""
    return len(node.input) == 2 == len(_terms(node)) and "." not in "".join(_terms(node))


def _over_places(shape: Shape, out: Shape) -> bool:
    """A reduction of (N, C, H, W) over its places: (N, C) or (N, C, 1, 1)."""
    return len(shape) == 4 and out[:2] == shape[:2] and prod(out[2:]) == 1


def _window(said: dict[str, Any], kernel: Sequence[int], shape: Shape, out: Shape) -> dict[str, Any]:
    before, behind = pads(said, kernel, shape, out)
    return {
        "kernel": tuple(kernel),
        "stride": tuple(said.get("strides", [1] * len(kernel))),
        "pad": tuple(map(max, before, behind)),
        "groups": int(said.get("group", 1)),
    }


def pads(said: dict[str, Any], kernel: Sequence[int], shape: Shape, out: Shape) -> tuple[Shape, Shape]:
    """Places added before and behind, along each axis; auto_pad="SAME_…" leaves them to the shapes."""
    rank, auto = len(kernel), said.get("auto_pad", b"NOTSET").decode()
    if not auto.startswith("SAME"):
        given = said.get("pads", [0] * 2 * rank)
        return tuple(given[:rank]), tuple(given[rank:])
    strides, dilations = said.get("strides", [1] * rank), said.get("dilations", [1] * rank)
    missing = [
        max(0, (n - 1) * s + (k - 1) * d + 1 - side)
        for side, n, k, s, d in zip(shape[2:], out[2:], kernel, strides, dilations, strict=True)
    ]
    less, more = tuple(n // 2 for n in missing), tuple(n - n // 2 for n in missing)
    return (less, more) if auto == "SAME_UPPER" else (more, less)
