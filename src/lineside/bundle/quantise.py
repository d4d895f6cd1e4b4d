"""int8: a QDQ copy of model.onnx whose convolutions and inner layers compute on 8-bit integers.

onnxruntime's static quantiser makes it, for either engine: weights per channel, symmetric; activations by the smallest
and largest value that the calibrate pictures made. NNCF was tried for OpenVINO and gave more wrong answers on unseen
pictures (docs/decisions/011-one-quantiser.md).

What stays float32: everything before the first convolution (the resize of Input, which must stay exact) and everything
from the last Gemm on (K·C multiplications, whose rounding would go straight into the scores); of an ensemble, of every
member. Whether the result may be
used is not decided here but by parity on the calibrate pictures.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx

from lineside import __version__
from lineside.data import picture
from lineside.errors import BundleError
from lineside.no_telemetry import import_onnxruntime
from lineside.progress import Progress, silent

PICTURES = 300  # ranges settle long before; evenly through the calibrate pictures


def int8(model: bytes, files: Sequence[Path], progress: Progress = silent) -> bytes:
    """The int8 form of a float32 graph of export.py, its ranges from these picture files."""
    chosen = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, min(PICTURES, len(files))).astype(int))]
    graph = onnx.load_from_string(model)
    made = _quantised(graph, chosen, float_nodes(graph), progress)
    for one in (*made.graph.node, made.graph, made):
        del one.metadata_props[:]
    onnx.helper.set_model_props(made, {"lineside": __version__, "precision": "int8"})
    onnx.checker.check_model(made)
    return made.SerializeToString(deterministic=True)


def float_nodes(model: onnx.ModelProto) -> list[str]:
    """Nodes that stay float32, by name: all that a first convolution needs; every last Gemm and what follows.

    First: no convolution has a part in its input. Last: no Gemm or MatMul needs its output.
    """
    nodes = list(model.graph.node)  # ONNX has them in an order of computation
    behind: set[str] = set()  # tensors that a convolution has a part in
    first: set[str] = set()
    for node in nodes:
        if behind & set(node.input):
            behind |= set(node.output)
        elif node.op_type == "Conv":
            first.add(node.input[0])
            behind |= set(node.output)
    multiplied: set[str] = set()  # tensors that lead to a Gemm
    last = []
    for node in reversed(nodes):
        leads, multiplies = multiplied & set(node.output), node.op_type in ("Gemm", "MatMul")
        if multiplies and not leads:
            last.append(node)
        if multiplies or leads:
            multiplied |= set(node.input)
    if not first or not last:
        raise BundleError(
            "model.onnx: has no convolution or no linear layer at its end; int8 is for convolutional nets"
        )
    needed, before = first, []
    for node in reversed(nodes):
        if needed & set(node.output):
            needed |= set(node.input)
            before.append(node.name)
    made, after = {name for node in last for name in node.output}, [node.name for node in last]
    for node in nodes:
        if made & set(node.input):
            made |= set(node.output)
            after.append(node.name)
    return before + after


def _quantised(
    graph: onnx.ModelProto, files: Sequence[Path], stay_float: list[str], progress: Progress
) -> onnx.ModelProto:
    import_onnxruntime()
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Pictures(CalibrationDataReader):
        def __init__(self):
            self.rest = enumerate(files)

        def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
            number, file = next(self.rest, (0, None))
            if file is None:
                return None
            progress(number + 1, len(files), "")
            return {"pictures": picture.load(file)[None]}

    with TemporaryDirectory(prefix="lineside-") as place, _quiet():
        quantize_static(
            graph,
            target := Path(place) / "int8.onnx",
            Pictures(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=stay_float,
        )
        return onnx.load(target)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantiser's advice; warnings of ours come from parity."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
