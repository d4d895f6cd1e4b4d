"""From a trained net to a bundle, and back to the net.

The graph:  pictures (N, H, W, 3) uint8 RGB, any N, H, W  →  Input (nets/input.py)  →  net  →  ÷ temperature
            →  logits (N, K) float32,  scores (N, K) = softmax(logits)

It is exported by torch's dynamo exporter, its batch norms are folded into the convolutions before them (nets/fold.py,
which makes a multiplication and an addition of those that stand elsewhere), its weights are inline, and everything that
tells of the machine it was made on (paths, stack traces) is taken out: the same net gives the same bytes. Before
anything is written the graph must give the trained net's answers: bundle/parity.py.

An ensemble (bundle/ensemble.py) eats raw pictures: its members have an Input each, and the graph's own is the identity.
"""

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from lineside import __version__
from lineside.bundle import engine, folder, looks, parity, replaced, samples
from lineside.bundle import manifest as manifests
from lineside.bundle.ensemble import Ensemble
from lineside.bundle.manifest import FORMAT, TASK, Data, Manifest, Member, Served
from lineside.data import picture, split
from lineside.data.read import Picture
from lineside.errors import BundleError, SettingsError
from lineside.evidence.intervals import Estimate
from lineside.evidence.operating import OperatingPoint
from lineside.learn.frozen import quiet
from lineside.nets.catalog import find
from lineside.nets.fold import without_batch_norm
from lineside.nets.input import Input
from lineside.no_telemetry import import_onnxruntime
from lineside.progress import Progress, silent

OPSET = 20


@dataclass(frozen=True)
class Trained:
    """What a bundle needs from training, and nothing else."""

    net: nn.Module  # float32: (N, 3, size, size) normalised → (N, K) logits, not divided by the temperature
    name: str  # of the net in nets/catalog.py, or manifest.ENSEMBLE
    pool_power: float  # of nets/parts.py, PowerMean; 1: the average
    input: nn.Module  # Input; before an Ensemble, which has Inputs of its own, the identity
    classes: tuple[str, ...]
    accept: tuple[str, ...]
    temperature: float
    recipe: Mapping[str, Any]  # settings.plain(recipe)
    source: str  # the DATA of the command
    split: split.Split
    seen_width_px: tuple[int, int]  # smallest and largest among the pictures
    seen_height_px: tuple[int, int]
    # (n, K) float32: answers(reference(net, input, temperature), …) for split.of("calibrate"), in its order: what
    # temperature and operating point were chosen on, so what every engine has to give again.
    logits: np.ndarray
    operating_point: OperatingPoint | None
    metrics: Mapping[str, Estimate]
    members: tuple[Member, ...] = ()  # of an ensemble


class Graph(nn.Module):
    """What is exported: raw pictures to logits and scores."""

    def __init__(self, net: nn.Module, input: nn.Module, temperature: float):
        super().__init__()
        self.input, self.net, self.temperature = input, net, temperature

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.net(self.input(pictures)) / self.temperature
        return logits, logits.softmax(1)


