"""The check-up as one HTML file that holds everything it shows.

File names, labels and messages are foreign text: jinja2 escapes them all, and the page's own policy forbids scripts and
the network. Thumbnails are bounded in number and size, so the page of 100,000 bad pictures opens as fast as any.
"""

import base64
import io
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from lineside import __version__, whole
from lineside.data import picture
from lineside.data.doctor import Checkup
from lineside.data.finding import CODES, Finding, counts
from lineside.data.read import PARTS, Picture
from lineside.errors import PictureError
from lineside.terminal import shown

THUMB_PX = 136  # longest side
FINDINGS_SHOWN = 12  # a code
PICTURES_SHOWN = 8  # a finding
THUMBS_IN_ALL = 300  # about 2 MB


def write_page(checkup: Checkup, path: Path, *, when: datetime | None = None) -> None:
    """Write the check-up of a data set as self-contained HTML. SettingsError: path can not be written,
    or holds what is no page."""
    import jinja2

    here = files("lineside.data")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(here.joinpath("page.html.j2").read_text(encoding="utf-8"))
    css = here.joinpath("page.css").read_text(encoding="utf-8")
    from markupsafe import Markup

    text = template.render(
        css=Markup(css),
        title=checkup.dataset.root.name or str(checkup.dataset.root),
        layout=checkup.dataset.layout,
        listed=len(checkup.dataset.pictures),
        readable=len(checkup.pictures),
        version=__version__,
        when=when.strftime("%Y-%m-%d %H:%M %Z").strip() if when else "",
        counts=Counter(f.severity for f in checkup.findings),
        parts=_parts(checkup),
        classes=_classes(checkup),
        sections=list(_sections(checkup)),
    )
    whole.output(path, text, whole.PAGE)


def _parts(checkup: Checkup) -> list[str]:
    stated = {p.part for p in checkup.pictures}
    return [part for part in PARTS if part in stated]


def _classes(checkup: Checkup) -> list[dict]:
    of_label = Counter(p.label for p in checkup.pictures)
    of_both = Counter((p.label, p.part) for p in checkup.pictures)
    most = max(of_label.values(), default=1)
    return [
        {
            "label": label,
            "count": of_label[label],
            "share": of_label[label] / most,
            "by_part": [of_both[label, part] for part in _parts(checkup)],
        }
        for label in checkup.dataset.classes
    ]


def _sections(checkup: Checkup) -> Iterator[dict]:
    by_name = {p.name: p for p in checkup.dataset.pictures}
    left = [THUMBS_IN_ALL]
    for row in counts(checkup.findings):
        own = [f for f in checkup.findings if f.code == row.code]
        shown = [_finding(f, by_name, left) for f in own[:FINDINGS_SHOWN]]
        yield {
            "code": row.code,
            "severity": row.severity,
            "meaning": CODES[row.code][1],
            "findings": row.findings,
            "pictures": row.pictures,
            "shown": shown,
            "rest": len(own) - len(shown),
        }


def _finding(finding: Finding, by_name: dict[str, Picture], left: list[int]) -> dict:
    pictures = [_figure(name, by_name.get(name), left) for name in finding.names[:PICTURES_SHOWN]]
    if not any(p["uri"] for p in pictures):  # nothing to see: the message says it all
        return {"message": shown(finding.message), "pictures": [], "more": 0}
    return {"message": shown(finding.message), "pictures": pictures, "more": len(finding.names) - len(pictures)}


def _figure(name: str, own: Picture | None, left: list[int]) -> dict:
    figure = {
        "name": shown(name),
        "label": own.label if own else "",
        "part": (own.part or "") if own else "",
        "uri": "",
        "why": "",
    }
    if own is None:
        return figure | {"why": "no picture of the data set"}
    if left[0] <= 0:
        return figure | {"why": "not shown: the page has its fill of pictures"}
    try:
        data = picture.read_bytes(own.path, name)
        image = picture.rgb(picture.open_picture(data, name), name)
    except PictureError as error:
        return figure | {"why": error.code}
    left[0] -= 1
    image.thumbnail((THUMB_PX, THUMB_PX))
    out = io.BytesIO()
    image.save(out, "WEBP", quality=80, method=2)
    return figure | {"uri": "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()}
