"""What an ONNX file costs, node by node, in the same rows as a net's.

Shapes are found by onnx's shape inference; where a graph computes its own shapes (a resize, a reshape by arithmetic)
and inference gives up, onnxruntime runs it once on zeros. Sizes that the file leaves open are given by --size; an open
batch is 1. Parameters are the floating initialisers that have a dimension, in the node that reads them first; of
quantised weights the integers.
"""

from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, shape_inference

from lineside.errors import SettingsError
from lineside.ledger.row import Cost, Row, Tensors

Shape = tuple[int, ...]
POOLS = {"MaxPool", "AveragePool", "LpPool"}
GLOBAL = {"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"}
NORMS = {"BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization"}
ACTS = {
    *(
        "Relu",
        "Clip",
        "LeakyRelu",
        "PRelu",
        "Elu",
        "Selu",
        "Sigmoid",
        "Tanh",
        "HardSigmoid",
        "HardSwish",
        "Gelu",
        "Mish",
    ),
    *("Softplus", "Softmax", "LogSoftmax", "Swish"),
}
JOINS = {"Add", "Mul", "Sub", "Concat", "Sum"}
VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"}
UNCOUNTED = {"LSTM", "GRU", "RNN", "If", "Loop", "Scan", "Attention", "MultiHeadAttention", "DFT", "DeformConv"}
FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}


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


def read(path: Path, size_px: int | tuple[int, int] | None) -> Cost:
    """The cost of a file. SettingsError: it can not be read, or leaves sizes open that were not given."""
    with _sentences(str(path)):
        return _cost(onnx.load(str(path), load_external_data=False), str(path), size_px, str(path))


def cost_of_model(data: bytes, name: str, size_px: int | tuple[int, int] | None) -> Cost:
    """The same of a model's bytes."""
    with _sentences(name):
        return _cost(onnx.load_model_from_string(data), name, size_px, data)


@contextmanager
def _sentences(name: str) -> Iterator[None]:
    """What onnx and protobuf raise, as SettingsError."""
    try:
        yield
    except OSError as error:
        raise SettingsError(f"{name}: can not be read ({error.strerror or error})") from None
    except (_Unreadable, shape_inference.InferenceError) as error:
        said = " ".join(str(error).split())[:300]
        raise SettingsError(f"{name}: is not an ONNX file that can be read: {said}; export it again") from None
    except Exception as error:
        if type(error).__name__ != "DecodeError":  # protobuf's own, which has no stable place to import from
            raise
        raise SettingsError(f"{name}: is not an ONNX file; name one that torch.onnx.export or the like wrote") from None


class _Unreadable(ValueError):
    pass


