"""The engines that can run a bundle's graph: one function each, opened from the bytes that were hashed.

    open(model, precision, threads) -> infer,    infer((N, H, W, 3) uint8) -> logits (N, K) float32

OpenVINO picks bfloat16 by itself on CPUs that have it, so its precision is always pinned and read back. Neither engine
may speak to the network: lineside/no_telemetry.py.
"""

import os
import threading
from collections.abc import Callable

import numpy as np

from lineside.bundle.manifest import EngineName, Precision
from lineside.errors import BundleError
from lineside.no_telemetry import import_onnxruntime, import_openvino

Infer = Callable[[np.ndarray], np.ndarray]
Open = Callable[[bytes, Precision, int], Infer]


def open_model(engine: EngineName, model: bytes, precision: Precision, threads: int | None = None) -> Infer:
    """infer for a graph of export.py; threads: None = every core this process may use.

    BundleError, also from infer: the engine can not open the model, or fails in it.
    """
    if engine not in ENGINES:
        raise BundleError(f"engine {engine!r} is not known; this program has: {', '.join(ENGINES)}")
    run = ENGINES[engine](model, precision, threads or cores())

    def infer(pictures: np.ndarray) -> np.ndarray:
        try:
            return run(pictures)
        except Exception as error:  # the engines' exceptions share no base class
            raise BundleError(
                f"{engine} {precision} gave no answer: {_first_line(error)}; "
                "the model does not fit this engine, or memory is short: export it again on this machine"
            ) from None

    return infer


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0))


def onnxruntime(model: bytes, precision: Precision, threads: int) -> Infer:
    if precision == "bfloat16":
        raise BundleError("onnxruntime has no bfloat16 on CPUs; use --engine openvino, or another precision")
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Threads that went on spinning would take a core each for 35 ms after an answer: from the camera's thread on the
    # line, and from the engine that parity times next. While it computes they may spin: 5.6 ms a picture, 6.4 without.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3  # errors
    try:
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        (picture,) = session.get_inputs()
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        raise BundleError(f"onnxruntime can not open the model: {_first_line(error)}") from None

    def infer(pictures: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(["logits"], {picture.name: pictures})[0])

    return infer


def openvino(model: bytes, precision: Precision, threads: int) -> Infer:
    ov = import_openvino()
    computes = "bf16" if precision == "bfloat16" else "f32"  # int8 is in the graph; what is left float stays float32
    core = ov.Core()
    try:
        graph = core.read_model(model, b"")
        compiled = core.compile_model(
            graph,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": computes,
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": threads,
            },
        )
        really = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        output, request, one_at_a_time = compiled.output("logits"), compiled.create_infer_request(), threading.Lock()
    except RuntimeError as error:
        raise BundleError(f"openvino can not open the model: {_first_line(error)}") from None
    if really != computes:
        raise BundleError(
            f"openvino computes in {really} on this CPU where {computes} was asked for; use another precision"
        )

    def infer(pictures: np.ndarray) -> np.ndarray:
        with one_at_a_time:  # a request holds its answer until the next
            request.infer([pictures], share_inputs=True)
            return request.get_tensor(output).data.copy()

    return infer


def _first_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:300]


ENGINES: dict[str, Open] = {"onnxruntime": onnxruntime, "openvino": openvino}