def reference(net: nn.Module, input: nn.Module, temperature: float) -> engine.Infer:
    """The trained net itself as an engine: pictures (N, H, W, 3) uint8 → logits (N, K). Sets net to float32, eval."""
    graph = Graph(net, input, temperature).float().eval()

    def infer(pictures: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return graph(torch.from_numpy(pictures))[0].numpy()

    return infer


def write(
    trained: Trained,
    path: str | Path,
    *,
    decide: parity.Decide,
    extra: Mapping[str, bytes] | None = None,
    progress: Progress = silent,
    threads: int | None = None,
) -> Manifest:
    """Export, prove parity on every calibrate picture, write the bundle; after an error nothing was written.

    Where it replaces a bundle of the same split, looks at test count on.
    decide: logits → verdicts by the operating point (or by accept, where there is none). extra: more files, such as
    report.html, by name.
    """
    model = to_onnx(trained.net, trained.input, trained.temperature)
    infer = engine.open_model("onnxruntime", model, "float32", threads)
    calibrate = trained.split.of("calibrate")
    truth = parity.Reference(
        names=tuple(one.name for one in calibrate),
        labels=tuple(one.label for one in calibrate),
        classes=trained.classes,
        accept=trained.accept,
        logits=trained.logits,
    )
    (answers,) = parity.answers([infer], [one.path for one in calibrate], progress)
    row = parity.compare(truth, answers.logits, answers.ms, decide, engine="onnxruntime", precision="float32")
    parity.refuse(row, trained.operating_point, str(path))
    served = Served("onnxruntime", "float32", "model.onnx", parity.latency(answers.ms, threads or engine.cores()))
    files = {
        "model.onnx": model,
        "weights.safetensors": save_tensors({k: v.contiguous() for k, v in trained.net.state_dict().items()}),
        "split.csv": _split_csv(trained.split),
        "calibrate.csv": parity.write_reference(truth),
        looks.FILE: looks.write(truth.names, [one.path for one in calibrate]),
        "parity.json": parity.write_rows([row]),
        **samples.choose(calibrate, answers.logits, trained.classes, "onnxruntime", "float32"),
        **(extra or {}),
    }
    manifest = Manifest(
        format=FORMAT,
        task=TASK,
        created=manifests.now(),
        classes=trained.classes,
        accept=trained.accept,
        input=_settings(trained),
        net=trained.name,
        pool_power=trained.pool_power,
        members=trained.members,
        temperature=trained.temperature,
        served=(served,),
        data=Data(trained.source, _root(calibrate), _counts(trained.split), trained.split.fingerprint),
        files=dict.fromkeys(files, "0" * 64),  # folder.write fills the hashes in
        operating_point=trained.operating_point,
        metrics=dict(trained.metrics),
        evaluations=replaced.looks(path, trained.split.fingerprint),
        recipe=dict(trained.recipe),
        versions=versions(),
    )
    folder.write(path, files, manifest)
    return folder.open_bundle(path).manifest


def to_onnx(net: nn.Module, input: nn.Module, temperature: float) -> bytes:
    """The bytes of model.onnx. BundleError if the exporter made something that onnx's checker or our border refuses."""
    graph = Graph(without_batch_norm(net), input, temperature).float().eval()
    example = torch.zeros(2, 17, 18, 3, dtype=torch.uint8)  # an N of 1 would be taken for a constant
    any_size = torch.export.Dim.DYNAMIC
    with quiet():
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            input_names=["pictures"],
            output_names=["logits", "scores"],
            dynamic_shapes=({0: any_size, 1: any_size, 2: any_size},),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _strip(model)
    onnx.helper.set_model_props(model, {"lineside": __version__, "format": str(FORMAT), "task": TASK})
    onnx.checker.check_model(model, full_check=True)
    if left := {"BatchNormalization", "Resize"} & {node.op_type for node in model.graph.node}:
        raise BundleError(
            f"the exported graph still has {', '.join(sorted(left))}: engines differ in it; report this net"
        )
    return model.SerializeToString(deterministic=True)


def rebuild(path: str | Path) -> tuple[nn.Module, Manifest]:
    """The trained net of a bundle again, in float32 and eval mode, from weights.safetensors and the manifest.

    A Sequential of named stages that eats what its Input makes, or an Ensemble, which eats raw pictures: see `front`.
    """

    def read(bundle: folder.Bundle) -> tuple[Manifest, bytes]:
        bundle.signed_by()
        return bundle.manifest, bundle.read("weights.safetensors")

    manifest, data = folder.steady(path, read)
    parts = manifest.members or (manifest,)
    nets = [_untrained(path, manifest, one) for one in parts]
    net = Ensemble(manifest.members, nets) if manifest.members else nets[0]
    try:
        net.load_state_dict(load_tensors(data))
    except Exception as error:  # safetensors and torch raise their own
        raise BundleError(f"{path}: weights.safetensors: is not for {manifest.net}: {str(error)[:300]}") from None
    return net.float().eval(), manifest


def _untrained(path: str | Path, manifest: Manifest, one: Manifest | Member) -> nn.Sequential:
    try:
        return find(one.net).make(len(manifest.classes), one.pool_power)
    except SettingsError:
        raise BundleError(
            f"{path}: its net {one.net!r} is not one of this program's; it was made by lineside "
            f"{manifest.versions.get('lineside', '?')}, update with: pip install --upgrade lineside"
        ) from None


def front(manifest: Manifest) -> nn.Module:
    """What stands before the rebuilt net in the graph."""
    one = manifest.input
    return nn.Identity() if manifest.members else Input(one.size_px, one.mean, one.std).eval()


def versions() -> dict[str, str]:
    """What made the model."""
    return {
        "lineside": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "onnxruntime": import_onnxruntime().__version__,
    }


def _strip(model: onnx.ModelProto) -> None:
    """Take out what tells of the machine and the run: stack traces, module paths, numbered dimension names."""
    graph = model.graph
    for one in (*graph.node, *graph.input, *graph.output, *graph.initializer, graph, model):
        del one.metadata_props[:]
        one.doc_string = ""
    del graph.value_info[:]
    for value, names in (
        (graph.input[0], ("n", "height", "width")),
        (graph.output[0], ("n",)),
        (graph.output[1], ("n",)),
    ):
        for dimension, name in zip(value.type.tensor_type.shape.dim, names, strict=False):
            dimension.dim_param = name
    model.producer_name, model.producer_version = "lineside", __version__
    graph.name, graph.doc_string = "lineside", ""


def _settings(trained: Trained) -> manifests.Input:
    """The manifest's record of trained.input, checked to make the very same module again."""
    if trained.members:
        most = max((one.input for one in trained.members), key=lambda one: one.size_px)
        return replace(most, seen_width_px=trained.seen_width_px, seen_height_px=trained.seen_height_px)
    assert isinstance(trained.input, Input)
    row = find(trained.name)
    made = Input(trained.input.size_px, row.mean, row.std)
    if not (torch.equal(made.gain, trained.input.gain) and torch.equal(made.shift, trained.input.shift)):
        raise BundleError(f"the net's input is not normalised with the mean and std of {trained.name} in the catalog")
    return manifests.Input(
        size_px=trained.input.size_px,
        mean=row.mean,
        std=row.std,
        min_side_px=picture.MIN_SIDE_PX,
        seen_width_px=trained.seen_width_px,
        seen_height_px=trained.seen_height_px,
    )


def _root(pictures: Sequence[Picture]) -> str:
    """The folder that the pictures' names are relative to."""
    path = pictures[0].path.absolute()
    return str(path.parents[len(PurePosixPath(pictures[0].name).parts) - 1])


def _counts(parts: split.Split) -> dict[str, dict[str, int]]:
    return {
        part: dict(sorted(Counter(one.label for one in parts.of(part)).items()))
        for part in ("train", "calibrate", "test")
    }


def _split_csv(parts: split.Split) -> bytes:
    with TemporaryDirectory(prefix="lineside-") as place:
        split.write_csv(parts, Path(place) / "split.csv")
        return (Path(place) / "split.csv").read_bytes()
