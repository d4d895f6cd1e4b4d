"""basler:, basler:SERIAL, a Basler camera through pypylon (GigE, USB3, and pylon's emulator: PYLON_CAMEMU=1).

Without a serial number there must be exactly one camera. Grab strategy OneByOne: each frame, in order, none left out by
the driver on purpose. Pixels become RGB by pylon's own ImageFormatConverter (Bayer: its 2 × 2 interpolation).

pypylon is under Basler's own licence, and is used, not copied. Lost frames show in gaps of the block id.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from lineside.bundle.folder import Bundle
from lineside.errors import LineError, MissingExtra, SettingsError
from lineside.line.source.device import Grab
from lineside.line.source.frame import Source
from lineside.line.source.live import live
from lineside.line.source.pixels import depth_note
from lineside.line.source.settings import Camera, with_tail
from lineside.line.source.sfnc import apply

BUFFERS = 16
READY_MS = 1000  # a camera that is still reading out the last picture would ignore a trigger


def connect(url: str, where: str, bundle: Bundle, camera: Camera) -> Source:
    serial, camera = with_tail(url, where, camera)
    url = f"basler:{serial}"
    try:
        from pypylon import pylon
    except ImportError:
        raise MissingExtra(url, "pypylon", "basler") from None
    return live(url, lambda: Basler(pylon, url, serial, camera, time.monotonic_ns), camera)


class Basler:
    """One camera, as device.Device. Final."""

    ids = 0

    def __init__(self, pylon: Any, url: str, serial: str, camera: Camera, now_ns: Callable[[], int]):
        self._pylon, self._now_ns = pylon, now_ns
        factory = pylon.TlFactory.GetInstance()
        found = factory.EnumerateDevices()
        serials = [info.GetSerialNumber() for info in found]
        fitting = [info for info in found if info.GetSerialNumber() == serial or not serial]
        if len(fitting) != 1:
            there = f"there are {', '.join(serials)}" if serials else "pylon finds no camera at all"
            wanted = "expected exactly one camera, or basler:SERIAL" if not serial else f"no camera {serial} here"
            raise LineError(f"{url}: {wanted}; {there}; look at its power and cable, and with pylon's IP configurator")
        info = fitting[0]
        self.name = f"{info.GetModelName()} {info.GetSerialNumber()}"
        self.ids = 2**16 if "GigE" in info.GetDeviceClass() else 0
        try:
            self._camera = pylon.InstantCamera(factory.CreateDevice(info))
            self._camera.Open()
        except Exception as error:
            raise LineError(
                f"{url}: {self.name} can not be opened, another program may hold it: {_plain(error)}"
            ) from None
        try:
            notes = apply(Nodes(self._camera), camera, url, self.name)
            if camera.trigger != "software":
                self._camera.AcquisitionMode.Value = "Continuous"
            self._camera.MaxNumBuffer.Value = BUFFERS
            nodes = Nodes(self._camera)
            ticks = "GevTimestampTickFrequency"  # GigE: a second of its clock; other cameras count nanoseconds
            self._tick_ns = 1e9 / float(nodes.read(ticks)) if nodes.has(ticks) else 1.0
            self.notes = (*notes, *depth_note(self._camera.PixelFormat.Value))
            self.shape = (self._camera.Height.Value, self._camera.Width.Value, 3)
        except Exception as error:
            self.close()
            if isinstance(error, LineError | SettingsError):
                raise
            raise LineError(f"{url}: {self.name} did not take its settings: {_plain(error)}") from None
        self._converter = pylon.ImageFormatConverter()
        self._converter.OutputPixelFormat = pylon.PixelType_RGB8packed

    def start(self) -> None:
        self._camera.StartGrabbing(self._pylon.GrabStrategy_OneByOne)

    def fire(self) -> None:
        if self._camera.CanWaitForFrameTriggerReady():
            self._camera.WaitForFrameTriggerReady(READY_MS, self._pylon.TimeoutHandling_ThrowException)
        self._camera.TriggerSoftware.Execute()

    def grab(self, timeout_s: float) -> Grab | None:
        result = self._camera.RetrieveResult(round(timeout_s * 1000), self._pylon.TimeoutHandling_Return)
        if not result.IsValid():
            if trouble := self.alive():
                raise LineError(trouble)
            return None
        arrived = self._now_ns()
        try:
            stamp = round(result.TimeStamp * self._tick_ns) or None  # 0 in the emulator
            given = {"frame_id": result.BlockID, "camera_ns": stamp, "skipped": result.NumberOfSkippedImages}
            if not result.GrabSucceeded():
                what = f"frame {result.BlockID} came incomplete (0x{result.ErrorCode:x}): {result.ErrorDescription}"
                return Grab(None, arrived, what, **given)
            return Grab(self._rgb(result), arrived, **given)
        finally:
            result.Release()

    def _rgb(self, result: Any) -> np.ndarray:
        return self._converter.Convert(result).GetArray()

    def alive(self) -> str:
        return f"{self.name} is gone: unplugged, or without power" if self._camera.IsCameraDeviceRemoved() else ""

    def stop(self) -> None:
        self._camera.StopGrabbing()

    def close(self) -> None:
        self._camera.Close()


class Nodes:
    """pylon's parameters, as sfnc.Features. Final."""

    def __init__(self, camera: Any):
        from pypylon import genicam

        self._camera, self._genicam = camera, genicam

    def _node(self, name: str) -> Any:
        return getattr(self._camera, name)

    def has(self, name: str) -> bool:
        return bool(self._genicam.IsAvailable(self._node(name)))

    def writable(self, name: str) -> bool:
        return bool(self._genicam.IsWritable(self._node(name)))

    def bounds(self, name: str) -> tuple[float, float, float]:
        node = self._node(name)
        whole = "Integer" in type(node).__name__
        return float(node.Min), float(node.Max), float(node.Inc) if whole else 0.0

    def choices(self, name: str) -> tuple[str, ...]:
        return tuple(self._node(name).Symbolics)

    def read(self, name: str) -> float | str:
        return self._node(name).Value

    def write(self, name: str, value: float | str) -> None:
        node = self._node(name)
        node.Value = int(value) if "Integer" in type(node).__name__ else value


def _plain(error: Exception) -> str:
    return " ".join(str(error).split())
