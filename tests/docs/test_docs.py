"""The documentation is run: the tutorial works as printed, pages that are made are up to date, links lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import table
from lineside.learn.recipe import Augment, Recipe, read_recipe
from tests.docs import cli_page, recipe_page

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


def test_the_command_page_is_what_the_program_says():
    assert cli_page.PAGE.read_text() == cli_page.text(), "run: python tests/docs/cli_page.py"


def test_the_recipe_page_has_every_key_as_the_program_does():
    page = recipe_page.PAGE.read_text("utf-8")
    assert page == recipe_page.made(page), "run: python tests/docs/recipe_page.py"
    for cls in (Recipe, Augment):
        assert f"<!-- made: {cls.__name__} -->" in page
        for key, said in recipe_page.comments(cls).items():
            assert ": " in said, f"{cls.__name__}.{key}: its comment is not 'unit or range: meaning'"


def test_the_recipe_on_its_page_can_be_read(tmp_path):
    (shown,) = re.findall(r"^```toml\n(.*?)^```", recipe_page.PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    (tmp_path / "parts.toml").write_text(shown)
    assert read_recipe(tmp_path / "parts.toml") != Recipe()


def test_the_readme_has_the_measured_figures():
    assert table.written() == table.text(), "run: python -m benchmarks.table"


def test_the_figures_on_inference_are_the_rows(monkeypatch):
    def row(net, engine, eager, over, ms):
        medians = {"eager_over_bundle": {"median": eager}, "bundle_over_ready": {"median": over}}
        return {"net": net, "engine": engine, "precision": "int8", "ms": {"ready": {"median": ms}}, **medians}

    two = [row("a", "openvino", 3.1, 1.1, 9.0), row("a", "onnxruntime", 2.9, 0.9, 9.0)]
    monkeypatch.setattr(table, "rows", lambda name: [*two, row("b", "openvino", 3.0, 1.4, 4.9)])
    assert " ".join(table.inference()).partition(": ")[2] == (
        "at least 3 times as fast as eager PyTorch with b in every engine and precision, with a in OpenVINO's int8; "
        "2.90 to 2.90 times as fast elsewhere; it takes 0.90 to 1.10 times the bare engine's time; "
        "1.40 to 1.40 times where that is below 5 ms."
    )
    monkeypatch.setattr(table, "rows", lambda name: [])
    assert table.inference() == []


def test_python_that_decodes_pictures_can_be_run_as_a_file():
    """What `evaluate`, `combine` … start imports the main module: see data/facts.py."""
    blocks = [block for page in PAGES for block in PYTHON.findall(page.read_text())]
    decode = [b for b in blocks if re.search(r"from lineside\.(data\.doctor|tasks\.\w+\.(make|evaluate|combine)) ", b)]
    assert len(decode) >= 2
    assert all('if __name__ == "__main__":' in block for block in decode)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_to_files_that_are_there(page):
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", ["README.md", "docs/first-inspection.md", "docs/install.md"])
def test_an_environment_is_entered_before_anything_in_it_is_typed(page):
    """What make installs is in .venv, and outside of one Debian's pip refuses."""
    text = (ROOT / page).read_text()
    typed = [m.start() for m in re.finditer(r"(^|`|&& )(lineside|pip) \w", text, re.MULTILINE)]
    assert -1 < text.find(". .venv/bin/activate") < min(typed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "least", "said"), [("first-inspection.md", 5, "report: "), ("combine.md", 1, "McNemar")]
)
def test_what_a_page_says_to_type_works_as_it_is_written(page, least, said, tmp_path):
    """Every sh block of the page in one shell, in order; any command that fails fails the test."""
    blocks = BLOCK.findall((ROOT / "docs" / page).read_text())
    assert len(blocks) >= least
    script = "set -euo pipefail\n" + "".join(blocks)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert said in done.stdout
