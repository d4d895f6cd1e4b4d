"""watch: files that come while the line runs: whole, slow, torn, renamed, gone, anew."""

import itertools
import os
import threading
import time

import pytest

from lineside.errors import LineError, SettingsError
from lineside.line.source import watch
from lineside.line.source.catalog import open_source
from tests.line.tiny import BLUE, RED, png

pytest.importorskip("watchfiles", reason="watchfiles is not installed")


@pytest.fixture(autouse=True)
def _watch(watchdog):
    pass


@pytest.fixture
def inbox(tmp_path):
    (tmp_path / "inbox" / "good").mkdir(parents=True)
    (tmp_path / "inbox" / "old.png").write_bytes(png(RED))
    return tmp_path / "inbox"


@pytest.fixture
def source(inbox, bundle):
    source = open_source(f"watch:{inbox}#timeout_s=1", bundle)
    yield source
    source.close()
    source.close()


def later(job, *args, seconds=0.2):
    threading.Timer(seconds, job, args).start()


def test_what_is_there_is_no_part_and_what_comes_is(source, inbox):
    assert "1 pictures that are there are no parts" in source.notes[0]
    later((inbox / "a.png").write_bytes, png(BLUE))
    frame = next(source.frames)
    assert (frame.name, frame.data, frame.sequence, frame.error) == ("a.png", png(BLUE), 1, "")
    later((inbox / "good" / "b.png").write_bytes, png(RED))
    frame = next(source.frames)
    assert (frame.name, frame.truth) == ("good/b.png", "good")
    assert frame.captured_ns is not None
    assert source.counts.delivered == 2


def test_a_file_that_is_renamed_into_the_folder_is_one_part(source, inbox):
    def deliver():
        (inbox / ".a.tmp").write_bytes(png(RED))
        os.rename(inbox / ".a.tmp", inbox / "a.png")
        time.sleep(0.3)
        os.rename(inbox / "old.png", inbox / "z.png")

    later(deliver)
    assert [frame.name for frame in itertools.islice(source.frames, 2)] == ["a.png", "z.png"]


def test_a_file_that_is_written_slowly_is_taken_when_it_is_whole(source, inbox):
    whole = png(RED)

    def write():
        with (inbox / "slow.png").open("wb") as file:
            for byte in whole:
                file.write(bytes([byte]))
                file.flush()
                time.sleep(0.003)

    later(write)
    frame = next(source.frames)
    assert frame.data == whole
    assert source.counts.incomplete == 0


def test_a_torn_file_is_a_part_without_a_picture(source, inbox):
    later((inbox / "torn.png").write_bytes, png(RED)[:-20])
    later((inbox / "empty.jpg").write_bytes, b"")
    frames = list(itertools.islice(source.frames, 2))
    assert {frame.name for frame in frames} == {"torn.png", "empty.jpg"}
    assert all("is not whole 1 s after its last change (timeout_s)" in frame.error for frame in frames)
    assert source.counts.incomplete == 2


def test_a_format_without_an_end_waits_until_it_is_still(source, inbox):
    pixels = b"P6 16 16 255\n" + bytes(range(256)) * 3
    later((inbox / "a.ppm").write_bytes, pixels)
    assert next(source.frames).data == pixels


def test_a_file_that_is_gone_is_a_part_all_the_same(source, inbox):
    def flash():
        (inbox / "gone.png").write_bytes(b"")
        (inbox / "gone.png").unlink()
        (inbox / "next.png").write_bytes(png(RED))

    later(flash)
    frames = list(itertools.islice(source.frames, 2))
    assert {frame.name for frame in frames} == {"gone.png", "next.png"}
    assert source.counts.lost == 1


def test_a_file_that_is_written_anew_is_a_new_part_and_one_that_is_taken_away_is_none(source, inbox):
    later((inbox / "a.png").write_bytes, png(RED))
    assert next(source.frames).data == png(RED)
    (inbox / "a.png").unlink()
    later((inbox / "a.png").write_bytes, png(BLUE))
    assert next(source.frames).data == png(BLUE)
    later((inbox / "a.png").write_bytes, png(RED, side=20))
    assert next(source.frames).data == png(RED, side=20)
    assert source.counts.frames == 3


def anew(inbox, source, colours):
    """One name, written anew by rename for each colour, while the line takes only the first part."""
    first = threading.Event()

    def deliver():
        for colour in colours:
            (inbox / ".snap").write_bytes(png(colour))
            os.rename(inbox / ".snap", inbox / "snap.png")
            time.sleep(0.25)
        first.set()

    later(deliver)
    frame = next(source.frames)
    assert first.wait(10)
    return [frame, *itertools.islice(source.frames, len(colours) - 1)]


def test_a_part_keeps_its_own_picture_when_the_line_is_slower_than_its_name_is_written_anew(source, inbox):
    frames = anew(inbox, source, [RED, BLUE, RED, BLUE])
    assert [frame.data for frame in frames] == [png(RED), png(BLUE), png(RED), png(BLUE)]
    assert [frame.error for frame in frames] == [""] * 4


def test_what_is_read_at_its_turn_is_not_taken_for_another_parts_picture(source, inbox, monkeypatch):
    monkeypatch.setattr(watch, "HELD_BYTES", len(png(RED)))
    frames = anew(inbox, source, [RED, BLUE, RED, BLUE])
    assert [frame.data for frame in frames] == [png(RED), png(BLUE), None, png(BLUE)]
    assert frames[2].error.endswith("snap.png: was replaced before it was read; give each picture a name of its own")
    assert (source.counts.delivered, source.counts.lost) == (3, 1)


def test_many_at_once_are_all_there(source, inbox):
    def deliver():
        for k in range(200):
            (inbox / f"{k:03}.png").write_bytes(png(RED))

    later(deliver)
    names = [frame.name for frame in itertools.islice(source.frames, 200)]
    assert sorted(names) == [f"{k:03}.png" for k in range(200)]


def test_a_folder_that_goes_away_is_a_fault(source, inbox):
    later(os.rename, inbox, inbox.with_name("elsewhere"))
    with pytest.raises(LineError, match=r"folder:.* does not exist|can not be watched"):
        next(source.frames)


def test_close_ends_the_wait(source):
    later(source.close)
    assert list(source.frames) == []


def test_what_it_can_not_do_is_refused(inbox, bundle):
    with pytest.raises(SettingsError, match="a watched folder has no exposure_us"):
        open_source(f"watch:{inbox}#exposure_us=3", bundle)
    with pytest.raises(LineError, match="does not exist; expected a folder"):
        open_source(f"watch:{inbox / 'none'}", bundle)
