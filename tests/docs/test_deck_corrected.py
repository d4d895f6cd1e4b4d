"""docs/deck-corrected.md is run: its Python, its commands, and what they print is what the page says.

python   runs on its own behind the page's first block; the text block after it is all that it prints
sh       one `lineside …`, run in this process; the text block after it is its output, with … for what is left out:
         on a line of its own for any lines, within a line for any text
"""

import io
import re
import shlex
from contextlib import redirect_stdout
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from lineside.cli.main import main
from lineside.ledger.convention import DIFFERENCES

PAGE = (Path(__file__).parents[2] / "docs" / "deck-corrected.md").read_text()
HEADING = re.compile(r'^### <a id="(E\d+)"></a>\1 · .+$', re.MULTILINE)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TABLE = re.compile(r"^\| \[(E\d+)\]\(#(E\d+)\) \|(?: [^|\n]+ \|){3} (slip|condition|extraction|typo) \|$", re.MULTILINE)
ERRATA = [f"E{n}" for n in range(1, 45)]

HEAD, *REST = HEADING.split(PAGE)
SECTIONS = dict(zip(REST[::2], REST[1::2], strict=True))


def blocks(kind: str) -> list:
    """(code, what the page says that it prints) of every block of this kind, by erratum."""
    found = []
    for erratum, section in SECTIONS.items():
        for (language, code), (after, said) in pairwise([*BLOCK.findall(section), ("", "")]):
            if language == kind:
                assert after == "text", f"{erratum}: nothing is said of what this prints:\n{code}"
                found.append(pytest.param(code, said, id=erratum))
    return found


def missing(output: str, said: str) -> str | None:
    """The first line of what the page shows that is not there in the output; None: all of it is as shown."""
    lines, at, skip = output.splitlines(), 0, False
    for shown in said.splitlines():
        if shown == "…":
            skip = True
            continue
        line = re.compile(".*".join(map(re.escape, shown.split("…"))))
        while skip and at < len(lines) and not line.fullmatch(lines[at]):
            at += 1
        if at == len(lines) or not line.fullmatch(lines[at]):
            return shown
        at, skip = at + 1, False
    return None if skip or at == len(lines) else f"and the output goes on: {lines[at]}"


def printed(code: str, names: dict) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(code, "docs/deck-corrected.md", "exec"), names)  # noqa: S102 (the page's own)
    return out.getvalue()


@cache
def answer(command: str) -> str:
    """What a command prints; asked once, however often the page shows it."""
    program, *flags = shlex.split(command)
    assert program == "lineside", command
    out = io.StringIO()
    with redirect_stdout(out):
        assert main(flags) == 0, command
    return out.getvalue()


@pytest.fixture(scope="module")
def first() -> dict:
    """The names that the page's first block makes."""
    ((language, code),) = BLOCK.findall(HEAD)
    assert language == "python"
    names = {}
    assert printed(code, names) == ""
    return names


@pytest.mark.parametrize(("code", "said"), blocks("python"))
def test_what_a_block_prints_is_what_the_page_says(code, said, first):
    assert said
    assert printed(code, dict(first)) == said


@pytest.mark.parametrize(("code", "said"), blocks("sh"))
def test_a_command_answers_what_the_page_shows(code, said):
    (command,) = code.splitlines()
    assert any(line != "…" for line in said.splitlines())
    assert missing(answer(command), said) is None


def test_every_erratum_is_there_with_a_command_or_its_source():
    assert [(said, target) for said, target, _ in TABLE.findall(HEAD)] == [(e, e) for e in ERRATA]
    assert sorted(SECTIONS, key=lambda e: int(e[1:])) == ERRATA
    assert len(HEADING.findall(PAGE)) == len(ERRATA)
    without = [
        e for e, section in SECTIONS.items() if not {kind for kind, _ in BLOCK.findall(section)} & {"python", "sh"}
    ]
    assert without == [e for e, section in SECTIONS.items() if "\nSource, nothing to run: " in section]


def test_what_the_ledger_explains_of_the_deck_is_on_the_page():
    said = [d.says for found in DIFFERENCES.values() for d in found if d.convention == "deck"]
    assert len(said) >= 4
    assert [says for says in said if f"\ndeck says {says}: " not in PAGE] == []


@pytest.mark.parametrize(
    ("said", "first_missing"),
    [
        ("one\ntwo  2.0\nthree\n", None),
        ("…\ntwo  2.0\n…\n", None),
        ("one\n…\nthree\n", None),
        ("one\ntwo …\nthree\n", None),
        ("…\n… 2.0\n…\n", None),
        ("one\ntwo  2.1\nthree\n", "two  2.1"),
        ("…\ntwo\n…\n", "two"),
        ("one\nthree\n", "three"),
        ("…\nthree\n…\ntwo  2.0\n…\n", "two  2.0"),
        ("two  2.0\n…\n", "two  2.0"),
        ("one\n", "and the output goes on: two  2.0"),
        ("…\nthree\nfour\n", "four"),
    ],
)
def test_a_page_that_shows_something_else_is_found_out(said, first_missing):
    assert missing("one\ntwo  2.0\nthree\n", said) == first_missing
