"""Which lines have written to a store, and in which runs: `lineside history --line`."""

from sqlalchemy import Engine, select

from lineside.store.open import reading
from lineside.store.tables import RUN, line_name


def names(engine: Engine) -> list[str]:
    """Of the lines that have written to this store."""
    with reading(engine) as connection:
        found = connection.execute(select(line_name).distinct()).scalars()
        return sorted(name for name in found if name is not None)


def runs_of(engine: Engine, line: str) -> list[str]:
    """The ids of a line's runs. Asked before anything of them: how many rows a name inside of JSON stands for
    PostgreSQL can not guess, and it would sort all of them for every page."""
    with reading(engine) as connection:
        return list(connection.execute(select(RUN.c.id).where(line_name == line)).scalars())
