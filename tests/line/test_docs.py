"""docs/run.md says what the code has: flags, schemes, reasons, fields."""

import argparse
import re
from dataclasses import fields
from pathlib import Path

from lineside.cli import run as verb
from lineside.line.books import ROOM
from lineside.line.decide import WARM_UPS
from lineside.line.events import REASONS
from lineside.line.sink.catalog import SINKS
from lineside.line.sink.sink import COLUMNS
from lineside.line.source import live, nuts, stream, watch
from lineside.line.source.catalog import SOURCES
from lineside.line.source.frame import Counts
from lineside.line.source.settings import TIMEOUT_S, Camera
from lineside.store.recorder import GATHER_S
from tests.line.tiny import write_bundle

PAGE = (Path(__file__).parents[2] / "docs" / "run.md").read_text(encoding="utf-8")
SOURCES_PAGE = (Path(__file__).parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")


def test_every_flag_is_there_and_no_other():
    parser = argparse.ArgumentParser()
    verb.arguments(parser)
    flags = {option for action in parser._actions for option in action.option_strings} - {"-h", "--help"}
    assert set(re.findall(r"^\| `(--[a-z-]+)", PAGE, re.MULTILINE)) == flags


def test_every_reason_is_there_and_no_other():
    table = PAGE[PAGE.index("| reason | why |") :].split("\n\n")[0]
    assert re.findall(r"^\| `([a-z-]+)`", table, re.MULTILINE) == [
        "decided", "deadline", "unreadable", "not-finite", "engine", "fault", "stopped",
        "halted", "calibration",
    ]  # fmt: skip
    assert set(REASONS) == set(re.findall(r"^\| `([a-z-]+)`", table, re.MULTILINE))


def test_every_scheme_and_field_is_there():
    for scheme in SOURCES:
        assert f"**`{scheme}:" in SOURCES_PAGE
    for scheme in SINKS:
        assert f"**`{scheme}:" in PAGE
    fields = PAGE[PAGE.index("The first two have the same fields") :].split("\n\n")[0]
    assert tuple(re.findall(r"`([a-z_0-9]+)`", fields)) == COLUMNS


def test_every_setting_of_a_camera_is_there_and_no_other():
    table = SOURCES_PAGE[SOURCES_PAGE.index("| key | such as |") :].split("\n\n")[0]
    assert re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE) == [field.name for field in fields(Camera)]
    table = SOURCES_PAGE[SOURCES_PAGE.index("| count | what |") :].split("\n\n")[0]
    assert re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE) == list(Counts().by_name())


def test_the_numbers_of_the_sources_are_those_of_the_code():
    assert f"At most {live.BACKLOG} pictures wait" in SOURCES_PAGE
    assert f"(default {TIMEOUT_S:g})" in SOURCES_PAGE
    assert "after {:g}, {:g}, {:g}, {:g}, {:g}, … s".format(*live.BACK_OFF_S, live.BACK_OFF_S[-1]) in SOURCES_PAGE
    assert f"more than {live.LATE_NS // 10**6} ms later" in SOURCES_PAGE
    assert f"time stamps by {stream.JUMP} intervals" in SOURCES_PAGE
    assert f"changed for {watch.SETTLE_S:g} s" in SOURCES_PAGE
    assert f"the look every {watch.RESCAN_S:g} s" in SOURCES_PAGE
    assert f"captured {nuts.LATE_S:g} s before" in SOURCES_PAGE
    assert live.PING_S == 1  # "asked every second"


def test_the_numbers_are_those_of_the_code():
    assert f"at most about {round(GATHER_S * 1000)} ms after their verdicts" in PAGE
    assert f"at most {ROOM} may be on their way" in PAGE
    assert (WARM_UPS, "runs four times before the first part" in PAGE) == (3, True)


def test_the_python_block_runs(tmp_path, monkeypatch):
    write_bundle(tmp_path / "nuts.bundle")
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(compile(block, "docs/run.md", "exec"), names)  # noqa: S102 (the page's own)
    assert names["summary"].parts == names["summary"].stored == 300
