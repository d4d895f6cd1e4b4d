"""The frozen stages as one function: onnxruntime on a CPU, torch on a GPU.

They learn nothing, so they need no autograd: what runs them may be what is fastest at running. On two cores the stages
of EfficientNet-Lite0 below stride 16 take torch 603 ms for 32 pictures (237 in bfloat16), onnxruntime 73: it folds the
batch norms and fuses the activations (benchmarks/results/learning_parts.json).
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Frozen = Callable[[Tensor], Tensor]


def frozen(below: nn.Module, example: Tensor) -> Frozen:
    """below as a function of (B, C, H, W) float32 on the CPU → the same, without gradients.

    example (1, C, H, W) lies on the device that computes; B is free, C, H, W are its.
    """
    if example.device.type == "cpu":
        return _onnxruntime(below, example)
    below = below.to(example.device, memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]

    def run(x: Tensor) -> Tensor:
        with torch.inference_mode():
            return below(x.to(example.device, memory_format=torch.channels_last)).float().cpu()

    return run


def _onnxruntime(below: nn.Module, example: Tensor) -> Frozen:
    import onnxruntime as ort

    ort.disable_telemetry_events()
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
    """Without two remarks of torch's exporter that are nobody's fault here."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")  # "torchvision is not installed", 4 times
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():  # torch 2.13's own pytree, pickled by its own exporter
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            yield
    finally:
        log.setLevel(level)
