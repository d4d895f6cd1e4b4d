"""One line that says how far a long job is: what, how many of how many, the rate, the time left.

A job takes `progress: Progress = silent` as an argument and calls it; only the command line draws anything.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

# progress(done, total, note): note is short text such as "loss 0.31"; called at every step, cheap when silent.
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Screen:
    """Where a job of several steps shows itself: watch("features") draws one step's progress, say prints a line."""

    watch: Callable[[str], AbstractContextManager[Progress]]
    say: Callable[[str], None]


def silent(done: int, total: int, note: str = "") -> None:
    """Draws nothing: the default of every job."""


QUIET = Screen(watch=lambda what: nullcontext(silent), say=lambda text: None)


@contextmanager
def bar(what: str, unit: str = "pictures") -> Iterator[Progress]:
    """A progress bar on stderr; where stderr is no terminal, one plain line at the end instead."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars
    from rich.table import Column
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task) -> Text:
            return Text(f"{task.finished_speed or task.speed or 0:.0f} {unit}/s")

    class Note(ProgressColumn):
        """The one that is cut where the terminal is narrow: no other may be."""

        def render(self, task) -> Text:
            return Text(task.fields["note"], no_wrap=True, overflow="ellipsis")

    def whole() -> Column:
        return Column(no_wrap=True)

    console = Console(file=sys.stderr)
    columns = (
        TextColumn("{task.description:<19}", table_column=whole()),
        BarColumn(8, table_column=whole()),
        MofNCompleteColumn(table_column=whole()),
        Rate(table_column=whole()),
        TimeRemainingColumn(table_column=whole()),
        Note(),
    )
    with Bars(*columns, console=console) as bars:
        task = bars.add_task(what, total=None, note="")

        def draw(done: int, total: int, note: str = "") -> None:
            bars.update(task, completed=done, total=total, note=note)

        yield draw
