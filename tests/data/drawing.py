"""Small pictures for tests: structured enough to be told apart, the same for the same number."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from lineside.data.doctor import Checkup
from lineside.data.read import Dataset, Picture


def drawing(number: int, width: int = 64, height: int = 48) -> Image.Image:
    """Smooth random blobs, colour, a different picture for each number."""
    rng = np.random.default_rng(number)
    small = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def put(root: Path, name: str, number: int, form: str = "PNG") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(drawing(number), form))
    return path


def checkup(
    labels: list[str], *, cluster: list[int] | None = None, groups: list | None = None, parts: list | None = None
) -> Checkup:
    """A check-up as `check` would give it, of pictures that exist only as rows."""
    count = len(labels)
    pictures = tuple(
        Picture(
            Path(f"/data/{i:05d}.png"),
            f"{i:05d}.png",
            labels[i],
            parts[i] if parts else None,
            groups[i] if groups else None,
        )
        for i in range(count)
    )
    return Checkup(
        Dataset(Path("/data"), "folder per class", pictures, ()),
        pictures,
        tuple(f"{i * 2654435761 % 2**64:064x}" for i in range(count)),
        np.full((count, 2), 32, np.int32),
        np.array(cluster if cluster is not None else range(count), np.int64),
        (),
    )
