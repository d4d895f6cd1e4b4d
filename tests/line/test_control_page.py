"""docs/control.md: its table is the code's, and what it says to type does what it says."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lineside
from lineside.line import desk
from lineside.line.sink import opcua
from lineside.line.states import LEADS, NEVER_LATE, ORDERS, STATES
from tests.line.tiny import BLUE, RED, png, write_bundle

PAGE = (Path(__file__).parents[2] / "docs" / "control.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```sh\n(.*?)^```\n```text\n(.*?)^```", re.DOTALL | re.MULTILINE)


def test_the_table_of_orders_is_the_code():
    rows = re.findall(r"^\| `([a-z-]+)` \| ([a-z, ]+) \| ([a-z, ]+) \|", PAGE, re.MULTILINE)
    assert {order for order, *_ in rows} == set(ORDERS)
    assert {order: {s for s in STATES if s in states.split(", ")} for order, states, _ in rows} == {
        order: {state for state in STATES if (state, order) in LEADS} for order in ORDERS
    }
    for order, states, leads in rows:
        ends = {LEADS[state, order][-1] for state in states.split(", ") if (state, order) in LEADS}
        assert leads == "as it was" or leads.partition(",")[0] in ends or order == "stop", order
    assert f"(within {desk.PATIENCE_S:g} s at the desk, {opcua.PATIENCE_S:g} s by OPC UA)" in PAGE
    assert "`halt`, `stop` and `abort` are followed" in PAGE
    assert {"halt", "stop", "abort"} == NEVER_LATE
    assert f"(mode {desk.MODE:04o})" in PAGE


@pytest.mark.slow
def test_what_the_page_says_to_type_answers_what_it_says(tmp_path):
    blocks = BLOCK.findall(PAGE)
    assert len(blocks) == PAGE.count("```sh") == 6
    (line,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "line.toml").write_text(line)
    (tmp_path / "incoming").mkdir()
    (tmp_path / "good.png").write_bytes(png(RED))
    (tmp_path / "bad.png").write_bytes(png(BLUE))
    for product in ("m8", "m10"):
        write_bundle(tmp_path / f"{product}.bundle")
    tools = tmp_path / "tools"  # `lineside` of this interpreter, whatever is installed
    tools.mkdir()
    (tools / "lineside").write_text(f'#!/bin/sh\nexec {sys.executable} -m lineside "$@"\n')
    (tools / "lineside").chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(lineside.__file__).parents[1]),
    }
    with (tmp_path / "said").open("w") as said:
        running = subprocess.Popen(["lineside", "run", "line.toml"], cwd=tmp_path, env=environment, stderr=said)
    try:
        while running.poll() is None and not (tmp_path / "line.sock").exists():
            time.sleep(0.05)
        for typed, expected in blocks:
            guarded = typed.replace("do sleep", "do kill -0 $LINE || exit 1; sleep")  # a line that died answers nobody
            done = subprocess.run(
                ["timeout", "100", "bash", "-c", guarded],
                cwd=tmp_path,
                env=environment | {"LINE": str(running.pid)},
                capture_output=True,
                text=True,
            )
            assert done.stdout == expected, done.stderr + (tmp_path / "said").read_text()
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
    finally:
        running.kill()
        running.wait(60)
