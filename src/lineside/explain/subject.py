"""Who is asked: the net of a bundle, or a net of the catalog with its published weights.

A bundle's net is rebuilt from its weights.safetensors: maps need gradients, which the exported graph does not give.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from torch import nn

from lineside.bundle.export import rebuild
from lineside.data.picture import MIN_SIDE_PX
from lineside.errors import BundleError, SettingsError
from lineside.nets.catalog import NETS
from lineside.nets.input import Input
from lineside.nets.weights import choose, published


@dataclass(frozen=True)
class Subject:
    """A net in float32 and eval without gradients, and how pictures are put to it."""

    title: str
    about: tuple[str, ...]  # what the page says below its title
    net: nn.Sequential
    prepare: Input
    classes: tuple[str, ...]
    temperature: float
    min_side_px: int


def is_net(what: str | Path) -> bool:
    """Whether this names a net of the catalog; a bundle of that name goes first."""
    return str(what) in NETS and not Path(what).exists()


def subject(what: str | Path) -> Subject:
    """The net of a bundle (a path) or of the catalog (a name), whose classes are then ImageNet's by number, from 0.

    BundleError: neither. SettingsError: a net without published weights. TrainError: they are not to be had.
    """
    return _of_net(str(what)) if is_net(what) else _of_bundle(Path(what))


def _of_bundle(path: Path) -> Subject:
    try:
        net, manifest = rebuild(path)
    except BundleError as error:
        near = get_close_matches(str(path), NETS, n=1, cutoff=0.8)
        if path.exists() or not near:
            raise
        raise BundleError(f"{error}; or did you mean the net {near[0]}?") from None
    if not isinstance(net, nn.Sequential):
        raise BundleError(
            f"{path}: is an {manifest.made_of}, nets that have no stage in common; explain the bundles that "
            "it was made of, one at a time"
        )
    one = manifest.input
    return Subject(
        title=path.absolute().name,
        about=(
            f"{manifest.net} at {one.size_px} px",
            f"{len(manifest.classes)} classes",
            f"made {manifest.created}",
        ),
        net=net.requires_grad_(False),
        prepare=Input(one.size_px, one.mean, one.std).eval(),
        classes=manifest.classes,
        temperature=manifest.temperature,
        min_side_px=one.min_side_px,
    )


def _of_net(name: str) -> Subject:
    row = NETS[name]
    weights = choose(name, row, "default")
    if weights is None:
        raise SettingsError(
            f"net {name!r} has no published weights, and of an untrained one there is nothing to see; train it with: "
            f"lineside train DATA -o BUNDLE --net {name}, then name the bundle"
        )
    return Subject(
        title=name,
        about=(f"{row.size_px} px", f"weights {weights.name}: {weights.source}", "classes of ImageNet by number"),
        net=published(name).requires_grad_(False),
        prepare=Input(row.size_px, row.mean, row.std).eval(),
        classes=tuple(str(i) for i in range(row.classes)),
        temperature=1.0,
        min_side_px=MIN_SIDE_PX,
    )
