"""How many altered copies of real pictures the check-up finds, and how many pictures it calls copies by itself.

    python -m benchmarks.near_duplicates [NAME=FOLDER…] [-o benchmarks/results/near_duplicates.json]

Per data set and alteration: COPIES pictures, drawn by seed, are altered once each and added to the data set; recall is
the share of them that is paired with its original, with the whole method (candidates and proof). `paired` is how many
of the data set's own pictures are in a pair: whether those are copies is for eyes to say (docs/check.md). Without
NAME=FOLDER: the real sets that are here, of Fashion-MNIST its 10,000 test pictures. What an earlier run found in other
sets stays, and says when that was.
"""

import argparse
import io
import json
import platform
import tempfile
from datetime import date
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from benchmarks import real_data
from lineside import __version__
from lineside.data import near, picture
from lineside.data.facts import THUMB_PX
from lineside.data.read import read

COPIES = 250
REAL = ("neu-det", "magnetic-tile", "elpv", "fashion-mnist")


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.fromarray(picture.decode(out.getvalue(), "copy"))


def resize(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)


def brighten(image: Image.Image, gain: float, offset: float) -> Image.Image:
    return Image.fromarray(np.clip(np.asarray(image) * gain + offset, 0, 255).astype(np.uint8))


def crop(image: Image.Image, share: float, rng: np.random.Generator) -> Image.Image:
    """Take share of the width and of the height away, somewhere."""
    width, height = round(image.width * (1 - share)), round(image.height * (1 - share))
    x, y = rng.integers(0, image.width - width + 1), rng.integers(0, image.height - height + 1)
    return image.crop((x, y, x + width, y + height))


ALTER = {
    "JPEG quality 95": lambda image, rng: jpeg(image, 95),
    "JPEG quality 75": lambda image, rng: jpeg(image, 75),
    "JPEG quality 50": lambda image, rng: jpeg(image, 50),
    "resized to 50 %": lambda image, rng: resize(image, 0.5),
    "resized to 75 %": lambda image, rng: resize(image, 0.75),
    "resized to 150 %": lambda image, rng: resize(image, 1.5),
    "brighter: 1.05 v + 3": lambda image, rng: brighten(image, 1.05, 3),
    "darker: 0.9 v": lambda image, rng: brighten(image, 0.9, 0),
    "cropped by 1 %": lambda image, rng: crop(image, 0.01, rng),
    "cropped by 2 %": lambda image, rng: crop(image, 0.02, rng),
    "cropped 2 %, 60 %, brighter, quality 70": lambda image, rng: jpeg(
        brighten(resize(crop(image, 0.02, rng), 0.6), 1.05, 2), 70
    ),
}


def thumb(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L").resize((THUMB_PX, THUMB_PX), Image.Resampling.BILINEAR))


def measure(folder: str) -> dict:
    pictures = read(folder).pictures
    thumbs, aspects = np.empty((len(pictures), THUMB_PX, THUMB_PX), np.uint8), np.empty(len(pictures))
    for i, own in enumerate(pictures):
        image = Image.fromarray(picture.load(own.path))
        thumbs[i], aspects[i] = thumb(image), image.width / image.height
    own_pairs = near.near_pairs(thumbs, aspects)
    rng = np.random.default_rng(1)
    rows = rng.choice(len(pictures), min(COPIES, len(pictures)), replace=False)
    recall = {}
    for name, alter in ALTER.items():
        copies = [alter(Image.fromarray(picture.load(pictures[i].path)), rng) for i in rows]
        all_thumbs = np.concatenate([thumbs, np.stack([thumb(c) for c in copies])])
        all_aspects = np.concatenate([aspects, [c.width / c.height for c in copies]])
        pairs = near.candidates(all_thumbs, all_aspects)
        judged = near.judge(
            all_thumbs, pairs[pairs[:, 1] >= len(pictures)]
        )  # the set's own pairs are judged once, above
        found = set(map(tuple, judged.index[judged.near].tolist()))
        hits = sum((int(row), len(pictures) + k) in found for k, row in enumerate(rows))
        recall[name] = {"found": hits, "of": len(rows)}
    return {"pictures": len(pictures), "paired": len(np.unique(own_pairs)), "pairs": len(own_pairs), "recall": recall}


def real(folder: Path) -> dict[str, str]:
    """The folder of each real set that is here, laid out under folder."""
    found = real_data.at_hand(REAL, folder)
    if whole := found.pop("fashion-mnist", None):
        found["fashion-mnist-10k"] = str(Path(whole) / "test")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="NAME=FOLDER")
    parser.add_argument("-o", type=Path, default=Path(__file__).parent / "results" / "near_duplicates.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folders = dict(one.split("=", 1) for one in args.sets) or real(Path(temporary))
        new = {name: measure(folder) for name, folder in folders.items()}
    if not new:
        return
    sets = {}
    if args.o.is_file():
        earlier = json.loads(args.o.read_text())
        sets = earlier.pop("sets")
        for one in sets.values():
            one.setdefault("measured", earlier)
    versions = {
        "lineside": __version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "python": platform.python_version(),
    }
    settings = {k: getattr(near, k) for k in ("TABLES", "WINDOW", "MAX_BITS", "MAX_LEFT", "MAX_LEFT_SHARE")}
    facts = {"date": date.today().isoformat(), "versions": versions, "settings": settings}
    args.o.write_text(json.dumps(facts | {"sets": sets | new}, indent=1) + "\n")


if __name__ == "__main__":
    main()
