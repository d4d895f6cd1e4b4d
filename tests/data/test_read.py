"""Readers: layouts, and every way a folder or a CSV can be wrong, with what is said about it."""

import os
import sys
from pathlib import Path

import pytest

from lineside.data.quarantine import read_quarantine
from lineside.data.read import Dataset, read
from lineside.errors import DataError
from tests.data.drawing import put


def codes(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    return {f.code: f.names for f in dataset.findings}


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_folder_per_class(tmp_path: Path) -> None:
    for name in ("good/b.png", "good/a.JPG", "bad/deep/er/c.webp"):
        put(tmp_path, name, 1)
    dataset = read(str(tmp_path))
    assert [(p.name, p.label, p.part, p.group) for p in dataset.pictures] == [
        ("bad/deep/er/c.webp", "bad", None, None),
        ("good/a.JPG", "good", None, None),
        ("good/b.png", "good", None, None),
    ]
    assert dataset.classes == ("bad", "good")
    assert dataset.layout == "folder per class"
    assert all(p.path == tmp_path / p.name for p in dataset.pictures)


@pytest.mark.parametrize("word", ["val", "valid", "validation", "calibrate", "Val"])
def test_folder_per_part(tmp_path: Path, word: str) -> None:
    for name in ("train/good/a.png", f"{word}/good/b.png", "test/bad/c.png"):
        put(tmp_path, name, 1)
    assert {p.name: (p.label, p.part) for p in read(str(tmp_path)).pictures} == {
        "train/good/a.png": ("good", "train"),
        f"{word}/good/b.png": ("good", "calibrate"),
        "test/bad/c.png": ("bad", "test"),
    }


def test_a_class_may_be_called_test(tmp_path: Path) -> None:
    put(tmp_path, "test/a.png", 1)
    put(tmp_path, "good/a.png", 2)
    put(tmp_path, "val/a.png", 3)
    dataset = read(str(tmp_path))
    assert (dataset.classes, {p.part for p in dataset.pictures}) == (("good", "test", "val"), {None})


@pytest.mark.parametrize("words", [("test",), ("Validation", "test"), ("dev",)])
def test_only_names_of_parts_without_train_are_parts(tmp_path: Path, words: tuple[str, ...]) -> None:
    for number, word in enumerate(words):
        put(tmp_path, f"{word}/good/{number}.png", number)
        put(tmp_path, f"{word}/bad/{number}.png", 10 + number)
    dataset = read(str(tmp_path))
    assert dataset.classes == ("bad", "good")
    assert {p.name.split("/")[0]: p.part for p in dataset.pictures} == {
        word: "test" if word == "test" else "calibrate" for word in words
    }


def test_pictures_right_in_such_folders_have_no_class(tmp_path: Path) -> None:
    put(tmp_path, "test/a.png", 1)
    put(tmp_path, "val/a.png", 2)
    said = (
        r"2 pictures \(test/a.png, val/a.png\) but no class folders with pictures in test, val, which are read as parts"
    )
    with pytest.raises(DataError, match=f"{said}; move each into a folder named by its class"):
        read(str(tmp_path))


def test_parts_and_classes_side_by_side_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "train/good/a.png", 1)
    put(tmp_path, "scratch/a.png", 1)
    with pytest.raises(DataError, match=r"holds train and also scratch, so it can not be told .* keep only train, val"):
        read(str(tmp_path))


@pytest.mark.parametrize("name", ["a b/c d.png", "Größe/螺母 №1.png", "new\nline/a\nb.png", "'quo\"te/a,b;c.png"])
def test_odd_names_are_names(tmp_path: Path, name: str) -> None:
    put(tmp_path, name, 1)
    (own,) = read(str(tmp_path)).pictures
    assert own.name == name
    assert own.path.is_file()


def test_a_name_that_is_not_unicode_is_said(tmp_path: Path) -> None:
    put(tmp_path, "good/a.png", 1)
    try:
        os.rename(os.fsencode(tmp_path / "good" / "a.png"), os.fsencode(tmp_path) + b"/good/\xff.png")
    except OSError:
        pytest.skip("this file system takes only Unicode names")
    put(tmp_path, "good/b.png", 1)
    dataset = read(str(tmp_path))
    assert [p.name for p in dataset.pictures] == ["good/b.png"]
    assert codes(dataset) == {"bad-name": ("good/\\xff.png",)}


