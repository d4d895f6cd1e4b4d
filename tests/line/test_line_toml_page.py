"""docs/line-toml.md names every key with its default, no other, and its examples are lines."""

import re
import tomllib
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from lineside.line.check import GRACE_S, LEAST_ROOM_GB
from lineside.line.settings import Settings, read_line
from lineside.line.tables import LEAST_QUOTA_GB, Control, LineCamera, Log, Parts, Product, Store, Web

PAGE = (Path(__file__).parents[2] / "docs" / "line-toml.md").read_text(encoding="utf-8")
SECTIONS = {
    "### The line": Settings,
    "### `[[cameras]]`": LineCamera,
    "### `[products.NAME]`": Product,
    "### `[parts]`": Parts,
    "### `[store]`": Store,
    "### `[web]`": Web,
    "### `[log]`": Log,
    "### `[control]`": Control,
}


def rows(heading: str) -> dict[str, str]:
    """key: what the column of defaults says."""
    table = PAGE[PAGE.index(heading + "\n") :].split("\n\n")[1]
    found = {}
    for line in table.splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for key in re.findall(r"`([a-z_]+)`", cells[0]):
            found[key] = cells[1]
    return found


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_is_there_and_no_other(heading):
    assert set(rows(heading)) == {field.name for field in fields(SECTIONS[heading])}


@pytest.mark.parametrize("heading", SECTIONS)
def test_defaults_are_the_code(heading):
    for field in fields(SECTIONS[heading]):
        said = rows(heading)[field.name]
        if field.default is MISSING and field.default_factory is MISSING:
            assert said == "needed"
        elif isinstance(field.default, bool):
            assert said == str(field.default).lower()
        elif isinstance(field.default, int | float):
            assert said == f"{field.default:g}"
        elif isinstance(field.default, str):
            assert said.strip('`"') == field.default


def test_the_examples_are_lines_and_the_long_one_says_all(tmp_path):
    least, full = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for text in (least, full):
        (tmp_path / "line.toml").write_text(text)
        read_line(tmp_path / "line.toml")
    said = tomllib.loads(full)
    assert set(said) == {field.name for field in fields(Settings)}
    assert {key for one in said["cameras"] for key in one} == {field.name for field in fields(LineCamera)}
    assert {key for one in said["products"].values() for key in one} == {"bundle", "bundles"}
    assert set(said["parts"]) == {field.name for field in fields(Parts)} - {"max_fps"}  # not with a hardware trigger
    for key, cls in (("store", Store), ("web", Web), ("log", Log), ("control", Control)):
        assert set(said[key]) == {field.name for field in fields(cls)}


def test_the_numbers_are_those_of_the_code():
    assert f"`timeout_s` + {GRACE_S:g} s" in PAGE
    assert f"{LEAST_ROOM_GB:g} GB for results" in PAGE
    assert f"10⁹ bytes, from {LEAST_QUOTA_GB:g}" in PAGE
