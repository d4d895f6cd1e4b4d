"""The options at the end of a sink's URL, NAME=VALUE&NAME=VALUE, read strictly."""

from collections.abc import Mapping
from difflib import get_close_matches
from urllib.parse import parse_qsl

from lineside.errors import SettingsError

YES_NO = {"yes": True, "no": False}


def options(url: str, text: str, known: Mapping[str, str]) -> dict[str, str]:
    """{name: value}; known: name → what it expects. url is for messages and must hold no secret."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
            raise SettingsError(f"{url}: unknown option {name}; {hint}")
        if name in found:
            raise SettingsError(f"{url}: {name} is given twice")
        if not value:
            raise SettingsError(f"{url}: {name} is empty; expected {known[name]}")
        found[name] = value
    return found


def yes(url: str, given: Mapping[str, str], name: str) -> bool:
    value = given.get(name, "no")
    if value not in YES_NO:
        raise SettingsError(f"{url}: {name}={value}: expected yes or no")
    return YES_NO[value]


def number(url: str, given: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    text = given.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise SettingsError(f"{url}: {name}={text}: expected a number from {least:g} to {most:g}")
    return value


def whole(url: str, given: Mapping[str, str], name: str, default: int, most: int) -> int:
    value = number(url, given, name, default, 1, most)
    if value != int(value):
        raise SettingsError(f"{url}: {name}={given[name]}: expected a whole number")
    return int(value)