def test_nothing_is_dropped_without_a_word(tmp_path: Path) -> None:
    put(tmp_path, "good/a.png", 1)
    put(tmp_path, "good/camera_dump", 2)  # a picture without extension is read
    put(tmp_path, "loose.png", 3)
    write(tmp_path / "good" / "notes.txt", "lot 7")
    write(tmp_path / "good" / ".DS_Store", "")
    write(tmp_path / "good" / "Thumbs.db", "")
    (tmp_path / "empty").mkdir()
    dataset = read(str(tmp_path))
    assert [p.name for p in dataset.pictures] == ["good/a.png", "good/camera_dump"]
    assert codes(dataset) == {
        "unlabelled": ("loose.png",),
        "other-file": ("good/notes.txt",),
        "hidden": ("good/.DS_Store", "good/Thumbs.db"),
        "empty-class": (),
    }
    (unlabelled,) = [f for f in dataset.findings if f.code == "unlabelled"]
    assert unlabelled.severity == "error"
    assert "1 picture beside the class folders without a label (loose.png); move each" in unlabelled.message


def test_only_loose_pictures_is_no_data_set(tmp_path: Path) -> None:
    put(tmp_path, "a.png", 1)
    with pytest.raises(DataError, match=r"holds 1 picture \(a.png\) but no class folders .* or write a CSV"):
        read(str(tmp_path))


def test_empty_and_absent_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no pictures; expected one folder per class"):
        read(str(tmp_path))
    with pytest.raises(DataError, match="gone: is not there; give the data set's folder, its CSV"):
        read(str(tmp_path / "gone"))
    with pytest.raises(DataError, match=r"DATA is empty .* \(\. is the one that you are in\)"):
        read("")
    with pytest.raises(DataError, match=r"a.png: is neither a folder nor a .csv file"):
        read(str(put(tmp_path, "a.png", 1)))
    with pytest.raises(DataError, match="can not be opened"):
        read("x" * 5000)


def test_links_that_loop_end_and_other_links_are_followed(tmp_path: Path) -> None:
    put(tmp_path, "data/good/a.png", 1)
    put(tmp_path, "elsewhere/b.png", 2)
    (tmp_path / "data/bad").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/good/again").symlink_to(tmp_path / "data")
    (tmp_path / "data/good/me").symlink_to(tmp_path / "data/good/me")
    (tmp_path / "data/good/broken.png").symlink_to(tmp_path / "nowhere.png")
    dataset = read(str(tmp_path / "data"))
    assert [p.name for p in dataset.pictures] == ["bad/b.png", "good/a.png", "good/broken.png"]
    loops = [f for f in dataset.findings if f.code == "symlink-loop"]
    assert sorted(f.names[0] for f in loops) == ["good/again", "good/me"]
    assert any(
        "is a link to a folder that contains it; it was not entered; remove the link" in f.message for f in loops
    )


def test_a_pipe_with_a_pictures_name_is_not_waited_for(tmp_path: Path) -> None:
    put(tmp_path, "good/a.png", 1)
    os.mkfifo(tmp_path / "good/b.png")
    dataset = read(str(tmp_path))
    assert [p.name for p in dataset.pictures] == ["good/a.png"]
    (other,) = [f for f in dataset.findings if f.code == "other-file"]
    assert other.names == ("good/b.png",)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "good/a.png", 1)
    put(tmp_path, "bad/a.png", 1)
    (tmp_path / "bad").chmod(0)
    try:
        dataset = read(str(tmp_path))
    finally:
        (tmp_path / "bad").chmod(0o755)
    assert codes(dataset)["unreadable"] == ("bad",)


