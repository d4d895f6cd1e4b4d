"""What an ONNX file costs, node by node, in the same rows as a net's.

Shapes are found by onnx's shape inference; where a graph computes its own shapes (a resize, a reshape by arithmetic)
and inference gives up, onnxruntime runs it once on zeros. Sizes that the file leaves open are given by --size; an open
batch is 1. Parameters are the floating initialisers that have a dimension, and the constants that layers read, in the
node that reads them first; of quantised weights the integers. Functions that a file defines are counted by their nodes.
"""

from collections.abc import Container, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, inliner, numpy_helper, shape_inference

from lineside.errors import SettingsError
from lineside.ledger.field import Seen
from lineside.ledger.onnx_field import BY_NUMBERS, VIEWS, Value, begin, follow
from lineside.ledger.onnx_node import CONVS, GEMMS, NORMS, PRODUCTS, RECURRENT, Shape, attributes, uncounted
from lineside.ledger.onnx_node import work as work_of
from lineside.ledger.row import Cost, Row, Tensors
from lineside.no_telemetry import import_onnxruntime

FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
# What reads learnt numbers for sure; a constant that anything else reads may as well be a colour's share of the luma.
LEARNT = {*CONVS, "ConvTranspose", *PRODUCTS, *GEMMS, *RECURRENT, *NORMS}
# Their other inputs are scales, sides and paddings: no parameters.
ONLY_FIRST = {"DequantizeLinear", "QuantizeLinear", "Resize", "Upsample", "Pad", "Slice", "Tile"}


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
    if model.functions:
        model = inliner.inline_local_functions(model)
    graph = model.graph
    if not graph.node:
        raise _Unreadable("it holds no operation")
    for node in graph.node:
        if not any(node.output):
            raise _Unreadable(f"its node {node.name or node.op_type!r} puts nothing out")
    learnt = {one.name: one for one in graph.initializer}
    given = [one for one in graph.input if one.name not in learnt]
    written = _constants(model)
    learnt |= written
    inputs = {one.name: _sized(one, size_px, name) for one in given}
    shapes, kinds, computed = _shapes(model, inputs, source, set(learnt))
    shapes |= {n: tuple(t.dims) for n, t in learnt.items()}
    sayers = _sayers(model)
    numbers = computed | {n: _array(t) for n, t in learnt.items() if n in sayers and not t.external_data}
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
    seen: dict[str, Seen | None] = {n: begin(shape) for n, shape in inputs.items()}
    constants, same = set(learnt), {}
    rows, reads, makes, notes = [], [], [], []
    for node in graph.node:
        if node.op_type == "Constant":
            constants.add(node.output[0])
            shapes.setdefault(node.output[0], ())
            continue
        sources = [same.get(n, n) for n in node.input if n]
        out = next(n for n in node.output if n)
        if node.op_type == "Identity" and set(sources) <= constants:  # one tensor of the file under two names
            same[out] = sources[0]
            constants.add(out)
            continue
        try:
            values = [Value(shapes.get(n, ()), seen.get(n)) for n in (same.get(n, n) for n in node.input)]
            field = follow(node, shapes[out], values, numbers)
            work = work_of(node, out, shapes, constants)
        except (IndexError, KeyError, TypeError, ValueError):
            raise _Unreadable(
                f"its node {node.name or out!r} lacks an input, a size or an attribute that {node.op_type} needs"
            ) from None
        seen |= {n: field for n in node.output if n}
        if node.op_type in (*VIEWS, "Identity") and sources[0] in number:  # another shape of the same numbers
            number[out] = number[sources[0]]
            if sources[0] in maker:
                maker[out] = maker[sources[0]]
            continue
        if unknown := uncounted(node):
            notes.append(unknown)
        taken = sources[:1] if node.op_type in ONLY_FIRST else sources
        if node.op_type not in LEARNT:
            taken = [n for n in taken if n not in written]
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
                field=field.field if field else (),
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


