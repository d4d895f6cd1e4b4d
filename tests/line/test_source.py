"""Sources: every member of the catalog, the folder on bad folders, the nuts camera."""

import hashlib
import itertools
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lineside.bundle.folder import open_bundle
from lineside.data.picture import decode, load
from lineside.data.read import Dataset, Picture
from lineside.errors import BundleError, LineError, PictureError, SettingsError
from lineside.line.source import folder, nuts
from lineside.line.source.catalog import SOURCES, open_source
from lineside.line.start import start
from tests.line.tiny import BLUE, RED, picture, png, write_bundle


@pytest.fixture
def bundle(tmp_path):
    return open_bundle(write_bundle(tmp_path / "tiny.bundle"))


@pytest.fixture
def parts(tmp_path) -> Path:
    root = tmp_path / "parts"
    for name, color in (("good/b.png", RED), ("good/a b\n.PNG", RED), ("bad/ä.png", BLUE), ("c.png", RED)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(color))
    return root


def frames(url, bundle):
    return list(open_source(url, bundle).frames)


@pytest.mark.parametrize("scheme", SOURCES)
def test_every_source_is_there(scheme):
    assert SOURCES[scheme] == f"lineside.line.source.{'v4l' if scheme == 'webcam' else scheme}"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("flder:x", r"'flder:x': no source has the scheme 'flder'; did you mean folder:x\?"),
        ("rtsq:x", r"did you mean rtsp:x\?"),
        ("xyz:x", "known: aravis:, basler:, folder:, genicam:, nuts:, rtsp:, v4l:, video:, watch:, webcam:"),
        ("parts", "'parts': a source is written SCHEME:WHERE, such as folder:PATH"),
        ("nuts:sed=1", "expected nuts: or nuts:seed=N with a whole number N"),
        ("nuts:seed=x", "expected nuts: or nuts:seed=N"),
    ],
)
def test_wrong_urls_are_sentences(bundle, url, says):
    with pytest.raises(SettingsError, match=says):
        open_source(url, bundle)


def test_folder_plays_every_picture_in_name_order_with_its_truth(bundle, parts):
    source = open_source(f"folder:{parts}", bundle)
    found = list(source.frames)
    assert source.total == 4
    assert [f.name for f in found] == ["bad/ä.png", "c.png", "good/a b\n.PNG", "good/b.png"]
    assert [f.truth for f in found] == ["bad", None, "good", "good"]
    assert [f.sequence for f in found] == [1, 2, 3, 4]
    assert len({f.part_id for f in found}) == 4
    assert all(f.sha256() == hashlib.sha256((parts / f.name).read_bytes()).hexdigest() for f in found)


def test_folder_marks_what_the_bundle_has_learnt_by_content(parts, tmp_path):
    red = hashlib.sha256(png(RED)).hexdigest()
    rows = (("train", "good", "other/name.png", red, ""), ("test", "bad", "ä.png", "0" * 64, ""))
    bundle = open_bundle(write_bundle(tmp_path / "learnt.bundle", rows))
    assert {f.name: f.learnt for f in frames(f"folder:{parts}", bundle)} == {
        "bad/ä.png": False,
        "c.png": True,
        "good/a b\n.PNG": True,
        "good/b.png": True,
    }


def test_folder_marks_which_test_pictures_are_tied(parts, tmp_path):
    red, blue = (hashlib.sha256(png(color)).hexdigest() for color in (RED, BLUE))
    rows = (("test", "good", "1.png", red, "lot 7"), ("train", "bad", "2.png", blue, "lot 8"))
    bundle = open_bundle(write_bundle(tmp_path / "lots.bundle", rows))
    found = {(f.sha256(), f.lot, f.learnt) for f in frames(f"folder:{parts}", bundle)}
    assert (red, "lot 7", False) in found
    assert {lot for _, lot, _ in found} <= {"lot 7", ""}


@pytest.mark.parametrize("text", ["hello", "part,sha256,label,name,group", "sha256,part\nabc,train", "\xff", ""])
@pytest.mark.parametrize("url", ["folder:", "nuts:"])
def test_a_split_that_can_not_be_read_is_no_empty_one(parts, tmp_path, text, url):
    extra = {"split.csv": text.encode("latin-1")}
    bundle = open_bundle(write_bundle(tmp_path / "odd.bundle", extra=extra))
    with pytest.raises(BundleError, match=r"odd\.bundle: split\.csv"):
        open_source(f"folder:{parts}" if url == "folder:" else url, bundle)


