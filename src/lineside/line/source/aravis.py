"""aravis:ADDRESS, a GigE Vision camera through Aravis, by its IP address, host name or Aravis' own id.

Aravis finds missing packets and asks for them again; a frame that stays incomplete is one without a picture, and a
gap in frame ids is a lost frame. Its sign that the control of the camera is lost comes 5.5 s after the fact, so
live.py's own watch is what counts. Pixels become RGB by pixels.py.

Aravis and PyGObject are under the LGPL-2.1+: used, not copied. Both come from the system: on Debian python3-gi and
gir1.2-aravis-0.8, which are also found from inside a virtual environment of the same Python.
"""

import importlib.util
import sys
import time
import warnings
from collections.abc import Callable
from importlib.machinery import PathFinder
from typing import Any

import numpy as np

from lineside.bundle.folder import Bundle
from lineside.errors import LineError, MissingExtra, SettingsError
from lineside.line.source.device import Grab
from lineside.line.source.frame import Source
from lineside.line.source.live import live
from lineside.line.source.pixels import converter, depth_note
from lineside.line.source.settings import Camera, with_tail
from lineside.line.source.sfnc import apply

DEBIAN = "/usr/lib/python3/dist-packages"  # where python3-gi lies, outside of every virtual environment
BUFFERS = 16
CONTROL, STREAM_PORT = (
    0x0A00,
    0x0D00,
)  # bootstrap registers of GigE Vision, which a restart clears


def connect(url: str, where: str, bundle: Bundle, camera: Camera) -> Source:
    address, camera = with_tail(url, where, camera)
    if not address:
        raise SettingsError(f"{url!r}: expected aravis:ADDRESS such as aravis:192.168.1.20; arv-tool-0.8 lists cameras")
    url = f"aravis:{address}"
    library = _library(url)
    return live(url, lambda: Aravis(library, url, address, camera, time.monotonic_ns), camera)


def _library(url: str) -> Any:
    """Aravis' bindings. MissingExtra where they, or PyGObject, are not there."""
    try:
        gi = _gi()
        gi.require_version("Aravis", "0.8")
        with (
            warnings.catch_warnings()
        ):  # PyGObject 3.42 loads by a method that Python 3.12 dropped, and is warned of it
            warnings.simplefilter("ignore", ImportWarning)
            from gi.repository import Aravis as library  # pyright: ignore[reportMissingImports]
    except (ImportError, ValueError):
        what = "PyGObject with Aravis 0.8 (Debian: apt-get install python3-gi gir1.2-aravis-0.8)"
        raise MissingExtra(url, what, "aravis") from None
    return library


def _gi() -> Any:
    if "gi" not in sys.modules and importlib.util.find_spec("gi") is None:
        spec = PathFinder.find_spec("gi", [DEBIAN])  # only this package: nothing else of the system's Python gets in
        if spec is None or spec.loader is None:
            raise ImportError("gi")
        module = importlib.util.module_from_spec(spec)
        sys.modules["gi"] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules["gi"]
            raise
    import gi  # pyright: ignore[reportMissingImports]

    return gi


