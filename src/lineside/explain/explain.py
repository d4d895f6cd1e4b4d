"""A net and pictures in, a folder of PNG files and one page out: what `lineside explain` does.

The net is a bundle's or the catalog's (subject.py). Without pictures there is only its first layer to be seen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import torch

from lineside import whole
from lineside.data.picture import load
from lineside.errors import PictureError, SettingsError
from lineside.explain import deletion, first_layer
from lineside.explain.activation import above_of, activation_map, default_stages
from lineside.explain.features import strip
from lineside.explain.heat import HEAD, is_ours, overlay, png
from lineside.explain.page import Explained, render
from lineside.explain.subject import Subject
from lineside.nets.stages import outputs
from lineside.progress import Progress, silent

PAGE = "index.html"


@dataclass(frozen=True)
class Written:
    """What is in the output folder."""

    page: Path
    first: Path  # the first layer's picture
    pictures: tuple[tuple[Explained, tuple[Path, ...]], ...]
    refused: tuple[str, ...]  # a sentence for each picture that could not be explained


def explain(
    subject: Subject,
    images: Sequence[Path],
    folder: Path,
    *,
    category: str | None = None,
    stage: str | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Written:
    """Write the maps and strips of images and the first layer into folder, and index.html with all of it.

    category None: each picture's first answer. stage None: the last stage and a finer one. What is no picture, or one
    too small, is in Written.refused. SettingsError: no such class or stage, or folder can not be written.
    """
    if category is not None and category not in subject.classes:
        near = get_close_matches(category, subject.classes, n=1)
        hint = f"did you mean {near[0]}?" if near else f"its classes: {', '.join(subject.classes)}"
        raise SettingsError(f"class {category!r} is not in {subject.title}; {hint}")
    if stage is not None:
        above_of(subject.net, stage)
    whole.free(folder / PAGE, whole.PAGE)
    found, refused = [], []
    for i, path in enumerate(images):
        try:
            found.append(_explain(subject, path, category, stage, np.random.default_rng((seed, i))))
        except PictureError as error:
            refused.append(str(error))
        progress(i + 1, len(images), path.name)
    return _write(folder, subject, found, refused)


def _explain(
    subject: Subject, path: Path, category: str | None, stage: str | None, rng: np.random.Generator
) -> Explained:
    picture, least, net = load(path), subject.min_side_px, subject.net
    if min(picture.shape[:2]) < least:
        side = f"its shorter side is {min(picture.shape[:2])} px, the bundle asks {least}"
        raise PictureError("tiny", f"{path}: {side}; give the picture as the camera takes it, or leave it out")
    with torch.no_grad():
        x = subject.prepare(torch.from_numpy(picture)[None])
        reached = outputs(net, x)
        scores = (reached["head"][0] / subject.temperature).softmax(0).tolist()
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    index = order[0] if category is None else subject.classes.index(category)
    maps = []
    for name in (stage,) if stage else default_stages(net, x):
        one = activation_map(net, x, index, name)
        proof = deletion.check(net, x, one.values, index, subject.temperature, rng)
        maps.append((one, overlay(picture, one.values.numpy()), proof))
    return Explained(
        path=path,
        picture=picture,
        scores=tuple((subject.classes[i], scores[i]) for i in order),
        category=subject.classes[index],
        maps=tuple(maps),
        strips=tuple(strip(name, out) for name, out in reached.items() if name != "head"),
    )


def _write(folder: Path, subject: Subject, found: list[Explained], refused: list[str]) -> Written:
    first = first_layer.first_layer(subject.net)
    sheet = first_layer.picture(first)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        laid_out = _put(folder, f"{first.kind}.png", sheet)
        written = []
        for number, one in enumerate(found, 1):
            stem = f"{number:02d}-{one.path.stem}"
            files = [_put(folder, f"{stem}.map-{m.stage}.png", laid) for m, laid, _ in one.maps]
            files += [_put(folder, f"{stem}.features-{s.stage}.png", s.picture) for s in one.strips]
            written.append((one, tuple(files)))
        text = render(subject, first, sheet, found, refused)
        page = folder / PAGE
        whole.write(page, text)
    except OSError as error:
        raise SettingsError(f"{folder}: can not be written ({error.strerror}); name another folder with -o") from None
    return Written(page, laid_out, tuple(written), tuple(refused))


def _put(folder: Path, name: str, picture: np.ndarray) -> Path:
    path = folder / name
    if path.is_file():
        with path.open("rb") as file:
            if not is_ours(file.read(HEAD)):
                raise SettingsError(f"{path}: is there already, and not from `lineside explain`; name another folder")
    whole.write(path, png(picture))
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