def test_model_and_source_are_of_one_bundle_though_another_is_put_there_meanwhile(parts, tmp_path, monkeypatch):
    path, red = tmp_path / "tiny.bundle", hashlib.sha256(png(RED)).hexdigest()
    write_bundle(path)

    def open_after_a_swap(url, bundle, camera):
        if bundle.sha256 == first:
            write_bundle(path, (("train", "good", "a.png", red, ""),))
        return open_source(url, bundle, camera)

    first = open_bundle(path).sha256
    monkeypatch.setattr("lineside.line.start.open_source", open_after_a_swap)
    model, source, drift = start(path, f"folder:{parts}", np.random.default_rng(0))
    assert drift is None  # it keeps no calibrate pictures
    assert model.sha256 == open_bundle(path).sha256 != first
    assert {frame.learnt for frame in source.frames if frame.truth == "good"} == {True}


def test_what_can_not_be_read_is_a_part_all_the_same(bundle, parts, monkeypatch):
    (parts / "x.png").symlink_to("nowhere.png")
    (parts / "y.png").symlink_to("y.png")
    os.mkfifo(parts / "z.png")
    (parts / "zz.png").write_bytes(b"12345678")
    monkeypatch.setattr(folder, "MAX_FILE_BYTES", 7)
    by_name = {f.name: f for f in frames(f"folder:{parts}", bundle)}
    assert "No such file" in by_name["x.png"].error
    assert "symbolic links" in by_name["y.png"].error
    assert "is no ordinary file: not read" in by_name["z.png"].error
    assert by_name["zz.png"].error.endswith("8 bytes, more than 7: not read")
    assert by_name["zz.png"].data is None
    assert by_name["zz.png"].sha256() == ""


def test_folder_follows_links_but_not_in_circles(bundle, parts):
    (parts / "good" / "loop").symlink_to(parts)
    (parts / "again").symlink_to(parts / "bad")
    assert [f.name for f in frames(f"folder:{parts}", bundle)] == [
        "again/ä.png",
        "bad/ä.png",
        "c.png",
        "good/a b\n.PNG",
        "good/b.png",
    ]


def test_other_files_are_no_parts_and_are_told(bundle, parts):
    (parts / "notes.txt").write_text("x")
    (parts / ".hidden.png").write_text("x")
    source = open_source(f"folder:{parts}", bundle)
    assert source.total == 4
    assert "1 files are no pictures by their ending" in source.notes[0]
    assert "notes.txt" in source.notes[0]


def test_a_name_that_is_no_unicode_comes_as_text_that_every_sink_can_hold(bundle, tmp_path):
    from lineside.store.records import printable

    root = tmp_path / "odd"
    root.mkdir()
    Path(os.fsdecode(os.fsencode(root) + b"/\xff.png")).write_bytes(png(RED))
    (frame,) = frames(f"folder:{root}", bundle)
    assert frame.data == png(RED)
    assert printable(frame.name) == r"\udcff.png"


@pytest.mark.parametrize("kind", ["missing", "file", "empty"])
def test_a_folder_that_is_none(bundle, tmp_path, kind):
    path = tmp_path / kind
    if kind == "file":
        path.write_text("x")
    if kind == "empty":
        path.mkdir()
    says = {"missing": "does not exist; expected", "file": "is a file; expected", "empty": "no pictures in"}[kind]
    with pytest.raises(LineError, match=says):
        open_source(f"folder:{path}", bundle)


