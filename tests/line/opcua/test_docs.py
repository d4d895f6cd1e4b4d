"""docs/opcua.md says what the code has."""

import re
from dataclasses import fields
from pathlib import Path

from lineside.line.sink import opcua, opcua_results, opcua_steering, opcua_trust

PAGE = (Path(__file__).parents[3] / "docs" / "opcua.md").read_text(encoding="utf-8")


def test_settings_and_numbers_are_the_code():
    rows = re.findall(r"^\| `([a-z]+)` \| ([^|]+) \|", PAGE[PAGE.index("| setting |") :], re.MULTILINE)
    assert [name for name, _ in rows] == [field.name for field in fields(opcua.Settings)]
    given = {field.name: field.default for field in fields(opcua.Settings)}
    assert {name: value for name, value in rows if name in ("anonymous", "none", "keep", "orders")} == {
        "anonymous": str(given["anonymous"]).lower(), "none": str(given["none"]).lower(), "keep": str(given["keep"]),
        "orders": str(given["orders"]).lower(),
    }  # fmt: skip
    assert f"more than {opcua.BACKLOG} results" in PAGE
    assert f"the newest {opcua_trust.REJECTED} certificates" in PAGE
    assert f"({opcua_results.HANDLES} handles" in PAGE


def test_errors_and_patience_are_the_code():
    names = {"BadNotExecutable": "REFUSED", "BadNotFound": "UNKNOWN", "BadTimeout": "NO_ANSWER"}
    names |= {"BadUserAccessDenied": "NOT_ALLOWED", "BadInvalidState": "REFUSED", "BadInvalidArgument": "ARGUMENT"}
    rows = dict(re.findall(r"^\| (\w+)[\w, ]* \| −(\d) \|", PAGE, re.MULTILINE))
    assert {name: -int(number) for name, number in rows.items()} == {
        name: getattr(opcua_steering, constant) for name, constant in names.items()
    }
    assert f"not answered within {opcua.PATIENCE_S:g} s" in PAGE


def test_every_method_that_steers_is_named():
    for path in opcua_steering.METHODS:
        assert path.rpartition("/")[2] in PAGE
