"""`lineside run` with each emulator, as its own process: verdicts, counts, Ctrl-C, a camera that is killed."""

import json
import os
import signal
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from lineside.errors import SettingsError
from lineside.line.source.frame import Frame, Source
from tests.line.tiny import RED, picture, run, stub

LINESIDE = [sys.executable, "-m", "lineside"]


@pytest.fixture(autouse=True)
def _watch(watchdog):
    pass


def start(bundle, url, *flags):
    command = [*LINESIDE, "run", str(bundle.path), "--source", url, "--to", "stdout:", *flags]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=os.environ | {"PYLON_CAMEMU": "1"}, **pipes)


def stored(bundle):
    connection = sqlite3.connect(f"{bundle.path}.db")
    found = connection.execute("SELECT sequence, verdict, reason, detail FROM inspection ORDER BY sequence").fetchall()
    connection.close()
    return found


@pytest.fixture(params=["basler-free", "basler-software", "genicam", "aravis", "aravis-software", "rtsp"])
def url(request):
    match request.param:
        case "basler-free":
            request.getfixturevalue("pylon")
            yield "basler:#roi=64x64+0+0"
        case "basler-software":
            request.getfixturevalue("pylon")
            yield "basler:#trigger=software,roi=64x64+0+0"
        case "genicam":
            yield f"genicam:{request.getfixturevalue('viky')}:0"
        case "aravis":
            request.getfixturevalue("gige").start()
            yield "aravis:127.0.0.1#roi=64x64+0+0"
        case "aravis-software":
            request.getfixturevalue("gige").start()
            yield "aravis:127.0.0.1#roi=64x64+0+0,trigger=software"
        case "rtsp":
            yield request.getfixturevalue("rtsp").url()


def test_from_the_camera_to_the_verdict(url, bundle):
    with start(bundle, url, "--parts", "12", "--deadline-ms", "20000", "--json") as line:
        out, err = line.communicate(timeout=100)
    assert line.returncode == 0, err
    told = [json.loads(one) for one in out.splitlines()]
    assert [one["sequence"] for one in told] == list(range(1, 13))
    assert {one["reason"] for one in told} == {"decided"}
    summary = json.loads(err[err.index("{") :])
    assert summary["source"]["delivered"] == summary["parts"] == 12
    assert len(stored(bundle)) == 12


@pytest.mark.parametrize("trigger", ["hardware", "free"])
def test_ctrl_c_ends_a_wait_for_the_camera(pylon, bundle, trigger):
    """No signal ever comes at the emulator's Line1: nothing but Ctrl-C ends this line."""
    with start(bundle, f"basler:#trigger={trigger},timeout_s=60") as line:
        line.stderr.readline()  # the camera is open
        if trigger == "free":
            line.stdout.readline()
        line.send_signal(signal.SIGINT)
        try:
            _, err = line.communicate(timeout=60)
        finally:
            line.kill()
    assert line.returncode in (130, -signal.SIGINT), err
    assert "Traceback" not in err or line.returncode < 0


def test_a_camera_that_is_killed_is_a_fault_and_nothing_passes_after(gige, bundle):
    gige.start()
    with start(bundle, "aravis:127.0.0.1#roi=64x64+0+0,timeout_s=1") as line:
        for _ in range(5):
            line.stdout.readline()
        gige.kill()
        _, err = line.communicate(timeout=100)
    assert line.returncode == 6
    assert "no frame for 1 s (timeout_s)" in err
    rows = stored(bundle)
    assert [sequence for sequence, *_ in rows] == list(range(1, len(rows) + 1))


def test_a_camera_that_comes_back_goes_on(gige, bundle):
    gige.start()
    with start(
        bundle, "aravis:127.0.0.1#roi=64x64+0+0,timeout_s=0.5,reconnect_s=60", "--parts", "200", "--json"
    ) as line:
        for _ in range(5):
            line.stdout.readline()
        gige.kill()
        for text in line.stdout:
            if "the camera is away" in text:
                break
        gige.start()
        _, err = line.communicate(timeout=100)
    assert line.returncode == 0, err
    summary = json.loads(err[err.index("{") :])
    assert summary["parts"] == 200
    lost = [row for row in stored(bundle) if "the camera is away" in row[3]]
    assert len(lost) >= 10
    assert {(verdict, reason) for _, verdict, reason, _ in lost} == {("reject", "unreadable")}
    assert summary["source"]["reconnects"] in (0, 1)  # 0: 200 parts had come, or been missed, before it was back


# ---------------------------------------------------------------------------------------------- the line's own part


@pytest.mark.parametrize("trigger", ["free", "hardware"])
def test_a_camera_with_its_own_pace_can_not_be_given_one(store, trigger):
    source = Source("x:", iter(()), None, trigger=trigger)
    with pytest.raises(SettingsError, match="max_fps: x: sets the pace by itself"):
        run(stub(), source, [], store, max_fps=5)


def test_a_software_trigger_is_not_fired_ahead(store):
    """While a part is decided, nobody asks for the next one."""
    events = []

    def infer(pictures):
        events.append("infer")
        from tests.line.tiny import logits_of

        return logits_of(pictures)

    def frames():
        for k in range(1, 6):
            events.append(f"fire {k}")
            yield Frame(str(k), k, "x", picture=picture(RED), captured_ns=None)

    closed = []
    source = Source("x:", frames(), None, close=lambda: closed.append(1), trigger="software", shape=(16, 16, 3))
    summary = run(stub(infer), source, [], store, parts=5)
    assert summary.parts == 5
    fired = [k for k, event in enumerate(events) if event.startswith("fire")]
    assert events[: fired[0]] == ["infer"] * 4  # the engine is warm before the first trigger
    assert all(events[k + 1] == "infer" for k in fired)
    assert closed == []  # it came to its end; who opened it closes it


def test_the_first_frame_of_a_camera_is_not_asked_before_the_engine_is_warm(store):
    shapes = []

    def infer(pictures):
        shapes.append(pictures.shape)
        return np.array([[-9.0, 9.0]], np.float32).repeat(len(pictures), 0)

    def frames():
        assert len(shapes) == 4
        yield Frame("1", 1, "x", picture=picture(RED, 32))

    source = Source("x:", frames(), None, trigger="free", shape=(32, 32, 3))
    assert run(stub(infer), source, [], store).verdicts["accept"] == 1
    assert set(shapes) == {(1, 32, 32, 3)}
