"""How a long job shows itself on a terminal: a bar a step, a line a decision, all on stderr."""

import sys

from lineside.progress import Screen, bar


def say(text: str) -> None:
    """One line, at once."""
    print(text, file=sys.stderr, flush=True)


SCREEN = Screen(watch=bar, say=say)
