"""The real pictures that Lineside is measured on, as folders that `lineside` reads. Nothing here is shipped.

    elpv            pip elpv-dataset (Buerhop-Lutz et al. 2018, Deitsch et al. 2019), 2,624 solar cells 300×300;
                    defect probability ≥ 0.5 is `defective`
    magnetic-tile   Huang et al. 2018: 1,344 grey pictures of tiles, six classes
    neu-det         Song and Yan 2013: 1,800 pictures 200×200 of steel strip, six classes by file name
    fashion-mnist   Debian dataset-fashion-mnist (Xiao et al. 2017): 70,000 grey pictures 28×28, ten classes;
                    its own 10,000 test pictures stay test
    nuts            built in

The second and third are looked for in LINESIDE_DATA, or in ../shared/data beside the repository. A benchmark says which
it did not find and leaves them out; their earlier rows stay.
"""

import csv
import gzip
import importlib.util
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

DATA = Path(os.environ.get("LINESIDE_DATA", Path(__file__).parents[2] / "shared" / "data"))
FASHION = Path("/usr/share/datasets/fashion-mnist")
GARMENTS = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")

# name: (classes that may pass)
ACCEPT = {
    "nuts": ("hex_nut",),
    "elpv": ("functional",),
    "magnetic-tile": ("MT_Free",),
    "neu-det": (),
    "fashion-mnist": (),
}


def prepare(name: str, folder: Path) -> str:
    """Lay the data set out under folder (once); what to call it on the command line. FileNotFoundError if absent."""
    if name == "nuts":
        return "nuts:"
    target = folder / name
    if not target.exists():
        partial = folder / f"{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        WRITERS[name](partial)
        partial.rename(target)
    return str(target)


def at_hand(names: Iterable[str], folder: Path) -> dict[str, str]:
    """prepare for each data set that is on this machine, by name; the others are said, and left out."""
    found = {}
    for name in names:
        try:
            found[name] = prepare(name, folder)
        except FileNotFoundError as error:
            left_out(name, error)
    return found


def left_out(name: str, why: object) -> None:
    """Say that a data set is not on this machine."""
    print(f"{name}: left out, it is not here: {why}", flush=True)


def fashion_at_hand(folder: Path = FASHION) -> bool:
    """Whether Fashion-MNIST's files are in their folder; said where not."""
    if not folder.is_dir():
        left_out("fashion-mnist", folder)
    return folder.is_dir()


def elpv(folder: Path) -> None:
    found = importlib.util.find_spec("elpv_dataset")
    if found is None or found.submodule_search_locations is None:
        raise FileNotFoundError("pip install elpv-dataset")
    data = Path(found.submodule_search_locations[0]) / "data"
    for line in (data / "labels.csv").read_text().splitlines():
        name, probability, _ = line.split()
        label = "defective" if float(probability) >= 0.5 else "functional"
        (folder / label).mkdir(exist_ok=True)
        shutil.copy(data / name, folder / label)


def pictures_in(name: str, patterns: tuple[str, ...]) -> list[Path]:
    """The files of a data set in DATA, pattern after pattern; FileNotFoundError if there is none."""
    found = [file for pattern in patterns for file in sorted((DATA / name).glob(pattern))]
    if not found:
        raise FileNotFoundError(f"{DATA / name}/{patterns[0]}: no such file; LINESIDE_DATA names the folder above it")
    return found


def magnetic_tile(folder: Path) -> None:
    for picture in pictures_in("magnetic-tile", ("MT_*/Imgs/*.jpg",)):
        (folder / picture.parts[-3]).mkdir(exist_ok=True)
        shutil.copy(picture, folder / picture.parts[-3])


def neu_det(folder: Path) -> None:
    for picture in pictures_in("neu-det", ("IMAGES/*.jpg", "Validation_Images/*.jpg")):
        label = picture.stem.rsplit("_", 1)[0]
        (folder / label).mkdir(exist_ok=True)
        shutil.copy(picture, folder / label)


def garments(part: str, folder: Path = FASHION) -> tuple[np.ndarray, np.ndarray]:
    """Fashion-MNIST's "train" or "t10k": grey pictures (N, 28, 28) and labels (N,), uint8, in the order of GARMENTS."""
    with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
        pictures = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
        return pictures, np.frombuffer(file.read(), np.uint8, offset=8)


def fashion_mnist(folder: Path) -> None:
    rows = []
    for part, split in (("train", "train"), ("t10k", "test")):
        pictures, labels = garments(part)
        for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            name = f"{split}/{GARMENTS[label]}/{i:05d}.png"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / name)
            rows.append((name, GARMENTS[label], split))
    with (folder / "fashion.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])


WRITERS = {"elpv": elpv, "magnetic-tile": magnetic_tile, "neu-det": neu_det, "fashion-mnist": fashion_mnist}
