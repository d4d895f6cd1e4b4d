"""What `lineside cost` can be asked about: a net of the catalog (of signals too), a bundle, an ONNX file.

sheet_of("resnet50", size_px=None, convention="deck", measured=False)
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from lineside.bundle.folder import Bundle, open_bundle
from lineside.bundle.manifest import MANIFEST
from lineside.errors import SettingsError
from lineside.ledger import memory
from lineside.ledger.cost import cost
from lineside.ledger.measure import measure
from lineside.ledger.onnx_file import cost_of_model, read
from lineside.ledger.sheet import Sheet, sheet
from lineside.nets.catalog import NETS, SIGNALS, find
from lineside.nets.net import Net


def sheet_of(name: str, *, size_px: int | None, convention: str, measured: bool) -> Sheet:
    """The sheet of what the user named. size_px: side of the input, samples of a signal; None: the net's own.

    SettingsError: no such net, file or size. BundleError: a bundle that can not be opened.
    """
    path = Path(name)
    if name not in NETS and path.suffix == ".onnx":
        return onnx_sheet(path, size_px, convention, measured)
    if name not in NETS and (path.suffix == ".zip" or (path / MANIFEST).exists()):
        return bundle_sheet(path, size_px, convention, measured)
    if name not in NETS and not path.exists() and (path.suffix in (".bundle", ".pt", ".pth") or len(path.parts) > 1):
        raise SettingsError(f"{name}: there is no such file or folder; name a net, a bundle or an .onnx file")
    if name not in NETS and path.exists():
        raise SettingsError(f"{name}: is neither a bundle nor an .onnx file; name a net, or one of those")
    if name in SIGNALS:
        return signal_sheet(name, size_px, convention, measured)
    row = find(name)
    side = size_px or row.size_px
    smallest(name, row, side)
    shape = (1, 3, side, side)
    return net_sheet(name, lambda: row.build(row.classes), shape, convention, measured, (row.source,))


def signal_sheet(name: str, samples: int | None, convention: str, measured: bool) -> Sheet:
    """A net of signals: one signal of so many samples, or as many as its figures are for."""
    row = SIGNALS[name]
    shape = (1, row.channels, samples or row.samples)
    return net_sheet(
        name, lambda: row.build(row.channels, row.classes), shape, convention, measured, (f"{row.source}; a signal",)
    )


def smallest(name: str, row: Net, side: int) -> None:
    if side < row.least_px:
        raise SettingsError(f"{name} takes pictures of at least {row.least_px} px, got --size {side}")


def net_sheet(
    name: str,
    build: Callable[[], nn.Module],
    shape: tuple[int, ...],
    convention: str,
    measured: bool,
    facts: tuple[str, ...],
) -> Sheet:
    with torch.device("meta"):
        net = build()
    found = cost(net, shape, name=name)
    if measured:
        _refuse_too_large(name, 4 * found.params + memory.inference(found)[0], free_bytes())
    return sheet(found, convention, net, measure(build(), found) if measured else None, facts)


def _refuse_too_large(name: str, needed: int, free: int | None) -> None:
    """Before the net is built: the system would end this process, or another, without a word."""
    if free is not None and needed > free:
        raise SettingsError(
            f"{name}: --measure needs about {needed / 1e9:.1f} GB for its weights and maps, {free / 1e9:.1f} GB are "
            "free here; leave --measure out, or take a smaller net or --size"
        )


def free_bytes() -> int | None:
    """Memory that may be taken now, by the kernel's own estimate; None where it gives none."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def bundle_sheet(path: Path, size_px: int | None, convention: str, measured: bool) -> Sheet:
    """The net that the manifest names, with its classes and at its size, beside what model.onnx costs.

    Of an ensemble, which is no net of the catalog, model.onnx itself.
    """
    bundle = open_bundle(path)
    manifest = bundle.manifest
    if manifest.members:
        return _ensemble_sheet(bundle, size_px, convention, measured)
    row = find(manifest.net)
    side = size_px or manifest.input.size_px
    smallest(manifest.net, row, side)
    height, width = manifest.input.seen_height_px[1], manifest.input.seen_width_px[1]
    graph = cost_of_model(bundle.read("model.onnx"), f"{path}: model.onnx", (height, width))
    facts = (
        f"{path}: {manifest.net}, {len(manifest.classes)} classes, {manifest.input.size_px} px, {manifest.created}",
        f"model.onnx on pictures of {width}×{height} px: {graph.macs:,} MACs, the resize of its input among them, and "
        f"{graph.params:,} parameters, norms folded into convolutions",
    )
    classes, power = len(manifest.classes), manifest.pool_power
    shape = (1, 3, side, side)
    return net_sheet(path.absolute().name, lambda: row.make(classes, power), shape, convention, measured, facts)


def _ensemble_sheet(bundle: Bundle, size_px: int | None, convention: str, measured: bool) -> Sheet:
    manifest, path = bundle.manifest, bundle.path
    if measured:
        raise SettingsError(f"{path}: --measure takes one net; name the bundles that this ensemble was made of")
    height, width = size_px or manifest.input.seen_height_px[1], size_px or manifest.input.seen_width_px[1]
    facts = (
        f"{path}: {manifest.made_of}, {len(manifest.classes)} classes, {manifest.created}",
        f"counted is model.onnx on pictures of {width}×{height} px: the resize of its inputs too, norms folded",
    )
    return sheet(
        cost_of_model(bundle.read("model.onnx"), path.absolute().name, (height, width)), convention, None, facts=facts
    )


def onnx_sheet(path: Path, size_px: int | None, convention: str, measured: bool) -> Sheet:
    if measured:
        raise SettingsError(f"{path}: --measure takes a net or a bundle; an ONNX file has no modules to time")
    return sheet(read(path, size_px), convention, None)
