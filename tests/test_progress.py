"""What a person sees of a long job: nothing that tells when it ends is cut off on a terminal of 80 columns."""

import io
import re
import sys

import pytest

from lineside.progress import bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [80, 100])
def test_rate_and_time_left_are_whole_on_a_narrow_terminal(monkeypatch, columns):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    with bar("features, calibrate") as progress:
        progress(123_456, 185_175, "epoch 11, loss 0.693, rate 2.0e-03")
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    last = re.split(r"[\r\n]+", drawn.strip())[-1]
    assert len(last) <= columns
    assert re.search(r"features, calibrate .* 123456/185175 \d+ pictures/s (\d|-):(\d\d|--):(\d\d|--) epoch", last), (
        last
    )
