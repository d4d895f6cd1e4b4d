"""The command: table, JSON, page, quarantine, exit codes; hostile names stay text."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lineside.bundle.folder import open_bundle
from lineside.bundle.made_from import split_of
from lineside.cli.main import main
from lineside.data import page
from lineside.data.doctor import check
from lineside.data.page import write_page
from lineside.data.read import read
from lineside.tasks.classify import doubt
from tests.data.drawing import drawing, encoded, put
from tests.line.tiny import png, write_bundle

HOSTILE = [
    "<script>alert(1)<",
    "a\x1b[31m\nb.png",
    "'\"&amp;{{ 7*7 }}.png",
    "[bold]x[",
    "</style><img src=x onerror=y>",
]


@pytest.fixture
def dirty(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for i in range(3):
        put(root, f"good/{i}.png", i)
        put(root, f"bad/{i}.png", i + 10)
    put(root, "bad/same.png", 0)
    (root / "good" / "zero.png").write_bytes(b"")
    return root


def lineside(capsys: pytest.CaptureFixture, *command: str) -> tuple[int, str, str]:
    code = main(["check", *command])
    out, err = capsys.readouterr()
    return code, out, err


def test_errors_fail_and_the_table_says_why(dirty: Path, capsys: pytest.CaptureFixture) -> None:
    code, out, _ = lineside(capsys, str(dirty))
    assert code == 1
    assert "error label-conflict one picture has the labels bad, good (bad/same.png, good/0.png)" in out
    assert "error zero-byte good/zero.png: holds no bytes; copy it again or remove it" in out
    assert "2 errors: resolve them, or leave files out with --quarantine FILE" in out


def test_quarantine_lists_goes_on_and_is_obeyed(dirty: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    listed = tmp_path / "q.csv"
    code, out, _ = lineside(capsys, str(dirty), "--quarantine", str(listed))
    assert code == 0
    assert f"3 files to leave out listed in {listed}" in out
    again = check(read(str(dirty), quarantine=listed))
    assert not again.errors
    assert len(again.pictures) == 5


def test_what_no_quarantine_can_mend_still_fails(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    put(tmp_path, "set/good/a.png", 1)
    assert lineside(capsys, str(tmp_path / "set"), "--quarantine", str(tmp_path / "q.csv"))[0] == 1


def test_clean_data_passes_and_absent_data_is_exit_3(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for i in range(20):
        put(tmp_path, f"good/{i}.png", i)
        put(tmp_path, f"bad/{i}.png", i + 50)
    code, out, _ = lineside(capsys, str(tmp_path))
    assert (code, "no errors, no warnings" in out) == (0, True)
    code, _, err = lineside(capsys, str(tmp_path / "gone"))
    assert code == 3
    assert "gone: is not there; give the data set's folder" in err


def test_json_holds_every_finding(dirty: Path, capsys: pytest.CaptureFixture) -> None:
    code, out, _ = lineside(capsys, str(dirty), "--json")
    told = json.loads(out)
    assert code == 1
    assert (told["pictures"], told["readable"], told["classes"]) == (8, 7, {"bad": 4, "good": 3})
    assert {f["code"] for f in told["findings"]} == {c["code"] for c in told["counts"]}
    assert told["findings"][0]["severity"] == "error"


class Page(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_names_are_only_text(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for i, name in enumerate(HOSTILE):
        for part in name.split("/")[:1]:
            put(tmp_path, f"set/{part}/x.png", i)
        (tmp_path / "set" / name.split("/")[0] / "half.png").write_bytes(encoded(drawing(i))[:99])
    code, out, _ = lineside(capsys, str(tmp_path / "set"), "--html", str(tmp_path / "p.html"))
    assert code == 1
    assert "\x1b" not in out
    assert "[bold]x[" in out
    parsed = Page((tmp_path / "p.html").read_text("utf-8"))
    assert not {tag for tag, _ in parsed.tags} & {"script", "iframe", "object"}
    assert not any(name.startswith("on") for _, attributes in parsed.tags for name in attributes)
    assert "<script>alert(1)<" in parsed.text
    assert "{{ 7*7 }}" in parsed.text


def test_the_page_holds_everything_it_shows_and_is_bounded(dirty: Path, tmp_path: Path, monkeypatch) -> None:
    for i in range(30):
        put(dirty, f"good/copy {i}.png", 1)
    monkeypatch.setattr(page, "THUMBS_IN_ALL", 5)
    write_page(check(read(str(dirty))), tmp_path / "p.html")
    text = (tmp_path / "p.html").read_text("utf-8")
    parsed = Page(text)
    images = [attributes["src"] for tag, attributes in parsed.tags if tag == "img"]
    assert len(images) == 5
    assert all(src.startswith("data:image/webp;base64,") for src in images)
    links = [a.get("href") or a.get("src") or "" for _, a in parsed.tags]
    assert all(link.startswith(("#", "data:")) for link in links if link)
    assert not re.search(r"url\(|@import|https?://", text)
    assert "and 23 more" in parsed.text
    assert "default-src 'none'" in text


def test_a_page_that_can_not_be_written_is_said(dirty: Path, capsys: pytest.CaptureFixture) -> None:
    for flag in ("--html", "--quarantine"):
        code, out, err = lineside(capsys, str(dirty), flag, str(dirty / "no" / "p.html"))
        assert code == 2
        assert "p.html: can not be written (No such file or directory); choose another place, or make room" in err
        assert ("error zero-byte" in out) == (flag == "--html")  # the table tells what went into the list


@pytest.mark.parametrize("flag", ["--html", "--quarantine"])
@pytest.mark.parametrize("name", ["labels.csv", "good/0.png"])
def test_a_flag_does_not_replace_what_it_would_not_have_written(
    dirty: Path, capsys: pytest.CaptureFixture, flag: str, name: str
) -> None:
    (dirty / "labels.csv").write_text("path,label\ngood/0.png,good\nbad/0.png,bad\n")
    before = (dirty / name).read_bytes()
    for data in (dirty, dirty / "labels.csv"):
        code, out, err = lineside(capsys, str(data), flag, str(dirty / name))
        assert (code, out) == (2, "")
        assert f"{dirty / name}: is there already and does not begin with '" in err
        assert "name a new file, or move it away" in err
    assert (dirty / name).read_bytes() == before


def test_a_list_or_page_of_before_is_replaced_and_an_empty_file_too(
    dirty: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    html, listed = tmp_path / "p.html", tmp_path / "q.csv"
    html.touch()
    for begins in ("", "\ufeff"):  # an editor's byte order mark, and its line ends
        listed.write_text(begins + "name,code,message\nold.png,x,y\n" if begins else "", newline="")
        assert lineside(capsys, str(dirty), "--html", str(html), "--quarantine", str(listed))[0] == 0
        assert "old.png" not in listed.read_text()
        assert html.read_text().startswith("<!doctype html>")


def test_a_bundle_doubts_labels(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The tiny bundle answers by colour: red is good. A red picture labelled bad must be listed."""
    for i in range(20):
        put_colour(tmp_path / "set" / "good" / f"{i}.png", (200 + i, 30, 30))
        put_colour(tmp_path / "set" / "bad" / f"{i}.png", (30, 30, 200 + i))
    put_colour(tmp_path / "set" / "bad" / "red.png", (240, 31, 31))
    bundle = write_bundle(tmp_path / "tiny.bundle")
    code, out, _ = lineside(capsys, str(tmp_path / "set"), "--bundle", str(bundle), "--json")
    told = [f for f in json.loads(out)["findings"] if f["code"] == "label-error"]
    assert code == 0
    assert [f["names"] for f in told] == [["bad/red.png"]]
    assert "labelled 'bad', the model says 'good'" in told[0]["message"]


def test_a_bundle_that_is_replaced_meanwhile_is_taken_whole(tmp_path, capsys, monkeypatch) -> None:
    """Between its model and its split another process puts a bundle there that learnt of the picture in doubt."""
    for i in range(20):
        put_colour(tmp_path / "set" / "good" / f"{i}.png", (200 + i, 30, 30))
        put_colour(tmp_path / "set" / "bad" / f"{i}.png", (30, 30, 200 + i))
    bundle, asked = write_bundle(tmp_path / "tiny.bundle"), []

    def slowly(opened):
        if not asked:
            write_bundle(bundle, (("train", "good", "good/0.png", "ab" * 32, ""),))
        asked.append(opened.sha256)
        return split_of(opened)

    monkeypatch.setattr(doubt, "split_of", slowly)
    code, _, err = lineside(capsys, str(tmp_path / "set"), "--bundle", str(bundle), "--json")
    assert code == 0, err
    assert len(asked) == 2
    assert asked[0] != asked[1] == open_bundle(bundle).sha256


def put_colour(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(colour))