def _cost(model: ModelProto, name: str, size_px: int | tuple[int, int] | None, source: str | bytes) -> Cost:
    graph = model.graph
    if not graph.node:
        raise _Unreadable("it holds no operation")
    for node in graph.node:
        if not any(node.output):
            raise _Unreadable(f"its node {node.name or node.op_type!r} puts nothing out")
    learnt = {one.name: one for one in graph.initializer}
    given = [one for one in graph.input if one.name not in learnt]
    inputs = {one.name: _sized(one, size_px, name) for one in given}
    shapes, kinds = _shapes(model, inputs, source)
    unread = {
        n: prod(t.dims)
        for n, t in learnt.items()
        if len(t.dims) and (t.data_type in FLOATS or t.data_type in (TensorProto.INT8, TensorProto.UINT8))
    }
    number: dict[str, int] = {}
    sizes: list[int] = []

    def new(tensor: str) -> int:
        number[tensor] = len(sizes)
        sizes.append(prod(shapes[tensor]) * kinds.get(tensor, 4))
        return number[tensor]

    first = tuple(new(n) for n in inputs)
    maker: dict[str, int] = {}
    constants, same = set(learnt), {}
    rows, reads, makes, notes = [], [], [], []
    for node in graph.node:
        if node.op_type == "Constant":
            constants.add(node.output[0])
            shapes.setdefault(node.output[0], ())
            continue
        sources = [same.get(n, n) for n in node.input if n]
        out = next(n for n in node.output if n)
        if node.op_type == "Identity" and sources[0] in constants:  # one tensor of the file under two names
            same[out] = sources[0]
            constants.add(out)
            continue
        if node.op_type in VIEWS and sources[0] in number:  # another shape of the same numbers
            number[out] = number[sources[0]]
            if sources[0] in maker:
                maker[out] = maker[sources[0]]
            continue
        if node.op_type in UNCOUNTED or (node.op_type == "Einsum" and not _is_plain(node)):
            notes.append(node.op_type)
        work = _work(node, out, shapes, constants)
        taken = sources[:1] if node.op_type == "DequantizeLinear" else sources
        live = [n for n in sources if n in number]
        rows.append(
            Row(
                path=node.name or f"{node.op_type}_{len(rows)}",
                op=node.op_type,
                kind=work.kind,
                input=shapes[live[0]][1:] if live else (),
                output=shapes[out][1:],
                filters=work.filters,
                kernel=work.kernel,
                stride=work.stride,
                pad=work.pad,
                groups=work.groups,
                ceil=work.ceil,
                params=sum(unread.pop(n, 0) for n in taken),
                macs=work.macs,
                pool_ops=work.pool_ops,
                made=sum(prod(shapes[n]) * kinds.get(n, 4) for n in node.output if n),
                moved=sum(prod(shapes.get(n, ())) * kinds.get(n, 4) for n in (*sources, *node.output) if n),
                after=maker.get(live[0]) if live else None,
                sources=tuple((maker.get(n, ~number[n]), shapes[n]) for n in live),
            )
        )
        maker |= {n: len(rows) - 1 for n in node.output if n}
        reads.append(tuple(number[n] for n in live))
        makes.append(tuple(new(n) for n in node.output if n))
    kept = tuple(number[one.name] for one in graph.output if one.name in number)
    said = (f"operations that multiply and could not be counted: {', '.join(dict.fromkeys(notes))}",) if notes else ()
    return Cost(
        name=name,
        shapes=tuple(inputs.values()),
        rows=tuple(rows),
        tensors=Tensors(tuple(reads), tuple(makes), tuple(sizes), first, kept),
        unread=(),  # scales and zero points: no parameters
        notes=said,
    )


def _sized(value: Any, size_px: int | tuple[int, int] | None, name: str) -> Shape:
    """The shape of an input: an open batch is 1, open sides are size_px; in `value` too."""
    if not value.type.HasField("tensor_type"):
        raise _Unreadable(f"its input {value.name!r} is no tensor")
    dims = value.type.tensor_type.shape.dim
    height, width = (size_px, size_px) if isinstance(size_px, int) or size_px is None else size_px
    fixed = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else 0 for d in dims]
    sides = [i for i in range(1, len(fixed)) if not (len(fixed) == 4 and i == (3 if 0 < fixed[3] <= 4 else 1))]
    open_sides = [i for i in sides if not fixed[i]]
    if open_sides and height is None:
        raise SettingsError(f"{name}: the input {value.name!r} leaves its size open; say it with --size N")
    if height is not None and not open_sides and [fixed[i] for i in sides] != [height, width][: len(sides)]:
        raise SettingsError(
            f"{name}: the input {value.name!r} is fixed at {'x'.join(map(str, fixed))}; leave out --size"
        )
    for i, d in enumerate(dims):
        if not fixed[i]:
            d.dim_value = 1 if i == 0 else 3 if i not in sides else (height if i == sides[0] else width) or 1
    return tuple(d.dim_value for d in dims)


def _shapes(
    model: ModelProto, inputs: dict[str, Shape], source: str | bytes
) -> tuple[dict[str, Shape], dict[str, int]]:
    """(shape, bytes an element) of every tensor."""
    inferred = shape_inference.infer_shapes(model, data_prop=True)
    shapes: dict[str, Shape] = {t.name: tuple(t.dims) for t in model.graph.initializer} | inputs
    kinds: dict[str, int] = {t.name: _bytes(t.data_type) for t in model.graph.initializer}
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        tensor = value.type.tensor_type
        kinds[value.name] = _bytes(tensor.elem_type)
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
            shapes.setdefault(value.name, tuple(d.dim_value for d in tensor.shape.dim))
    missing = [n for node in model.graph.node for n in node.output if n and n not in shapes]
    return (shapes | _by_running(model, inputs, missing, source), kinds) if missing else (shapes, kinds)


