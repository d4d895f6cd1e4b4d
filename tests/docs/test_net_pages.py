"""docs/nets: a page a family. What is printed there runs, what follows from the nets is up to date."""

import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lineside.cli.main import main
from lineside.nets.catalog import NETS, SIGNALS
from tests.docs import net_pages

PAGES = net_pages.pages()
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)
TABLE = re.compile(r"<!-- made: table [^>]*-->.*?<!-- end -->", re.DOTALL)
LARGEST = 40_000  # bytes of a drawing


def named(page: Path) -> str:
    return page.stem


def blocks(page: Path) -> list[tuple[int, str, str]]:
    """(line, language, code) of every block that is run."""
    text = page.read_text("utf-8")
    return [(text.count("\n", 0, m.start()) + 1, m[1], m[2]) for m in BLOCK.finditer(text)]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_follows_from_the_nets_is_up_to_date(page):
    text, drawings = net_pages.made(page.read_text("utf-8"))
    assert page.read_text("utf-8") == text, "run: python tests/docs/net_pages.py"
    assert drawings
    for file, svg in drawings.items():
        assert (net_pages.FOLDER / file).read_text("utf-8") == svg, "run: python tests/docs/net_pages.py"
        assert len(svg.encode()) < LARGEST
        ElementTree.fromstring(svg)
        assert "prefers-color-scheme: dark" in svg


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_is_printed_runs(page, tmp_path, monkeypatch, capsys):
    """Every python block in one namespace, every sh block by the program itself, in order."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    found = blocks(page)
    assert any(language == "python" and "assert" in code for _, language, code in found)
    for line, language, code in found:
        if language == "python":
            exec(compile("\n" * line + code, str(page), "exec"), names)  # noqa: S102 our own pages
            continue
        for command in code.splitlines():
            program, *argv = shlex.split(command)
            assert (program, main(argv)) == ("lineside", 0), command
    capsys.readouterr()


def test_every_net_is_in_one_table():
    printed = [
        name
        for page in PAGES
        for table in TABLE.findall(page.read_text("utf-8"))
        for name in re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE)
    ]
    assert sorted(printed) == sorted([*NETS, *SIGNALS])


def test_the_overview_names_every_page_and_no_drawing_is_left_over():
    overview = (net_pages.FOLDER.parent / "nets.md").read_text("utf-8")
    assert all(f"(nets/{page.name})" in overview for page in PAGES)
    shown = {file for page in PAGES for file in re.findall(r"\]\(([^)]+\.svg)\)", page.read_text("utf-8"))}
    assert {path.name for path in net_pages.FOLDER.glob("*.svg")} == shown


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_page_has_its_four_parts(page):
    heads = re.findall(r"^## (.+)$", page.read_text("utf-8"), re.MULTILINE)
    assert heads == ["What it changed", "Its table", "Its picture", "Its source"]
