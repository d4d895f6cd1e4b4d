"""Everything a run needs to go on as if it had not stopped, in one safetensors file: tensors, and JSON in its header.

Written to a temporary file, flushed to the disk and renamed: a kill at any moment leaves the old one or the new one.
"""

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, contiguous_format, optim

from lineside.errors import TrainError


def save(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Replace path by these tensors and JSON facts, in one step. TrainError: no room for it; path is as it was."""
    partial = path.with_name(path.name + ".partial")
    apart = {name: t.detach().clone(memory_format=contiguous_format) for name, t in tensors.items()}
    try:
        save_file(apart, partial, metadata={"facts": json.dumps(facts)})
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except (SafetensorError, OSError) as error:
        partial.unlink(missing_ok=True)
        raise TrainError(
            f"{path}: the checkpoint can not be written ({error}); make room and train again: it goes on from the last"
        ) from None


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and facts in path; TrainError if it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["facts"])  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise TrainError(f"{path}: the checkpoint can not be read ({error}); remove the file to train anew") from None


def optimiser_tensors(optimiser: optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's state as named tensors: "optimiser.<parameter index>.<name>"."""
    state = optimiser.state_dict()["state"]
    return {f"optimiser.{i}.{name}": value for i, row in state.items() for name, value in row.items()}


def restore_optimiser(optimiser: optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The way back of `optimiser_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
