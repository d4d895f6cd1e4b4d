"""The frozen stages as one function: what is fastest at running them, in the precision of what learns above them.

They learn nothing, so they need no autograd, and their batch norms can be folded. On two cores 32 pictures take the
stages of EfficientNet-Lite0 below stride 16 603 ms in torch as they are, 237 in bfloat16. Folded, and a few pictures at
a time, so that a layer's maps are still in the processor's cache when the next one reads them, bfloat16 takes 65. In
float32 onnxruntime takes 69, after 2.5 s of exporting the graph; torch, folded, 268 (docs/decisions/001-…).

bfloat16 keeps 8 bits of every map: these features only feed training, as a GPU's would. What the bundle promises is
measured with the whole net in float32.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lineside.learn.precision import autocast, channels_last
from lineside.nets.fold import without_batch_norm
from lineside.no_telemetry import import_onnxruntime

Frozen = Callable[[Tensor], Tensor]
TOGETHER = 4  # pictures: what a layer of the first stages makes of them fits the second and third level of caches


def frozen(below: nn.Module, example: Tensor, precision: str) -> Frozen:
    """below as a function of (B, C, H, W) float32 on the CPU → the same, or bfloat16, without gradients.

    example (1, C, H, W) lies on the device that computes; B is free, C, H, W are its. precision: "float32" or
    "bfloat16", in which a CPU computes; a GPU computes in float32.
    """
    if example.device.type == "cpu":
        return _onnxruntime(below, example) if precision == "float32" else _in_parts(below, precision)
    below = below.to(example.device, memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]

    def run(x: Tensor) -> Tensor:
        with torch.inference_mode():
            return below(x.to(example.device, memory_format=torch.channels_last)).float().cpu()

    return run


def _in_parts(below: nn.Module, precision: str) -> Frozen:
    folded = without_batch_norm(below).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def run(x: Tensor) -> Tensor:
        with torch.inference_mode(), autocast(precision, x.device):
            return torch.cat([folded(channels_last(part)) for part in x.split(TOGETHER)])

    return run


def _onnxruntime(below: nn.Module, example: Tensor) -> Frozen:
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    # Threads that go on spinning after an answer would take the cores from torch's.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = ort.InferenceSession(graph(below, example), options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(["y"], {"x": x.contiguous().numpy()})[0])


def graph(below: nn.Module, example: Tensor) -> bytes:
    """The ONNX graph x → y of below in eval mode; the batch is free."""
    x = example.expand(2, *example.shape[1:]).contiguous()  # a batch of 1 would be taken for a constant
    with quiet():
        program = torch.onnx.export(
            below.float().eval(),
            (x,),
            dynamo=True,
            input_names=["x"],
            output_names=["y"],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    return program.model_proto.SerializeToString()


@contextmanager
def quiet() -> Iterator[None]:
    """Without three remarks of torch's exporter that are nobody's fault here."""
    logs = [
        logging.getLogger("torch.onnx._internal.exporter._registration"),  # "torchvision is not installed", 4 times
        logging.getLogger("onnxscript.optimizer._constant_folding"),  # "Skipping …", for each split of what is learnt
    ]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():  # torch 2.13's own pytree, pickled by its own exporter
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
