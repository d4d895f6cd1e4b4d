"""docs/cli.md, made from the commands themselves: `python tests/docs/cli_page.py` writes it, a test compares."""

import importlib
import os
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
HEAD = """# Commands

Made by `python tests/docs/cli_page.py`; a test compares it with the program.
"""


def text() -> str:
    """The page as the program has it now."""
    os.environ["COLUMNS"] = "100"  # argparse wraps to the terminal
    from lineside.cli import main

    parts = [HEAD, f"```\n{main._parser(None).format_help()}```\n"]
    for verb, (module, _) in main.VERBS.items():
        parser = main._parser(verb)
        sub = parser._subparsers._group_actions[0].choices[verb]  # argparse has no public way to a sub-parser
        doc = (importlib.import_module(module).__doc__ or "").strip()
        doc = re.sub(r"\bdocs/([\w-]+\.md)", r"[\1](\1)", doc)
        parts.append(f"## lineside {verb}\n\n{doc}\n\n```\n{sub.format_help()}```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(text())
