"""The emulators, each started by the test that needs it, on loopback, and stopped by its pid."""

import fcntl
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from lineside.bundle.folder import open_bundle
from tests.line.tiny import write_bundle

os.environ.setdefault("PYLON_CAMEMU", "2")  # before pypylon is imported: two emulated cameras

DEBIAN = Path("/usr/lib/python3/dist-packages")
RTSP_SERVER = """
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch("( videotestsrc is-live=true pattern=ball ! video/x-raw,width=160,height=120,framerate=25/1 "
                   "! vp8enc deadline=1 keyframe-max-dist=10 ! rtpvp8pay name=pay0 )")
factory.set_shared(True)
server.get_mount_points().add_factory("/cam", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
"""


@pytest.fixture
def bundle(tmp_path):
    return open_bundle(write_bundle(tmp_path / "tiny.bundle"))


@pytest.fixture
def pylon():
    return pytest.importorskip("pypylon.pylon", reason="pypylon is not installed")


@pytest.fixture
def viky() -> str:
    pytest.importorskip("harvesters.core", reason="harvesters is not installed")
    genicam = importlib.util.find_spec("genicam")
    assert genicam is not None
    assert genicam.origin is not None
    return str(Path(genicam.origin).parent / "viky.cti")


class FakeCamera:
    """arv-fake-gv-camera-0.8 on 127.0.0.1: it can do no other address, so a lock keeps other tests off."""

    address = "127.0.0.1"

    def __init__(self):
        self._process = None

    def start(self, lost_per_thousand=0) -> "FakeCamera":
        command = ["arv-fake-gv-camera-0.8", "-i", self.address, "-s", "GV01", "-r", str(lost_per_thousand)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _until(lambda: ":0F74 " in Path("/proc/net/udp").read_text(), "the fake camera listens")  # GVCP, port 3956
        return self

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stand_still(self) -> None:
        self._process.send_signal(signal.SIGSTOP)


@pytest.fixture
def gige():
    if shutil.which("arv-fake-gv-camera-0.8") is None:
        pytest.skip("arv-fake-gv-camera-0.8 is not installed: apt-get install aravis-tools")
    if importlib.util.find_spec("gi") is None and not (DEBIAN / "gi").is_dir():
        pytest.skip("PyGObject is not installed: apt-get install python3-gi gir1.2-aravis-0.8")
    with open(Path(tempfile.gettempdir()) / "lineside-fake-gige.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        camera = FakeCamera()
        yield camera
        camera.kill()


class RtspServer:
    """GStreamer's RTSP server under the system's Python, which has its bindings."""

    def __init__(self):
        self.port, self._process = 0, None

    def start(self) -> "RtspServer":
        """On a free port; the second time on the same."""
        command = ["/usr/bin/python3", "-c", RTSP_SERVER, str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.port = int(self._process.stdout.readline())
        return self

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._process = None

    def stand_still(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def url(self, user="") -> str:
        return f"rtsp://{user}127.0.0.1:{self.port}/cam"


@pytest.fixture
def rtsp():
    pytest.importorskip("av", reason="PyAV is not installed")
    check = "import gi; gi.require_version('GstRtspServer', '1.0')"
    if subprocess.run(["/usr/bin/python3", "-c", check], capture_output=True).returncode:
        pytest.skip("no RTSP server: apt-get install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good")
    server = RtspServer().start()
    yield server
    server.kill()


def _until(true, what: str, most_s=30.0) -> None:
    end = time.monotonic() + most_s
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"{most_s:.0f} s went by before: {what}")
        time.sleep(0.01)


@pytest.fixture
def until():
    return _until


@pytest.fixture
def watchdog():
    """Tests that hang here would hang CI: after two minutes the process says where it stands, and ends."""
    import faulthandler

    faulthandler.dump_traceback_later(120, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def no_thread_left():
    """Whatever a source started is gone after its close."""
    before = set(threading.enumerate())
    yield
    left = [thread.name for thread in threading.enumerate() if thread not in before and "source" in thread.name]
    assert left == []
