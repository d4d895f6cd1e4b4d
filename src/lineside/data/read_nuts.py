"""The built-in nuts as a data set: COCO JSON beside its pictures. The lot of a picture is its group."""

import json
from pathlib import Path

from lineside.data.read import Dataset, Picture
from lineside.errors import DataError

NUTS = Path(__file__).parent / "nuts" / "nuts.json"


def read_nuts(path: Path = NUTS) -> Dataset:
    """The rendered pictures of hex, flanged and square nuts. The label is the category of the one annotation."""
    try:
        coco = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"nuts: the built-in pictures are not in this installation ({path} is not there); "
            "install lineside again from its wheel"
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"nuts: {path} can not be read ({error}); install lineside again") from None
    try:
        name_of = {category["id"]: category["name"] for category in coco["categories"]}
        label_of = {note["image_id"]: name_of[note["category_id"]] for note in coco["annotations"]}
        pictures = [
            Picture(
                path.parent / image["file_name"], image["file_name"], label_of[image["id"]], None, str(image["lot"])
            )
            for image in coco["images"]
        ]
    except (KeyError, TypeError) as error:
        raise DataError(f"nuts: {path} is not the expected COCO JSON ({error!r}); install lineside again") from None
    pictures.sort(key=lambda picture: picture.name)
    return Dataset(path.parent, "nuts", tuple(pictures), ())