# -------------------------------------------------------------------------------------------------------------- nuts


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Three pictures in place of the built-in nuts; the bundle has learnt the first and tested on the second."""
    root = tmp_path / "nuts"
    root.mkdir()
    rng = np.random.default_rng(5)
    for n in range(3):
        from PIL import Image

        pixels = rng.integers(0, 256, (24, 24, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / f"{n}.png")
    pictures = tuple(Picture(root / f"{n}.png", f"{n}.png", "good", None, None) for n in range(3))
    monkeypatch.setattr(nuts, "read", lambda source: Dataset(root, "nuts", pictures, ()))
    sha = [hashlib.sha256(p.path.read_bytes()).hexdigest() for p in pictures]
    rows = (("train", "good", "0.png", sha[0], ""), ("test", "good", "1.png", sha[1], ""))
    return open_bundle(write_bundle(tmp_path / "nuts.bundle", rows)), root, sha


def first(bundle, n=40, url="nuts:seed=3"):
    return list(itertools.islice(open_source(url, bundle).frames, n))


def test_nuts_play_only_what_the_bundle_has_not_learnt(shop):
    bundle, _, _ = shop
    found = first(bundle)
    assert all({a.name, b.name} == {"1.png", "2.png"} for a, b in zip(found[::2], found[1::2], strict=True))
    assert len({f.name for f in found[::2]}) == 2  # shuffled anew each time
    assert [f.again for f in found] == [False] * 2 + [True] * 38
    assert [f.sequence for f in first(bundle, 3)] == [1, 2, 3]
    assert {f.truth for f in first(bundle, 3)} == {"good"}


def test_nuts_are_the_same_for_one_seed_and_no_exposure_is_like_another(shop):
    bundle, _, _ = shop
    a, b, other = first(bundle), first(bundle), first(bundle, url="nuts:seed=4")
    assert [f.sha256() for f in a] == [f.sha256() for f in b]
    assert len({f.sha256() for f in a}) == len(a)
    assert [f.sha256() for f in a] != [f.sha256() for f in other]
    assert [f.sha256() for f in first(bundle, url="nuts:")] == [f.sha256() for f in first(bundle, url="nuts:seed=0")]


def test_two_views_are_of_the_same_nuts_and_no_exposure_of_one_is_the_others(shop):
    bundle, _, _ = shop
    top, side = first(bundle), first(bundle, url="nuts:seed=3,view=1")
    assert [(f.part_id, f.name, f.truth) for f in top] == [(f.part_id, f.name, f.truth) for f in side]
    assert not {f.sha256() for f in top} & {f.sha256() for f in side}
    assert [f.sha256() for f in top] == [f.sha256() for f in first(bundle, url="nuts:seed=3,view=0")]


def test_the_noise_is_that_of_the_camera_model(shop):
    """Spread of the electrons behind a grey of 128 (2,158 of 10,000): sqrt(2158 + 3²) = 46.6, plus 8 bits' rounding."""
    expose = nuts.camera(np.random.default_rng(1))
    grey = picture((128, 128, 128), 64)
    spread = np.mean([(expose(grey).astype(float)).std() for _ in range(20)])
    slope = 255 * 1.055 / 2.4 * (2158 / 10_000) ** (1 / 2.4 - 1) / 10_000  # sRGB values per electron
    expected = np.hypot(46.6 * slope, 1 / np.sqrt(12))
    assert spread == pytest.approx(expected, rel=0.1)


def test_an_exposure_is_near_its_picture(shop):
    bundle, root, _ = shop
    for frame in first(bundle, 10):
        assert frame.picture is not None
        assert abs(frame.picture.astype(int) - load(root / frame.name)).mean() < 6


def test_nuts_without_anything_new_are_refused(shop, tmp_path):
    _, _, sha = shop
    rows = tuple(("calibrate", "good", f"{n}.png", sha[n], "") for n in range(3))
    bundle = open_bundle(write_bundle(tmp_path / "all.bundle", rows))
    with pytest.raises(LineError, match="has learnt or calibrated on every built-in nut"):
        open_source("nuts:", bundle)


def test_nuts_with_a_bundle_that_hides_what_it_learnt_are_refused(shop):
    bundle, _, _ = shop
    with pytest.raises(LineError, match=r"holds no split\.csv"):
        open_source("nuts:", replace(bundle, names=frozenset({"manifest.json", "model.onnx"})))


def test_faults_by_plan_leave_the_other_pictures_as_they_are(shop):
    bundle, _, _ = shop
    plain = first(bundle, 8)
    source = open_source("nuts:seed=3,lost=2+8,truncated=4,late=5,dark=6", bundle)
    found = list(itertools.islice(source.frames, 8))
    assert [f.sequence for f in found] == list(range(1, 9))
    assert [f.sha256() for f in (found[0], found[2], found[4], found[6])] == [
        f.sha256() for f in (plain[0], plain[2], plain[4], plain[6])
    ]
    assert "lost, by plan" in found[1].error
    with pytest.raises(PictureError, match="the PNG ends after"):
        decode(found[3].data, "x")
    assert (found[4].captured_ns or 0) + 1_000_000_000 <= time.monotonic_ns()
    assert found[5].picture.max() == 0
    assert source.counts.by_name() == {
        "delivered": 5, "lost": 2, "incomplete": 1, "skipped": 0, "late": 1, "reconnects": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nuts:lots=3", r"'lots': did you mean lost\?"),
        ("nuts:lost=3,late=3", "part 3 has two faults, lost and late"),
        ("nuts:lost=x", "such as lost=3\\+9; got 'lost=x'"),
        ("nuts:seed=1+2", "expected nuts: or nuts:seed=N"),
        ("nuts:view=side", "got 'view=side'"),
        ("nuts:veiw=1", "did you mean view"),
    ],
)
def test_a_wrong_plan_is_a_sentence(bundle, url, says):
    with pytest.raises(SettingsError, match=says):
        open_source(url, bundle)