def _by_running(
    model: ModelProto, inputs: dict[str, Shape], missing: list[str], source: str | bytes
) -> dict[str, Shape]:
    import onnxruntime as ort

    bare = ModelProto()
    bare.CopyFrom(model)
    have = {one.name for one in bare.graph.output}
    bare.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in missing if n not in have)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        kinds = {one.name: one.type.tensor_type.elem_type for one in model.graph.input}
        if isinstance(source, str):
            onnx.load_external_data_for_model(bare, str(Path(source).parent))
        session = ort.InferenceSession(bare.SerializeToString(), options, providers=["CPUExecutionProvider"])
        given = {n: np.zeros(shape, helper.tensor_dtype_to_np_dtype(kinds[n])) for n, shape in inputs.items()}
        answers = session.run(missing, given)
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        raise _Unreadable(str(error)) from None
    return {n: tuple(np.asarray(a).shape) for n, a in zip(missing, answers, strict=True)}


def _bytes(kind: int) -> int:
    return np.dtype(helper.tensor_dtype_to_np_dtype(kind)).itemsize if kind else 4


def _work(node: NodeProto, made: str, shapes: dict[str, Shape], constants: Container[str]) -> Work:
    op, given, out = node.op_type, [shapes.get(n, ()) for n in node.input], shapes[made]
    said = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if op in ("Conv", "ConvInteger", "QLinearConv"):
        weight = given[3 if op == "QLinearConv" else 1]
        return Work("conv", prod(out) * prod(weight[1:]), filters=weight[0], **_window(said, weight[2:]))
    if op == "ConvTranspose":
        return Work(
            "conv transposed", prod(given[0]) * prod(given[1][1:]), filters=out[1], **_window(said, given[1][2:])
        )
    if op == "Gemm":
        a = given[0][::-1] if said.get("transA") else given[0]
        return Work("linear", prod(out) * a[-1], filters=out[-1])
    if op in ("MatMul", "MatMulInteger", "QLinearMatMul"):
        other = node.input[3 if op == "QLinearMatMul" else 1]
        kind = "linear" if other in constants or node.input[0] in constants else "matmul"
        return Work(kind, prod(out) * given[0][-1], filters=out[-1] if kind == "linear" else 0)
    if op == "Einsum" and _is_plain(node):
        terms = _terms(node)
        return Work("matmul", prod(dict(zip("".join(terms), given[0] + given[1], strict=True)).values()))
    if op in POOLS:
        kernel = tuple(said["kernel_shape"])
        if prod(kernel) == 1:
            return Work("other")
        return Work("pool", 0, prod(out) * prod(kernel), ceil=bool(said.get("ceil_mode", 0)), **_window(said, kernel))
    if op in GLOBAL or (op in ("ReduceMean", "ReduceMax") and _over_places(node, given[0], out)):
        if prod(out) == prod(given[0]):
            return Work("other")
        return Work("pool", 0, prod(given[0]), kernel=given[0][2:] if len(given[0]) > 2 else ())
    kind = "norm" if op in NORMS else "act" if op in ACTS else "join" if op in JOINS else "other"
    return Work(kind)


def _terms(node: NodeProto) -> list[str]:
    """["bij", "bjk"] of "bij,bjk->bik"."""
    equation = next((helper.get_attribute_value(a) for a in node.attribute if a.name == "equation"), b"")
    return equation.decode("utf-8", "replace").replace(" ", "").split("->")[0].split(",")


def _is_plain(node: NodeProto) -> bool:
    """An einsum of two with a letter for every axis: what is counted here."""
    return len(node.input) == 2 == len(_terms(node)) and "." not in "".join(_terms(node))


def _over_places(node: NodeProto, shape: Shape, out: Shape) -> bool:
    """A reduction of (N, C, H, W) over its places: (N, C) or (N, C, 1, 1)."""
    return len(shape) == 4 and out[:2] == shape[:2] and prod(out[2:]) == 1


def _window(said: dict[str, Any], kernel: Sequence[int]) -> dict[str, Any]:
    rank = len(kernel)
    pads = said.get("pads", [0] * 2 * rank)
    return {
        "kernel": tuple(kernel),
        "stride": tuple(said.get("strides", [1] * rank)),
        "pad": tuple(max(a, b) for a, b in zip(pads[:rank], pads[rank:], strict=True)),
        "groups": int(said.get("group", 1)),
    }