def test_a_folder_the_system_refuses_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "good/a.png", 1)
    put(tmp_path, "bad/a.png", 1)
    scandir = os.scandir

    def refuse(path: str):
        if str(path).endswith("bad"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    (finding,) = [f for f in read(str(tmp_path)).findings if f.severity == "error"]
    assert finding.message == "bad: the folder can not be listed (Permission denied); check its permissions"


def test_a_mask_beside_a_picture_is_suspected(tmp_path: Path) -> None:
    put(tmp_path, "crack/1.jpg", 1, "JPEG")
    put(tmp_path, "crack/1.png", 2)
    put(tmp_path, "crack/2.jpg", 2)
    assert codes(read(str(tmp_path)))["twin-name"] == ("crack/1.jpg", "crack/1.png")


# --- CSV -------------------------------------------------------------------------------------------------------------


def test_csv_with_everything(tmp_path: Path) -> None:
    for name in ("a.png", "in/b,c.png", "in/d\ne.png"):
        put(tmp_path, name, 1)
    rows = ["a.png,good,train,lot 1,7", '"in/b,c.png",bad,val,,7', "", '"in/d\ne.png",bad,Test,,8']
    text = "\n".join(["\ufeffpath,label,split,group,camera", *rows, ""])
    dataset = read(write(tmp_path / "parts.csv", text))
    assert [(p.name, p.label, p.part, p.group) for p in dataset.pictures] == [
        ("a.png", "good", "train", "lot 1"),
        ("in/b,c.png", "bad", "calibrate", None),
        ("in/d\ne.png", "bad", "test", None),
    ]
    assert codes(dataset) == {"ignored-column": ()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: has no column 'path' .found: nothing"),
        ("path,lable\na.png,x\n", "line 1: has no column 'label' .* is 'lable' meant to be it"),
        ("path;label\na.png;x\n", "separated by semicolons: save it with commas"),
        ("path,label,label\n", "line 1: the column 'label' is there twice"),
        ("path,label\n/etc/a.png,x\n", "line 2: '/etc/a.png' is an absolute path; write it relative to"),
        ("path,label\nC:\\a.png,x\n", "line 2: .* is an absolute path"),
        ("path,label\n../a.png,x\n", "line 2: '../a.png' leads to a parent folder; put the CSV above"),
        ("path,label\nin\\..\\..\\a.png,x\n", "line 2: .* leads to a parent folder"),
        ("path,label\na.png,x\n./a.png,y\n", "line 3: 'a.png' is already in line 2; .* remove one"),
        ("path,label\na.png,\n", "line 2: 'a.png' has no label; fill it in"),
        ("path,label\n,x\n", "line 2: the path is empty"),
        ("path,label\na.png\n", "line 2: has 1 cells, expected 2"),
        ('path,label\n"a\n.png",x\na.png,x,y\n', "line 4: has 3 cells, expected 2"),
        (
            "path,label,split\na.png,x,later\n",
            "line 2: 'later' is no split; expected train, calibrate .or val. or test",
        ),
        ("path,label,split\na.png,x,train\nb.png,x,\n", r"1 row without a split \(b.png\) among others with one"),
        ("path,label\ngone.png,x\n", r"none of its 1 picture is there \(gone.png\); paths are relative to"),
        ("path,label\na\0.png,x\n", "NUL"),
        ('path,label\n"a.png,x\n', "is not a CSV"),
    ],
)
def test_csv_refusals_name_file_line_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    put(tmp_path, "a.png", 1)
    put(tmp_path, "b.png", 1)
    with pytest.raises(DataError, match=message) as caught:
        read(write(tmp_path / "parts.csv", text))
    assert str(tmp_path / "parts.csv") in str(caught.value)


def test_csv_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "parts.csv").write_bytes("path,label\nGröße.png,x\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"is not UTF-8 \(byte 13\); save it as CSV UTF-8"):
        read(str(tmp_path / "parts.csv"))


def test_csv_row_without_its_file_is_an_error_finding(tmp_path: Path) -> None:
    put(tmp_path, "a.png", 1)
    dataset = read(write(tmp_path / "parts.csv", "path,label\na.png,x\nin\\b.png,y\n"))
    (finding,) = dataset.findings
    assert (finding.code, finding.severity, finding.names) == ("missing", "error", ("in\\b.png",))
    assert "line 3" in finding.message
    assert "expected /" in finding.message


# --- quarantine and the built-in nuts ---------------------------------------------------------------------------------


def test_quarantine_leaves_out_and_says_how_many(tmp_path: Path) -> None:
    for i in range(3):
        put(tmp_path, f"data/good/{i}.png", i)
    listed = write(tmp_path / "q.csv", "name,code,message\ngood/1.png,truncated,x\ngood/9.png,truncated,x\n")
    dataset = read(str(tmp_path / "data"), quarantine=Path(listed))
    assert [p.name for p in dataset.pictures] == ["good/0.png", "good/2.png"]
    assert codes(dataset) == {"quarantined": ("good/1.png",), "quarantine-unknown": ("good/9.png",)}
    assert "1 picture left out by" in dataset.findings[0].message


def test_quarantine_also_silences_what_reading_found_about_those_files(tmp_path: Path) -> None:
    put(tmp_path, "data/good/0.png", 0)
    put(tmp_path, "data/loose.png", 1)
    listed = write(tmp_path / "q.csv", "name,code,message\nloose.png,unlabelled,x\n")
    assert not [f for f in read(str(tmp_path / "data"), quarantine=Path(listed)).findings if f.severity == "error"]


def test_quarantine_refusals(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has the columns file; a quarantine list has name,code,message"):
        read_quarantine(Path(write(tmp_path / "q.csv", "file\nx\n")))
    with pytest.raises(DataError, match="can not be read"):
        read_quarantine(tmp_path / "gone.csv")
    for text in ("code,name\nx\n", "code,name\nx,\n"):
        with pytest.raises(DataError, match="line 2: has no name; write the picture's name there or remove the row"):
            read_quarantine(Path(write(tmp_path / "q.csv", text)))


def test_the_nuts_have_labels_and_lots_or_say_that_they_are_absent() -> None:
    from lineside.data.read_nuts import NUTS, read_nuts

    with pytest.raises(DataError, match="built-in pictures are not in this installation"):
        read_nuts(Path("/nowhere/nuts.json"))
    if not NUTS.exists():
        pytest.skip("the nuts are not built yet")
    dataset = read("nuts:")
    assert len(dataset.classes) >= 3
    assert all(p.group and p.path.is_file() for p in dataset.pictures)