class Aravis:
    """One camera, as device.Device. Final."""

    ids = 2**16

    def __init__(self, library: Any, url: str, address: str, camera: Camera, now_ns: Callable[[], int]):
        self._now_ns, self._status = now_ns, library.BufferStatus
        self._camera: Any = None
        self._stream: Any = None
        try:
            self._camera = library.Camera.new(address)
            self.name = f"{self._camera.get_model_name()} {self._camera.get_device_serial_number()}"
            nodes = Nodes(library, self._camera.get_device())
            notes = apply(nodes, camera, url, self.name)
            region = self._camera.get_region()
            width, height = region.width, region.height
            self.shape = (height, width, 3)
            form = self._camera.get_pixel_format_as_string()
            self._convert = converter(form, width, height)
            self.notes = (*notes, *depth_note(form))
            self._camera.set_acquisition_mode(library.AcquisitionMode.CONTINUOUS)
            self._stream = self._camera.create_stream(None, None)
            payload = self._camera.get_payload()
            for _ in range(BUFFERS):
                self._stream.push_buffer(library.Buffer.new_allocate(payload))
        except (LineError, SettingsError):
            self.close()
            raise
        except Exception as error:
            self.close()
            raise LineError(
                f"{url}: the camera does not open: {error}; look at its power, cable and IP address"
            ) from None

    def start(self) -> None:
        self._last_id: int | None = None
        while (buffer := self._stream.try_pop_buffer()) is not None:  # of before: nobody's picture any more
            self._stream.push_buffer(buffer)
        self._camera.start_acquisition()

    def fire(self) -> None:
        self._camera.software_trigger()

    def grab(self, timeout_s: float) -> Grab | None:
        buffer = self._stream.timeout_pop_buffer(round(timeout_s * 1e6))
        if buffer is None:
            return None
        arrived = self._now_ns()
        try:
            status = buffer.get_status()
            frame_id = self._last_id = self._id(buffer.get_frame_id(), status == self._status.SUCCESS)
            if status != self._status.SUCCESS:  # its time stamp is as doubtful as its id
                return Grab(None, arrived, f"frame {frame_id} came incomplete ({status.value_nick})", frame_id)
            given = {"frame_id": frame_id, "camera_ns": buffer.get_timestamp() or None}
            width, height = buffer.get_image_width(), buffer.get_image_height()
            if (height, width, 3) != self.shape:
                return Grab(None, arrived, f"frame {frame_id} is {width} × {height}, expected {self.shape}", **given)
            return Grab(self._convert(np.frombuffer(buffer.get_data(), np.uint8)), arrived, **given)
        finally:
            self._stream.push_buffer(buffer)

    def _id(self, said: int, whole: bool) -> int | None:
        """The frame's id. Of a torn one it is not known: the packet that tells it may be among the missing; then the
        buffer says 0, or what it said before. It counts as the next; a gap shows at the next whole frame."""
        if whole:
            return said
        return None if self._last_id is None else (self._last_id + 1) % self.ids

    def alive(self) -> str:
        try:
            ours = all(self._camera.get_device().read_register(at) & 0xFFFF for at in (CONTROL, STREAM_PORT))
        except Exception as error:
            return f"{self.name} does not answer: {error}"
        return "" if ours else f"{self.name} has forgotten us: it was restarted, and sends its pictures to nobody"

    def stop(self) -> None:
        self._camera.stop_acquisition()

    def close(self) -> None:
        camera, self._stream, self._camera = self._camera, None, None
        if camera is not None:
            camera.get_device().leave_control()  # now, not when the last reference to it is gone


class Nodes:
    """Aravis' feature nodes, as sfnc.Features. Final."""

    def __init__(self, library: Any, device: Any):
        self._library, self._device = library, device

    def has(self, name: str) -> bool:
        return bool(self._device.is_feature_available(name))

    def writable(self, name: str) -> bool:
        node = self._device.get_feature(name)
        return node.get_actual_access_mode() != self._library.GcAccessMode.RO

    def bounds(self, name: str) -> tuple[float, float, float]:
        if self._whole(name):
            low, high = self._device.get_integer_feature_bounds(name)
            return float(low), float(high), float(self._device.get_integer_feature_increment(name))
        low, high = self._device.get_float_feature_bounds(name)
        return low, high, 0.0

    def choices(self, name: str) -> tuple[str, ...]:
        return tuple(self._device.dup_available_enumeration_feature_values_as_strings(name))

    def read(self, name: str) -> float | str:
        if self._text(name):
            return self._device.get_string_feature_value(name)
        return (
            self._device.get_integer_feature_value(name)
            if self._whole(name)
            else self._device.get_float_feature_value(name)
        )

    def write(self, name: str, value: float | str) -> None:
        if isinstance(value, str):
            self._device.set_string_feature_value(name, value)
        elif self._whole(name):
            self._device.set_integer_feature_value(name, int(value))
        else:
            self._device.set_float_feature_value(name, float(value))

    def _whole(self, name: str) -> bool:
        return self._library.GcInteger.__gtype__ in _kinds(self._device.get_feature(name)) and not self._text(name)

    def _text(self, name: str) -> bool:
        return isinstance(self._device.get_feature(name), self._library.GcEnumeration | self._library.GcString)


def _kinds(node: Any) -> list[Any]:
    return list(node.__gtype__.interfaces)
