"""How a camera is to take its pictures: one frozen record, and the short form of it at the end of a URL.

    basler:40012345#trigger=software,exposure_us=2000,roi=640x480+16+0

After the # stand the fields of Camera, with commas between them. A # because everything before it may belong to the
address (rtsp://…?channel=1), and because an address never contains one that is not written as %23 (RFC 3986, 3.5).
None always means: leave the camera as it is.
"""

import math
import re
from dataclasses import dataclass, fields
from typing import Any, Literal

from lineside.errors import SettingsError
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
    """The address without its "#key=value,…", and the camera with those values put in. SettingsError as a sentence."""
    address, hash_, tail = where.partition("#")
    if not hash_:
        return where, camera
    given: dict[str, Any] = {}
    for item in tail.split(","):
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise SettingsError(f"{url!r}: after the # expected key=value,key=value such as #trigger=software")
        if key in given:
            raise SettingsError(f"{url!r}: {key} is there twice")
        given[key] = _value(url, key, text)
    values = {field.name: getattr(camera, field.name) for field in fields(camera)} | given
    return address, read(Camera, values, repr(url))


def refuse(url: str, camera: Camera, what: str, allowed: tuple[str, ...] = ()) -> None:
    """SettingsError where the camera asks for anything but `allowed` of a source that is no camera of that kind."""
    for field in fields(camera):
        value = getattr(camera, field.name)
        if value != field.default and field.name not in allowed:
            can = f"; it takes {', '.join(allowed)}" if allowed else ""
            raise SettingsError(f"{url}: {what} has no {field.name} ({value!r} was asked for); leave it out{can}")


def _value(url: str, key: str, text: str) -> Any:
    if key == "trigger":
        return text
    if key == "roi":
        found = re.fullmatch(r"(\d+)x(\d+)\+(\d+)\+(\d+)", text)
        if not found:
            raise SettingsError(f"{url!r}: roi: expected WIDTHxHEIGHT+X+Y such as 640x480+16+0, got {text!r}")
        width, height, x, y = map(int, found.groups())
        return x, y, width, height
    if key == "white_balance":
        return tuple(_number(url, key, part) for part in text.split(":"))
    return _number(url, key, text) if key in {field.name for field in fields(Camera)} else text


def _number(url: str, key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SettingsError(f"{url!r}: {key}: expected a number, got {text!r}") from None
