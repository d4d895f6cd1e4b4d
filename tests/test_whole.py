"""A file is there whole or not at all, and what is no file is never replaced by one."""

import os
import resource
import signal
import threading

import pytest

from lineside import whole


def test_a_disk_without_room_leaves_what_was_there(tmp_path):
    place = tmp_path / "page.html"
    whole.write(place, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        for content in ("new" * 1000, b"new" * 1000):
            with pytest.raises(OSError, match="File too large"):
                whole.write(place, content)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert place.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["page.html"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link.html").symlink_to(tmp_path / "real" / "page.html")
    whole.write(tmp_path / "link.html", "text")
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "real" / "page.html").read_text() == "text"


def test_what_is_no_file_is_written_to(tmp_path):
    """`-o /dev/null` as root must not make a file of it."""
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    whole.write(pipe, "text\r\n")
    reader.join(10)
    assert read == [b"text\r\n"]
    assert pipe.is_fifo()


def test_a_name_that_is_no_unicode_is_still_written(tmp_path):
    whole.write(tmp_path / "page.html", os.fsdecode(b"part \xff.png"))
    assert (tmp_path / "page.html").read_bytes() == rb"part \udcff.png"
