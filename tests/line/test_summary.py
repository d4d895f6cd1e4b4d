"""The summary for people: a line is a line, whatever foreign words are in it."""

from lineside.line.keeper import Kept
from lineside.line.summary import Tally, text


def test_no_word_of_others_steers_the_terminal_or_makes_a_line():
    kept = Kept(0, 1, 0, 0, "\x1b[31mfolder\x07\n12 parts escaped: no room")
    counts = {"run_id": "r", "deadline_ms": None, "max_behind_ms": None, "seconds": 0.0, "ignored": 0, "stored": 0}
    summary = Tally({}).summary(**counts, lost=0, interrupted=False, fault="", source={}, pictures=kept)
    said = text(summary)
    assert r"\x1b[31mfolder\x07\n12 parts" in said
    assert all(line.isprintable() for line in said.splitlines())
