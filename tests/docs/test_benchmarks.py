"""`make bench` goes through to its end: every benchmark starts without arguments, and the README's tables come last."""

import argparse
import re
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks import real_data

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
LISTED = re.findall(r"^BENCHMARKS := (.*)$", MAKEFILE, re.MULTILINE)[0].split()


class Parsed(Exception):
    """The benchmark has its arguments and would begin."""


def test_make_bench_runs_every_benchmark_and_fills_the_tables_last():
    with_a_main = {p.stem for p in (ROOT / "benchmarks").glob("*.py") if "\nif __name__ ==" in p.read_text()}
    assert with_a_main == {*LISTED, "table"}
    steps = re.findall(r"^bench:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[0].splitlines()
    assert "$(BENCHMARKS)" in steps[-2]
    assert steps[-1].endswith("-m benchmarks.table")


@pytest.mark.parametrize("name", LISTED)
def test_a_benchmark_starts_without_arguments(name, monkeypatch):
    module = import_module(f"benchmarks.{name}")
    if "parse_args()" not in Path(module.__file__ or "").read_text():
        return  # it takes none
    parse = argparse.ArgumentParser.parse_args

    def parsed(parser, args=None, namespace=None):
        parse(parser, [])
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    with pytest.raises(Parsed):
        module.main()


def test_a_data_set_that_is_not_here_is_said_and_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(real_data, "DATA", tmp_path / "none")
    monkeypatch.setattr(real_data.garments, "__defaults__", (tmp_path / "none",))
    monkeypatch.setattr(real_data.importlib.util, "find_spec", lambda name: None)
    assert real_data.at_hand(real_data.ACCEPT, tmp_path) == {"nuts": "nuts:"}
    said = capsys.readouterr().out
    assert [line.split(":")[0] for line in said.splitlines()] == [name for name in real_data.ACCEPT if name != "nuts"]
    assert "LINESIDE_DATA" in said
    assert real_data.at_hand(["neu-det"], tmp_path) == {}  # nor is a folder of nothing taken for it the next time


@pytest.mark.parametrize(
    "name", ["accuracy", "combine", "depth", "inference", "near_duplicates", "stem_gradients", "training"]
)
def test_a_benchmark_without_its_data_keeps_what_was_measured(name, tmp_path, monkeypatch, capsys):
    module = import_module(f"benchmarks.{name}")

    def absent(name, folder):
        raise FileNotFoundError(name)

    monkeypatch.setattr(real_data, "prepare", absent)
    argv = ["--data", str(tmp_path / "none")] if name in ("depth", "stem_gradients") else []
    monkeypatch.setattr("sys.argv", [name, *argv])
    result = ROOT / "benchmarks" / "results" / f"{name}.json"
    before = result.read_bytes()
    module.main()
    assert result.read_bytes() == before
    assert "left out, it is not here" in capsys.readouterr().out
