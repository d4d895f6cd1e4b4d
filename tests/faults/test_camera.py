"""Cameras that are killed, hang, lose packets or fail frames: emulated ones, each the real thing to the line.

The bundle accepts every whole picture of these cameras, so a torn or invented one that reached the engine would pass.
"""

import contextlib
import sqlite3

import pytest

from lineside.line.source.aravis import _library
from tests.faults.graphs import anything
from tests.faults.shop import PARTS, gate_is_stored, rows, so_far, sqlite
from tests.line.sources.conftest import gige, pylon  # noqa: F401 (fixtures)

pytestmark = pytest.mark.slow
CAMERA_FPS = 125.0  # the emulator's own is 25
SLOW = "deadline_ms=30000"
WHICH = "aravis:127.0.0.1#roi=64x64+0+0"


@pytest.fixture
def grey(shop):
    shop.furnish(0, extra={"model.onnx": anything()})
    return shop


def quick(camera, lost_per_thousand=0):
    """The emulator, started, at 125 pictures a second until it is started again."""
    camera.start(lost_per_thousand)
    device = _library("aravis:").Camera.new("127.0.0.1")
    device.set_float("AcquisitionFrameRate", CAMERA_FPS)
    device.get_device().leave_control()
    return camera


def gate(plc) -> tuple[str, str]:
    return "--gate", f"modbus://127.0.0.1:{plc.port}?{SLOW}&pass_ms=1"


def only_whole_pictures_pass(shop, plc, summary):
    """Each part has one verdict, in order, in store and at the gate; accepted are exactly those with a picture."""
    found = only_whole_pictures_are_accepted(shop, summary)
    gate_is_stored(plc, found, ["x-good.png"] * len(found))
    return found


def only_whole_pictures_are_accepted(shop, summary):
    found = rows(sqlite(shop.store))
    assert [row.sequence for row in found] == list(range(1, summary["parts"] + 1))
    for row in found:
        assert (row.verdict == "accept") == (row.reason == "decided"), row
    assert summary["source"]["delivered"] >= summary["verdicts"]["accept"] > 0
    return found


@pytest.mark.parametrize("how", ["kill", "stand_still"])
def test_a_camera_that_is_killed_or_hangs_is_a_fault(gige, grey, plc, how):  # noqa: F811
    """Its process stands still: no packet, no good-bye."""
    quick(gige)
    line = grey.line(*gate(plc), source=f"{WHICH},timeout_s=1", fps=None)
    line.until(lambda: so_far(plc) > PARTS // 2)
    getattr(gige, how)()
    assert line.ends() == 6, line.said()
    assert "aravis:127.0.0.1: no frame for 1 s (timeout_s)" in line.said()
    only_whole_pictures_pass(grey, plc, line.summary())
    assert plc.coils()[-1] == [True, False]


def test_kill_9_of_the_camera_and_it_comes_back(gige, grey):  # noqa: F811
    """With reconnect_s a line without a gate goes on, and rejects a part for each picture that ought to have come."""
    quick(gige)
    line = grey.line("--parts", str(PARTS), source=f"{WHICH},timeout_s=0.3,reconnect_s=100", fps=None)

    def count(of="1") -> int:
        with contextlib.suppress(sqlite3.OperationalError):  # not made yet
            return sqlite(grey.store)(f"SELECT count(*) FROM inspection WHERE {of}")[0][0]
        return 0

    line.until(lambda: count() > PARTS // 2)
    gige.kill()
    line.until(lambda: count("verdict = 'reject'"))
    gige.start()
    assert line.ends() == 0, line.said()
    summary = line.summary()
    found = only_whole_pictures_are_accepted(grey, summary)
    assert (len(found), summary["source"]["reconnects"]) == (PARTS, 1)
    assert summary["source"]["lost"] == summary["verdicts"]["reject"] > 0
    assert found[-1].verdict == "accept"


def test_a_camera_that_restarts_at_once_is_opened_again(gige, grey, plc):  # noqa: F811
    """It answers, but has forgotten to whom it is to send; by a software trigger nothing else shows that."""
    gige.start()
    source = f"{WHICH},trigger=software,timeout_s=0.5,reconnect_s=100"
    line = grey.line(*gate(plc), "--parts", "150", source=source, fps=None)
    line.until(lambda: so_far(plc) > 50)
    gige.kill()
    gige.start()
    assert line.ends() == 0, line.said()
    summary = line.summary()
    found = only_whole_pictures_pass(grey, plc, summary)
    assert summary["source"]["reconnects"] == 1
    assert found[-1].verdict == "accept"


def test_five_packets_in_a_thousand_are_lost(gige, grey, plc):  # noqa: F811
    """The emulator sends no packet twice, so each that is lost tears a picture."""
    quick(gige, lost_per_thousand=5)
    summary = grey.run(*gate(plc), "--parts", str(PARTS), source=WHICH, fps=None)
    found = only_whole_pictures_pass(grey, plc, summary)
    assert len(found) == PARTS
    source = summary["source"]
    assert source["incomplete"] + source["lost"] + source["skipped"] == summary["verdicts"]["reject"]
    assert source["incomplete"] > 0


def test_frames_that_come_incomplete(pylon, grey, plc):  # noqa: F811
    """pylon's emulator is told to tear 30 frames, 10 at a time."""
    program = ("-m", "tests.faults.torn", "10", "200", "500", "800")
    source = "basler:#roi=64x64+0+0"
    summary = grey.run(
        *gate(plc), "--parts", str(PARTS), source=source, fps=None, program=program, PYLON_CAMEMU="1"
    )  # fmt: skip
    found = only_whole_pictures_pass(grey, plc, summary)
    assert len(found) == PARTS
    assert summary["source"]["incomplete"] == summary["verdicts"]["reject"] == 30
