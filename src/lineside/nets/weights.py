"""A net with published weights in its body and a new head.

Where weights come from is a row of the net's family (net.Weights): a file inside a pip package, or an URL. A file in
pickle's format is read by torch.load(weights_only=True), which builds tensors and nothing else, and only once: what was
downloaded is kept as safetensors from then on, under the publisher's names. The row's table gives ours.
"""

import hashlib
import os
import pickle
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn

from lineside.errors import MissingExtra, SettingsError, TrainError
from lineside.nets.cache import cache
from lineside.nets.catalog import find
from lineside.nets.fetch import fetch, is_offline
from lineside.nets.net import Net, Weights
from lineside.nets.parts import pool_by
from lineside.progress import Progress, silent


def load_weights(
    net: str,
    classes: int,
    *,
    weights: str = "default",
    pool_power: float = 1.0,
    offline: bool | None = None,
    progress: Progress = silent,
) -> nn.Sequential:
    """The net of this name for so many classes in train mode, its body with published weights.

    weights: "default", "none" (all from scratch), or a row's name ("imagenet1k_v2"). A net without published weights
    is from scratch under "default". The new last layer is zero: whatever the seed, the first loss is log(classes), and
    a head fitted on frozen features starts from the one point that prefers no class.
    pool_power: see nets/parts.py, PowerMean. offline None asks the environment (LINESIDE_OFFLINE). SettingsError: no
    such net or weights. TrainError: the weights are not to be had.
    """
    row = find(net)
    chosen = choose(net, row, weights)
    if chosen is None:
        return row.make(classes, pool_power)
    loaded = published(net, chosen.name, offline=offline, progress=progress)
    last = loaded.get_submodule("head.fc")
    assert isinstance(last, nn.Linear)
    new = nn.Linear(last.in_features, classes)
    nn.init.zeros_(new.weight)
    nn.init.zeros_(new.bias)
    loaded.set_submodule("head.fc", new)
    return pool_by(loaded, pool_power).train()


def published(
    net: str, weights: str = "default", *, offline: bool | None = None, progress: Progress = silent
) -> nn.Sequential:
    """The net as published, with the head of its 1,000 classes, in eval."""
    row = find(net)
    chosen = choose(net, row, weights)
    if chosen is None:
        raise SettingsError(f"net {net!r} has no published weights")
    theirs = read_state(chosen, is_offline() if offline is None else offline, progress)
    built = row.build(row.classes)
    built.load_state_dict(translate(learnt(theirs, chosen), chosen.names(), built, chosen.place))
    return built.eval()


def choose(net: str, row: Net, weights: str) -> Weights | None:
    """The row of this name; None for from scratch; SettingsError with the names there are."""
    if weights == "none" or (weights == "default" and not row.weights):
        return None
    if weights == "default":
        return row.weights[0]
    named = {w.name: w for w in row.weights}
    if weights not in named:
        near = get_close_matches(weights, ["default", "none", *named], n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: default, none{''.join(f', {n}' for n in named)}"
        raise SettingsError(f"net {net!r} has no weights {weights!r}; {hint}")
    return named[weights]


def learnt(theirs: Mapping[str, Tensor], row: Weights) -> dict[str, Tensor]:
    """The file's tensors that the net has a use for, under the names that the publisher has now."""
    found = {}
    for key, value in theirs.items():
        if key.startswith(row.left_out) or key.rpartition(".")[2] in row.derived:
            continue
        for old, new in row.renamed:
            key = key.replace(old, new)
        found[key] = value
    return found


def translate(
    theirs: Mapping[str, Tensor], names: Mapping[str, str], built: nn.Module, place: str
) -> dict[str, Tensor]:
    """The publisher's tensors under our names: all of them, each once. TrainError where one is missing or left over."""
    ours: dict[str, Tensor] = {}
    left = dict(theirs)
    for key, wanted in built.state_dict().items():
        module, _, leaf = key.rpartition(".")
        their_key = names[key] if key in names else f"{names[module]}.{leaf}"
        if leaf == "num_batches_tracked" and their_key not in left:  # older files have none, and nothing reads it
            ours[key] = torch.zeros((), dtype=torch.int64)
            continue
        found = left.pop(their_key, None)
        if found is None or found.shape != wanted.shape:
            what = "is missing" if found is None else f"has shape {tuple(found.shape)}, expected {tuple(wanted.shape)}"
            raise TrainError(f"{place}: {their_key} {what}; the file is not of the net that this program has")
        ours[key] = found
    if left:
        raise TrainError(
            f"{place}: holds {len(left)} tensors that the net has no place for, such as {next(iter(left))}"
        )
    return ours


def read_state(row: Weights, offline: bool, progress: Progress) -> dict[str, Tensor]:
    """The tensors of one row under the publisher's names; from the package, the cache, or the network."""
    if urlsplit(row.place).scheme not in ("http", "https"):
        return read_pickle(_in_package(row))
    from safetensors.torch import load_file

    folder = cache() / "weights"
    name = Path(urlsplit(row.place).path).name
    kept = folder / f"{Path(name).stem}.safetensors"
    if not kept.exists():
        _keep(read_pickle(fetch(row.place, row.sha256, folder, offline=offline, progress=progress)), kept, row)
    try:
        return load_file(kept)
    except Exception as error:  # safetensors raises its own
        raise TrainError(f"{kept}: can not be read ({error}); delete it and run the command again") from None


def read_pickle(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pth file; TrainError if it holds anything else. No code of the file is run."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise TrainError(f"{path}: is not a file of tensors ({str(error).splitlines()[0]})") from None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise TrainError(f"{path}: expected a dict of tensors, found {type(state).__name__}")
    return {str(key): value for key, value in state.items()}


def _keep(state: Mapping[str, Tensor], path: Path, row: Weights) -> None:
    """Write state as safetensors, whole or not at all."""
    from safetensors.torch import save_file

    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        save_file({k: v.contiguous() for k, v in state.items()}, part, {"place": row.place, "sha256": row.sha256})
        os.replace(part, path)
    except OSError as error:
        raise TrainError(
            f"{path.parent}: weights can not be kept there ({error.strerror or error}); make it writable and see that "
            "it has room, or set LINESIDE_CACHE to a folder that is"
        ) from None
    finally:
        part.unlink(missing_ok=True)


def _in_package(row: Weights) -> Path:
    package, _, inside = row.place.partition(":")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingExtra("this net", package.replace("_", "-"))
    path = Path(spec.origin).parent / inside
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise TrainError(f"{path}: can not be read ({error.strerror}); reinstall {package.replace('_', '-')}") from None
    if not found.startswith(row.sha256):
        raise TrainError(f"{path}: is not the file this program knows (sha256 {found[:8]}, expected {row.sha256[:8]})")
    return path
