"""genicam:PRODUCER.cti, genicam:PRODUCER.cti:SERIAL, any camera with a GenTL producer, through harvesters.

A producer is the vendor's driver as a file (.cti). Without a serial number there must be exactly one camera. Frame
ids are the producer's; those it leaves out are lost frames. harvesters throws incomplete frames away and goes on; its
callback tells of them, and each is a frame without a picture here. Pixels become RGB by pixels.py.

harvesters is under Apache-2.0; the genicam package that it uses is under the GenICam licence, and is used, not
copied.
"""

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lineside.bundle.folder import Bundle
from lineside.errors import LineError, LinesideError, MissingExtra, SettingsError
from lineside.line.source.device import Grab
from lineside.line.source.frame import Source
from lineside.line.source.live import live
from lineside.line.source.pixels import converter, depth_note
from lineside.line.source.settings import Camera, with_tail
from lineside.line.source.sfnc import apply

BUFFERS = 16
LOOK_S, REST_S = 0.0005, 0.002  # harvesters holds Python's lock while it waits, so it is not left to wait


def connect(url: str, where: str, bundle: Bundle, camera: Camera) -> Source:
    address, camera = with_tail(url, where, camera)
    path, _, serial = address.partition(".cti:")
    producer = Path(f"{path}.cti" if serial else address)
    if producer.suffix != ".cti":
        raise SettingsError(f"{url!r}: expected genicam:PRODUCER.cti or genicam:PRODUCER.cti:SERIAL")
    if not producer.is_file():
        raise LineError(f"{url}: {producer} is not there; it comes with the camera's driver (GENICAM_GENTL64_PATH)")
    try:
        import harvesters.core  # noqa: F401
    except ImportError:
        raise MissingExtra(url, "harvesters", "genicam") from None
    url = f"genicam:{address}"
    return live(url, lambda: GenICam(url, producer, serial, camera, time.monotonic_ns), camera)


class GenICam:
    """One camera, as device.Device. Final."""

    ids = 0

    def __init__(self, url: str, producer: Path, serial: str, camera: Camera, now_ns: Callable[[], int]):
        from harvesters.core import Callback, Harvester

        torn: deque[int] = deque()  # the line's clock, for each incomplete frame

        class Torn(Callback):  # called in the thread that fetches, when harvesters has thrown a frame away
            def emit(self, context: object | None = None) -> None:
                torn.append(now_ns())

        self._now_ns = now_ns
        self._acquirer: Any = None
        self._last_id: int | None = None
        self._torn = torn
        self._harvester: Any = Harvester()
        try:
            self._open(url, producer, serial, camera, Torn())
        except LinesideError:
            self.close()
            raise
        except Exception as error:
            self.close()
            raise LineError(f"{url}: the camera can not be opened: {_plain(error)}") from None

    def _open(self, url: str, producer: Path, serial: str, camera: Camera, torn: Any) -> None:
        self._harvester.add_file(str(producer), check_existence=True, check_validity=True)
        self._harvester.update()
        found = self._harvester.device_info_list
        fitting = [n for n, info in enumerate(found) if serial in ("", info.serial_number)]
        if len(fitting) != 1:
            there = ", ".join(str(info.serial_number) for info in found) or "none"
            raise LineError(f"{url}: expected exactly one camera, or PRODUCER.cti:SERIAL; the producer sees: {there}")
        info = found[fitting[0]]
        self.name = f"{info.model} {info.serial_number}"
        self._acquirer = self._harvester.create(fitting[0])
        self._acquirer.num_buffers = max(BUFFERS, self._acquirer.min_num_buffers)
        self._acquirer.num_filled_buffers_to_hold = BUFFERS - 1
        self._acquirer.add_callback(self._acquirer.Events.INCOMPLETE_BUFFER, torn)
        self._map = self._acquirer.remote_device.node_map
        nodes = Nodes(self._map)
        notes = apply(nodes, camera, url, self.name)
        form, height, width = str(nodes.read("PixelFormat")), int(nodes.read("Height")), int(nodes.read("Width"))
        self.shape = (height, width, 3)
        self._converters = {form: converter(form, width, height)}
        self.notes = (*notes, *depth_note(form))

    def start(self) -> None:
        self._last_id = None
        self._torn.clear()
        self._acquirer.start()

    def fire(self) -> None:
        self._map.TriggerSoftware.execute()

    def grab(self, timeout_s: float) -> Grab | None:
        until = self._now_ns() + round(timeout_s * 1e9)
        while (
            (buffer := self._acquirer.try_fetch(timeout=LOOK_S)) is None and not self._torn and self._now_ns() < until
        ):
            time.sleep(REST_S)
        if buffer is None and self._torn:
            self._last_id = None if self._last_id is None else self._last_id + 1
            return Grab(None, self._torn.popleft(), "a frame came incomplete", frame_id=self._last_id)
        if buffer is None:
            return None
        arrived = self._now_ns()
        try:
            self._last_id = int(buffer.module.frame_id)
            given = {"frame_id": self._last_id, "camera_ns": _stamp(buffer)}
            (part, *others) = buffer.payload.components
            form, width, height = str(part.data_format), int(part.width), int(part.height)
            if others or (height, width, 3) != self.shape:
                what = f"{1 + len(others)} pictures, the first {width} × {height}"
                return Grab(
                    None, arrived, f"frame {given['frame_id']} holds {what}; expected one of {self.shape}", **given
                )
            if form not in self._converters:
                self._converters[form] = converter(form, width, height)
            return Grab(self._converters[form](np.ascontiguousarray(part.data).view(np.uint8)), arrived, **given)
        finally:
            buffer.queue()

    def alive(self) -> str:
        try:
            self._map.Width.get_value(False, True)  # of the camera itself, not what the library remembers
        except Exception as error:
            return f"{self.name} does not answer: {_plain(error)}"
        return ""

    def stop(self) -> None:
        self._acquirer.stop()

    def close(self) -> None:
        if self._acquirer is not None:
            self._acquirer.destroy()
        self._harvester.reset()


class Nodes:
    """The node map, as sfnc.Features. Final."""

    def __init__(self, nodes: Any):
        self._nodes = nodes

    def _node(self, name: str) -> Any:
        return getattr(self._nodes, name)

    def has(self, name: str) -> bool:
        from genicam.genapi import EAccessMode

        return name in dir(self._nodes) and self._mode(name) not in (EAccessMode.NI, EAccessMode.NA)

    def writable(self, name: str) -> bool:
        from genicam.genapi import EAccessMode

        return self._mode(name) in (EAccessMode.RW, EAccessMode.WO)

    def _mode(self, name: str) -> Any:
        return self._node(name).get_access_mode()

    def bounds(self, name: str) -> tuple[float, float, float]:
        node = self._node(name)
        whole = type(node).__name__ == "IInteger"
        return float(node.min), float(node.max), float(node.inc) if whole else 0.0

    def choices(self, name: str) -> tuple[str, ...]:
        return tuple(self._node(name).symbolics)

    def read(self, name: str) -> float | str:
        return self._node(name).value

    def write(self, name: str, value: float | str) -> None:
        node = self._node(name)
        node.value = int(value) if type(node).__name__ == "IInteger" else value


def _stamp(buffer: Any) -> int | None:
    try:
        return int(buffer.module.timestamp_ns) or None
    except Exception:  # GenTL: "information is not available": this camera has no clock
        return None


def _plain(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
