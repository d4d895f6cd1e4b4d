"""How a camera is to take its pictures: one frozen record, and the short form of it at the end of a URL.

    basler:40012345#trigger=software,exposure_us=2000,roi=640x480+16+0

After the # stand the fields of Camera, with commas between them. A # because everything before it may belong to the
address (rtsp://…?channel=1), and because an address never contains one that is not written as %23 (RFC 3986, 3.5).
None always means: leave the camera as it is.
"""

import math
import re
from dataclasses import dataclass, fields
from typing import Literal

from lineside.errors import SettingsError
from lineside.line.url import refuse_at, typed
from lineside.redact import redact
from lineside.settings import read

Trigger = Literal["free", "software", "hardware"]
TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Camera:
    """Settings of one camera. A camera that lacks one, or whose range does not hold it, is refused with that range."""

    exposure_us: float | None = None
    gain_db: float | None = None
    white_balance: tuple[float, float, float] | None = None  # gains of red, green, blue: fixed, never automatic
    roi: tuple[int, int, int, int] | None = None  # x, y, width, height in pixels of the sensor
    trigger: Trigger = "free"  # free: at its own pace; software: by the line; hardware: by a signal at the camera
    timeout_s: float = TIMEOUT_S  # a camera that is silent for so long, though it ought to speak, is lost
    reconnect_s: float | None = None  # for how long to try to get a lost camera back; None: a lost camera is a fault

    def __post_init__(self) -> None:
        for name in ("exposure_us", "timeout_s", "reconnect_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name}: expected a number above 0, got {value}")
        if self.gain_db is not None and not math.isfinite(self.gain_db):
            raise ValueError(f"gain_db: expected a number, got {self.gain_db}")
        if self.white_balance is not None and not all(0 < gain < math.inf for gain in self.white_balance):
            raise ValueError(f"white_balance: expected three gains above 0, got {self.white_balance}")
        if self.roi is not None and (min(self.roi[:2]) < 0 or min(self.roi[2:]) < 1):
            raise ValueError(f"roi: expected x, y from 0 and width, height from 1, got {self.roi}")


def with_tail(url: str, where: str, camera: Camera) -> tuple[str, Camera]:
    """The address without its "#key=value,…", and the camera with those values put in. SettingsError as a sentence.

    What the camera says already is not said again: of two values nobody could tell which one was meant.
    """
    address, hash_, tail = where.partition("#")
    if not hash_:
        return where, camera
    refuse_at(tail, url)
    shown = redact(url)
    pairs: list[tuple[str, str]] = []
    for item in tail.split(","):
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise SettingsError(f"{shown!r}: after the # expected key=value,key=value such as #trigger=software")
        pairs.append((key, text))
    given = typed(Camera, pairs, url)
    if "roi" in given:
        given["roi"] = _roi(shown, given["roi"])
    if "white_balance" in given:
        given["white_balance"] = _gains(shown, given["white_balance"])
    for field in fields(camera):
        if field.name in given and getattr(camera, field.name) != field.default:
            raise SettingsError(f"{shown!r}: {field.name} is set beside this URL, too; leave one of the two out")
    values = {field.name: getattr(camera, field.name) for field in fields(camera)} | given
    return address, read(Camera, values, repr(shown))


def refuse(url: str, camera: Camera, what: str, allowed: tuple[str, ...] = ()) -> None:
    """SettingsError where the camera asks for anything but `allowed` of a source that is no camera of that kind."""
    for field in fields(camera):
        value = getattr(camera, field.name)
        if value != field.default and field.name not in allowed:
            can = f"; it takes {', '.join(allowed)}" if allowed else ""
            raise SettingsError(f"{url}: {what} has no {field.name} ({value!r} was asked for); leave it out{can}")


def _roi(shown: str, text: str) -> tuple[int, ...]:
    found = re.fullmatch(r"(\d{1,9})x(\d{1,9})\+(\d{1,9})\+(\d{1,9})", text, re.ASCII)
    if not found:
        raise SettingsError(f"{shown!r}: roi: expected WIDTHxHEIGHT+X+Y such as 640x480+16+0, got {redact(text)!r}")
    width, height, x, y = map(int, found.groups())
    return x, y, width, height


def _gains(shown: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(map(float, text.split(":")))
    except ValueError:
        raise SettingsError(
            f"{shown!r}: white_balance: expected RED:GREEN:BLUE such as 1.2:1:1.7, got {redact(text)!r}"
        ) from None
