"""The tables of docs/recipe.md, made of lineside/learn/recipe.py: `python tests/docs/recipe_page.py` writes them.

A field is one row; its comment, above it or behind it, is "unit or range: meaning". A test compares.
"""

import ast
import inspect
import io
import re
import tokenize
from dataclasses import MISSING, fields
from pathlib import Path

from lineside.learn import recipe

PAGE = Path(__file__).parents[2] / "docs" / "recipe.md"
PART = re.compile(r"(<!-- made: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def made(page: str) -> str:
    """The page as the program has it now."""
    return PART.sub(lambda match: f"{match[1]}{table(getattr(recipe, match[2]))}\n{match[3]}", page)


def table(cls: type) -> str:
    said = comments(cls)
    lines = ["| key | default | unit or range | meaning |", "|---|---|---|---|"]
    for one in fields(cls):
        unit, _, meaning = said[one.name].partition(": ")
        default = "" if one.default is MISSING else f"`{str(one.default).lower()}`" if one.type is bool else shown(one)
        lines.append(f"| `{one.name}` | {default} | {unit} | {meaning} |")
    return "\n".join(lines)


def shown(one) -> str:
    return f'`"{one.default}"`' if isinstance(one.default, str) else f"`{one.default}`"


def comments(cls: type) -> dict[str, str]:
    """What is said of each field, by name."""
    source = inspect.getsource(cls)
    at = {t.start[0]: t.string[1:].strip() for t in tokens(source) if t.type == tokenize.COMMENT}
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    found, last = {}, 0
    for node in body.body:
        assert node.end_lineno
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = " ".join(at[i] for i in range(last + 1, node.end_lineno + 1) if i in at)
        last = node.end_lineno
    return found


def tokens(source: str):
    return tokenize.generate_tokens(io.StringIO(source).readline)


if __name__ == "__main__":
    PAGE.write_text(made(PAGE.read_text("utf-8")), "utf-8")
