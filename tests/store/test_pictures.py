"""Pictures kept by their hash: once, whole, within a quota, and never gone while somebody waits for their results."""

import io
import json
import os
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lineside.cli.main import main
from lineside.errors import LineError
from lineside.line.keeper import _content
from lineside.line.source.frame import Frame
from lineside.store import outbox, png
from lineside.store.open import open_store
from lineside.store.outbox import Box
from lineside.store.picture_check import check
from lineside.store.pictures import MARK, open_folder, sweep
from lineside.store.retention import forget
from tests.store.rows import WHEN, inspection, record

HOST = "press-3"
BOX = Box("mqtt://b/t", 99)
LATER = WHEN + timedelta(days=9)


@pytest.fixture
def store(each_store):
    return each_store


@pytest.fixture
def folder(store, tmp_path):
    folder = open_folder(store, tmp_path / "pictures", host=HOST, new_id="f" * 32)
    yield folder
    folder.close()


def content(n, size=1000):
    """The bytes of a file, of exactly this size."""
    return _content(Frame(str(n), n, f"{n}.JPG", data=n.to_bytes(2, "big") * (size // 2)))


def told(store, folder, n):
    """n results, each with a picture of its own, open in an outbox."""
    record(store, [inspection(k, sha256=content(k).sha256) for k in range(1, n + 1)], boxes=[BOX])
    for k in range(1, n + 1):
        folder.keep(content(k), [inspection(k).id], WHEN + timedelta(minutes=k))


def acknowledge(store, *numbers):
    with store.begin() as connection:
        outbox.close(connection, BOX.key, numbers, WHEN)


def there(folder):
    return {path.name for path in (folder.path / "sha256").rglob("*.*")}


def names(*numbers):
    return {f"{content(k).sha256}.jpg" for k in numbers}


def test_a_picture_lies_under_its_hash_and_is_there_once(store, folder):
    told(store, folder, 2)
    assert there(folder) == names(1, 2)
    folder.keep(content(1), [inspection(9).id, inspection(1).id], LATER)
    assert (folder.bytes, there(folder)) == (2000, names(1, 2))
    sha256 = content(1).sha256
    assert (folder.path / "sha256" / sha256[:2] / f"{sha256}.jpg").read_bytes() == content(1).data
    assert not (folder.path / "unfinished").exists()
    found = check(store, HOST)
    assert (found.pictures, found.wrong, found.elsewhere) == (2, (), ())


def test_what_nobody_has_acknowledged_stays(store, folder):
    told(store, folder, 4)
    assert not folder.make_room(4000, 1, LATER)
    assert there(folder) == names(1, 2, 3, 4)
    acknowledge(store, 2, 4)
    assert folder.make_room(4000, 1, LATER)
    assert there(folder) == names(1, 3, 4)  # the oldest that may go, and no more than is needed
    assert folder.make_room(4000, 2000, LATER)
    assert there(folder) == names(1, 3)
    assert not folder.make_room(4000, 2001, LATER)
    assert (folder.bytes, check(store, HOST).wrong) == (2000, ())


def test_a_picture_stays_while_one_of_its_results_waits(store, folder):
    told(store, folder, 2)
    folder.keep(content(1), [inspection(2).id], WHEN)
    acknowledge(store, 1)
    assert not folder.make_room(2000, 1, LATER)
    acknowledge(store, 2)
    assert folder.make_room(2000, 2000, LATER)
    assert there(folder) == set()


def test_a_result_that_is_still_on_its_way_to_the_store_holds_its_picture(store, folder):
    folder.keep(content(1), [inspection(1).id], WHEN)
    assert not folder.make_room(1000, 1, WHEN + timedelta(hours=1))
    assert folder.make_room(1000, 1, WHEN + timedelta(days=2))  # it never came


def test_never_more_than_the_quota(store, folder):
    assert not folder.make_room(500, 501, LATER)
    assert folder.make_room(500, 500, LATER)


def test_a_picture_that_was_taken_away_is_written_again(store, folder):
    told(store, folder, 1)
    (path,) = (folder.path / "sha256").rglob("*.jpg")
    path.unlink()
    folder.keep(content(1), [inspection(1).id], WHEN)
    assert path.read_bytes() == content(1).data
    assert folder.bytes == 1000


def test_the_folder_is_known_again_and_is_one_lines(store, folder, tmp_path):
    told(store, folder, 3)
    with pytest.raises(LineError, match="another line keeps its pictures there; give each line its own folder"):
        open_folder(store, tmp_path / "pictures", host=HOST, new_id="0" * 32)
    folder.close()
    again = open_folder(store, tmp_path / "pictures", host=HOST, new_id="0" * 32)
    assert (again.id, again.bytes) == ("f" * 32, 3000)
    folder._lock = again._lock  # the fixture closes it


def test_folders_that_are_refused(store, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("x")
    with pytest.raises(LineError, match=r"holds other files \(letter\.txt, …\); name an empty folder"):
        open_folder(store, tmp_path / "mine", host=HOST, new_id="0" * 32)
    (tmp_path / "file").write_text("x")
    with pytest.raises(LineError, match="no pictures can be kept there"):
        open_folder(store, tmp_path / "file", host=HOST, new_id="0" * 32)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / MARK).write_text("[]")
    with pytest.raises(LineError, match="does not hold the folder's id"):
        open_folder(store, tmp_path / "odd", host=HOST, new_id="0" * 32)


def test_what_verify_finds(store, folder):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    told(store, folder, 4)
    kept = _content(Frame("5", 5, "camera", picture=pixels))
    folder.keep(kept, [inspection(5).id], WHEN)
    assert check(store, HOST).pictures == 5
    paths = [folder.path / content(k).file for k in (1, 2)]
    paths[0].unlink()
    paths[1].write_bytes(content(3).data)
    (folder.path / kept.file).write_bytes(png.encode(pixels + 1))
    folder.keep(content(4), [inspection(1).id], WHEN)  # which speaks of another
    found = check(store, HOST)
    assert found.pictures == 2
    said = "\n".join(found.wrong)
    assert f"{paths[0]}: is missing, though the store promises it" in said
    assert f"{paths[1]}: holds another picture than its inspection spoke of (sha256 {content(3).sha256})" in said
    assert f"{folder.path / kept.file}: holds another picture" in said
    assert f"stands at the inspection {inspection(1).id}, which does not speak of it" in said
    for damage in (kept.data[:-40], kept.data[:40] + b"x" + kept.data[41:], b"", b"GIF89a"):
        (folder.path / kept.file).write_bytes(damage)
        assert len(check(store, HOST).wrong) == 4
    assert check(store, "another host").elsewhere[0].startswith("5 pictures in press-3:")
    os.rename(folder.path, f"{folder.path}-moved")
    assert "is not there, or another folder; 5 pictures were promised in it" in check(store, HOST).wrong[0]


def test_views_speak_of_pictures_too(store, folder):
    views = [{"camera": "top", "sha256": content(1).sha256}, {"camera": "side", "sha256": None}]
    record(store, [inspection(1, sha256=None, views=views)])
    folder.keep(content(1), [inspection(1).id], WHEN)
    assert check(store, HOST).wrong == ()


def test_pictures_are_forgotten_with_their_inspections(store, folder):
    told(store, folder, 4)
    folder.keep(content(1), [inspection(4).id], WHEN)
    acknowledge(store, 1, 2, 3, 4)
    assert forget(store, WHEN + timedelta(seconds=4), LATER).inspections == 3
    total, (note,) = sweep(store, HOST)
    assert (total, there(folder)) == (0, names(1, 2, 3, 4))  # the line that holds the folder does it
    assert "2 more in press-3:" in note
    assert "go when a line runs there (a line writes there)" in note
    assert folder.sweep() == 2
    assert there(folder) == names(1, 4)
    assert forget(store, LATER, LATER).inspections == 1
    folder.close()
    assert sweep(store, "elsewhere")[1] == [
        f"2 more in press-3:{folder.path} go when a line runs there (the folder is not to be found on elsewhere)"
    ]
    assert sweep(store, HOST) == (2, [])
    folder._lock = os.open(os.devnull, os.O_RDONLY)  # the fixture closes it
    assert there(folder) == set()


def test_the_commands(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: HOST)
    path = str(tmp_path / "line.db")
    engine = open_store(path)
    folder = open_folder(engine, tmp_path / "pictures", host=HOST, new_id="f" * 32)
    told(engine, folder, 2)
    folder.close()
    assert main(["verify", "--store", path, "--pictures"]) == 0
    assert "2 pictures are as promised, 0 are not" in capsys.readouterr().out
    assert main(["verify", "--pictures", "x.bundle"]) == 2
    (folder.path / content(1).file).unlink()
    assert main(["verify", "--store", path, "--pictures", "--json"]) == 1
    assert "is missing" in json.loads(capsys.readouterr().out)["pictures"]["wrong"][0]
    assert main(["verify", "--store", path]) == 0
    acknowledge(engine, 1, 2)
    assert main(["forget", path, "--before", "2026-12-01"]) == 0
    assert "2 pictures of which no inspection speaks any more are deleted" in capsys.readouterr().out
    assert there(folder) == set()
    engine.dispose()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_a_png_is_the_picture_again_for_us_and_for_others(height, width, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    data = png.encode(pixels)
    assert (png.decode(data) == pixels).all()
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.mode == "RGB"
        assert (np.asarray(opened) == pixels).all()


@given(st.binary(max_size=200), st.integers(0, 80))
@settings(max_examples=200, deadline=None)
def test_what_is_no_png_of_ours_is_an_error_and_never_another_picture(noise, at):
    pixels = np.zeros((3, 3, 3), np.uint8)
    good = png.encode(pixels)
    for data in (noise, good[:8] + noise, good[:at] + noise):
        found, why = _decoded(data)
        assert why.startswith(("is no PNG", "is damaged")) if found is None else (found == pixels).all()


def _decoded(data):
    """(pixels, "") or (None, why not): Pillow forgives what is missing behind the pixels."""
    try:
        return png.decode(data), ""
    except ValueError as error:
        return None, str(error)
