"""Pictures and a bundle in, a folder of PNG files and one page out: what `lineside explain` does.

The net is rebuilt from the bundle's weights.safetensors: maps need gradients, which the exported graph does not give.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lineside.bundle.export import rebuild
from lineside.bundle.manifest import Manifest
from lineside.data.picture import load
from lineside.errors import DataError, PictureError, SettingsError
from lineside.explain import deletion, filters
from lineside.explain.activation import above_of, activation_map, default_stages
from lineside.explain.features import strip
from lineside.explain.heat import overlay, png
from lineside.explain.page import Explained, render
from lineside.nets.input import Input
from lineside.nets.stages import outputs
from lineside.progress import Progress, silent

PAGE = "index.html"


@dataclass(frozen=True)
class Written:
    """What is in the output folder."""

    page: Path
    filters: Path
    pictures: tuple[tuple[Explained, tuple[Path, ...]], ...]


def explain(
    bundle: Path,
    images: Sequence[Path],
    folder: Path,
    *,
    category: str | None = None,
    stage: str | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Written:
    """Write the maps, strips and filters of images into folder, and index.html with all of it.

    category None: each picture's first answer. stage None: the last stage and a finer one. BundleError: not a bundle of
    this task; PictureError: not a picture; SettingsError: no such class or stage.
    """
    net, manifest = rebuild(bundle)
    net.requires_grad_(False)
    one = manifest.input
    prepare = Input(one.size_px, one.mean, one.std).eval()
    if category is not None and category not in manifest.classes:
        near = get_close_matches(category, manifest.classes, n=1)
        hint = f"did you mean {near[0]}?" if near else f"its classes: {', '.join(manifest.classes)}"
        raise SettingsError(f"class {category!r} is not in {bundle}; {hint}")
    if stage is not None:
        above_of(net, stage)
    found = []
    for i, path in enumerate(images):
        found.append(_explain(net, prepare, manifest, path, category, stage, np.random.default_rng((seed, i))))
        progress(i + 1, len(images), path.name)
    return _write(folder, bundle, net, manifest, found)


def _explain(
    net: nn.Sequential,
    prepare: Input,
    manifest: Manifest,
    path: Path,
    category: str | None,
    stage: str | None,
    rng: np.random.Generator,
) -> Explained:
    picture, least = load(path), manifest.input.min_side_px
    if min(picture.shape[:2]) < least:
        raise PictureError("tiny", f"{path}: its shorter side is {min(picture.shape[:2])} px, the bundle asks {least}")
    with torch.no_grad():
        x = prepare(torch.from_numpy(picture)[None])
        reached = outputs(net, x)
        scores = (reached["head"][0] / manifest.temperature).softmax(0).tolist()
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    index = order[0] if category is None else manifest.classes.index(category)
    maps = []
    for name in (stage,) if stage else default_stages(net, x):
        one = activation_map(net, x, index, name)
        proof = deletion.check(net, x, one.values, index, manifest.temperature, rng)
        maps.append((one, overlay(picture, one.values.numpy()), proof))
    return Explained(
        path=path,
        picture=picture,
        scores=tuple((manifest.classes[i], scores[i]) for i in order),
        category=manifest.classes[index],
        maps=tuple(maps),
        strips=tuple(strip(name, out) for name, out in reached.items() if name != "head"),
    )


def _write(folder: Path, bundle: Path, net: nn.Sequential, manifest: Manifest, found: list[Explained]) -> Written:
    sheet = filters.picture(filters.filters(net))
    conv = filters.first_conv(net)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        first = _put(folder, "filters.png", sheet)
        written = []
        for number, one in enumerate(found, 1):
            stem = f"{number:02d}-{one.path.stem}"
            files = [_put(folder, f"{stem}.map-{m.stage}.png", laid) for m, laid, _ in one.maps]
            files += [_put(folder, f"{stem}.features-{s.stage}.png", s.picture) for s in one.strips]
            written.append((one, tuple(files)))
        shape = (conv.out_channels, conv.in_channels, conv.kernel_size[0])
        text = render(bundle.absolute().name, manifest, sheet, shape, found)
        page = folder / PAGE
        page.write_text(text, "utf-8")
    except OSError as error:
        raise DataError(f"{folder}: can not be written ({error.strerror}); name another folder with -o") from None
    return Written(page, first, tuple(written))


def _put(folder: Path, name: str, picture: np.ndarray) -> Path:
    path = folder / name
    path.write_bytes(png(picture))
    return path


def summary(written: Written) -> Iterator[str]:
    """One line for each picture: name, answer, and whether the map's place matters."""
    for one, _ in written.pictures:
        best, score = one.scores[0]
        proof = one.maps[0][2]
        asked = "" if one.category == best else f", explained as {one.category} ({proof.whole.score:.3f})"
        yield (
            f"{one.path}: {best} {score:.3f}{asked}; lead {proof.whole.lead:.2f}, with the map's hottest "
            f"{proof.share:.0%} blurred {proof.blurred.lead:.2f}, with the same shape elsewhere "
            f"{proof.elsewhere_lead:.2f} (mean of {len(proof.elsewhere)})"
        )