def _constants(model: ModelProto) -> dict[str, TensorProto]:
    """Tensors that stand in nodes instead of in the list of initialisers."""
    nodes = [(node, attributes(node)) for node in model.graph.node if node.op_type == "Constant" and node.output[0]]
    found = {node.output[0]: said["value"] for node, said in nodes if "value" in said}
    lists = {node.output[0]: next(iter(said.values())) for node, said in nodes if said and "value" not in said}
    return found | {n: numpy_helper.from_array(np.asarray(v), n) for n, v in lists.items() if not isinstance(v, bytes)}


def _sayers(model: ModelProto) -> set[str]:
    """The tensors whose numbers say which places are meant: slices, axes, paddings."""
    return {n for node in model.graph.node if node.op_type in BY_NUMBERS for n in node.input[1:]}


def _array(tensor: TensorProto) -> np.ndarray:
    try:
        return numpy_helper.to_array(tensor)
    except ValueError as error:
        raise _Unreadable(f"its constant {tensor.name!r} is broken: {error}") from None


def _sized(value: Any, size_px: int | tuple[int, int] | None, name: str) -> Shape:
    """The shape of an input: an open batch is 1, open sides are size_px; in `value` too."""
    if not value.type.HasField("tensor_type"):
        raise _Unreadable(f"its input {value.name!r} is no tensor")
    if not value.type.tensor_type.HasField("shape"):
        raise _Unreadable(f"its input {value.name!r} says nothing of its shape, not even how many dimensions it has")
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
    model: ModelProto, inputs: dict[str, Shape], source: str | bytes, constants: Container[str]
) -> tuple[dict[str, Shape], dict[str, int], dict[str, np.ndarray]]:
    """(shape, bytes an element) of every tensor; the numbers that the graph computes to say which places it means."""
    inferred = shape_inference.infer_shapes(model, data_prop=True)
    shapes: dict[str, Shape] = {t.name: tuple(t.dims) for t in model.graph.initializer} | inputs
    kinds: dict[str, int] = {t.name: _bytes(t.data_type) for t in model.graph.initializer}
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        tensor = value.type.tensor_type
        kinds[value.name] = _bytes(tensor.elem_type)
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
            shapes.setdefault(value.name, tuple(d.dim_value for d in tensor.shape.dim))
    made = [n for node in model.graph.node for n in node.output if n]
    missing = [n for n in made if n not in shapes]
    said = _sayers(model)
    computed = [n for n in made if n in said and n not in constants]
    if not missing and not computed:
        return shapes, kinds, {}
    try:
        found = _by_running(model, inputs, list(dict.fromkeys((*missing, *computed))), source)
    except _Unreadable:
        if missing:
            raise
        return shapes, kinds, {}  # only the receptive field is lost
    return shapes | {n: found[n].shape for n in missing}, kinds, {n: found[n] for n in computed}


def _by_running(
    model: ModelProto, inputs: dict[str, Shape], names: list[str], source: str | bytes
) -> dict[str, np.ndarray]:
    """These tensors, where the inputs are zeros."""
    ort = import_onnxruntime()
    bare = ModelProto()
    bare.CopyFrom(model)
    have = {one.name for one in bare.graph.output}
    bare.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in names if n not in have)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4  # what fails is said in one sentence
    try:
        kinds = {one.name: one.type.tensor_type.elem_type for one in model.graph.input}
        if isinstance(source, str):
            onnx.load_external_data_for_model(bare, str(Path(source).parent))
        session = ort.InferenceSession(bare.SerializeToString(), options, providers=["CPUExecutionProvider"])
        given = {n: np.zeros(shape, helper.tensor_dtype_to_np_dtype(kinds[n])) for n, shape in inputs.items()}
        answers = session.run(names, given)
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        raise _Unreadable(str(error)) from None
    return {n: np.asarray(a) for n, a in zip(names, answers, strict=True)}


def _bytes(kind: int) -> int:
    return np.dtype(helper.tensor_dtype_to_np_dtype(kind)).itemsize if kind else 4
