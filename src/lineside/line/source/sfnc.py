"""Settings → features of a GenICam camera, by the names of the Standard Features Naming Convention (EMVA, SFNC 2.7).

The same for basler:, genicam: and aravis:, each of which brings its library down to Features. A value is checked
against the camera's own range before it is written, and read back: some libraries wrap a number round that is too
large.
"""

from typing import Protocol

from lineside.errors import LineError, SettingsError
from lineside.line.source.settings import Camera

EXPOSURE = ("ExposureTime", "ExposureTimeAbs")  # µs; the second is what GigE cameras of before SFNC 2.0 say
COLOURS = ("Red", "Green", "Blue")


class Features(Protocol):
    """What a camera has, by name. A number's range is (least, most, step); step 0: any."""

    def has(self, name: str) -> bool: ...
    def writable(self, name: str) -> bool: ...
    def bounds(self, name: str) -> tuple[float, float, float]: ...
    def choices(self, name: str) -> tuple[str, ...]: ...
    def read(self, name: str) -> float | str: ...
    def write(self, name: str, value: float | str) -> None: ...


def apply(features: Features, camera: Camera, url: str, model: str) -> tuple[str, ...]:
    """Make the settings; notes of what the camera took otherwise. SettingsError with the range for what it can not."""
    at = f"{url}: {model}"
    notes: list[str] = []
    if camera.roi is not None:  # first: other ranges may depend on it
        _roi(features, camera.roi, at)
    if camera.exposure_us is not None:
        _off(features, "ExposureAuto")
        notes += _number(features, EXPOSURE, "exposure_us", camera.exposure_us, at)
    if camera.gain_db is not None:
        _off(features, "GainAuto")
        if not features.has("Gain") and features.has("GainRaw"):
            low, high, _ = features.bounds("GainRaw")
            raise SettingsError(
                f"{at}: gain_db: this camera counts gain in steps of its own (GainRaw, {low:g} to {high:g}), not in "
                "dB; set it with the vendor's program and leave gain_db out"
            )
        notes += _number(features, ("Gain",), "gain_db", camera.gain_db, at)
    if camera.white_balance is not None:
        if not features.has("BalanceRatio") or not features.has("BalanceRatioSelector"):
            raise SettingsError(f"{at}: white_balance: this camera has none (no BalanceRatio); leave it out")
        _off(features, "BalanceWhiteAuto")
        for colour, gain in zip(COLOURS, camera.white_balance, strict=True):
            features.write("BalanceRatioSelector", colour)
            notes += _number(features, ("BalanceRatio",), f"white_balance of {colour.lower()}", gain, at)
    notes += _trigger(features, camera, at)
    return tuple(notes)


def _roi(features: Features, roi: tuple[int, int, int, int], at: str) -> None:
    for name in ("OffsetX", "OffsetY"):  # to the corner, so that any width and height that fit are taken
        if features.has(name) and features.writable(name):
            features.write(name, features.bounds(name)[0])
    x, y, width, height = roi
    for name, key, value in (
        ("Width", "width", width),
        ("Height", "height", height),
        ("OffsetX", "x", x),
        ("OffsetY", "y", y),
    ):
        if name.startswith("Offset") and not value and not features.has(name):
            continue
        _number(features, (name,), f"roi: {key}", value, at)


def _number(features: Features, names: tuple[str, ...], key: str, value: float, at: str) -> list[str]:
    name = next((name for name in names if features.has(name)), None)
    if name is None or not features.writable(name):
        found = f"{name} can not be changed" if name else f"no {names[0]}"
        raise SettingsError(f"{at}: {key}: this camera can not set it ({found}); leave it out")
    low, high, step = features.bounds(name)
    if not low <= value <= high:
        raise SettingsError(f"{at}: {key}: {value:g} is outside the camera's range, {low:g} to {high:g}")
    if step and step >= 1 and (value - low) % step:
        raise SettingsError(f"{at}: {key}: the camera takes {low:g} to {high:g} in steps of {step:g}, got {value:g}")
    features.write(name, value)
    took = float(features.read(name))
    if abs(took - value) > max(0.05 * abs(value), step):
        raise LineError(f"{at}: {key}: {value:g} was written to {name}, and the camera says {took:g}")
    return [f"{key}: {value:g} was asked for, the camera took {took:g}"] if took != value else []


def _trigger(features: Features, camera: Camera, at: str) -> list[str]:
    if not features.has("TriggerMode"):
        if camera.trigger == "free":
            return []
        raise SettingsError(f"{at}: trigger: this camera can not be triggered (no TriggerMode); expected trigger=free")
    kinds = features.choices("TriggerSelector") if features.has("TriggerSelector") else ()
    for kind in kinds or ("",):  # all off: a trigger of another kind that was left on would hold back every frame
        if kind:
            features.write("TriggerSelector", kind)
        if features.writable("TriggerMode"):
            features.write("TriggerMode", "Off")
    if "FrameStart" in kinds:
        features.write("TriggerSelector", "FrameStart")
    if camera.trigger == "free":
        return []
    sources = features.choices("TriggerSource")
    if camera.trigger == "software":
        if "Software" not in sources:
            raise SettingsError(f"{at}: trigger: this camera has no software trigger, only {', '.join(sources)}")
        features.write("TriggerSource", "Software")
        features.write("TriggerMode", "On")
        return []
    inputs = [source for source in sources if source.startswith("Line")]
    if not inputs:
        raise SettingsError(
            f"{at}: trigger: this camera has no input for a hardware trigger, only {', '.join(sources)}"
        )
    if features.read("TriggerSource") not in inputs:
        features.write("TriggerSource", inputs[0])
    features.write("TriggerMode", "On")
    return [f"triggered by its input {features.read('TriggerSource')}"]


def _off(features: Features, name: str) -> None:
    """Automatics would change the value again, and make pictures depend on those before them."""
    if features.has(name) and features.writable(name):
        features.write(name, "Off")
