"""Rows in the order of the store, a page at a time: no transaction is open while a page is looked at.

A reader that waits (a terminal's pager, a slow disk) in an open transaction would keep a line that writes meanwhile
from ever shortening its write-ahead log, until the disk is full.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine, RowMapping, Select, func, select

from lineside.store.open import reading
from lineside.store.tables import CHAIN

PAGE = 1000


def in_order(engine: Engine, query: Select[Any], limit: int | None = None) -> Iterator[RowMapping]:
    """The rows of a query that joins CHAIN, oldest first; limit: the newest so many. What comes meanwhile is left out,
    what retention deletes meanwhile may be."""
    with reading(engine) as connection:
        last = connection.execute(select(func.max(CHAIN.c.place))).scalar_one() or 0
        before = 0
        if limit is not None:
            newest = query.with_only_columns(CHAIN.c.place).order_by(CHAIN.c.place.desc()).limit(limit).subquery()
            before = (connection.execute(select(func.min(newest.c.place))).scalar_one() or 1) - 1
    page = query.add_columns(CHAIN.c.place.label("_place")).order_by(CHAIN.c.place).limit(PAGE)
    while before < last:
        with reading(engine) as connection:
            rows = connection.execute(page.where(CHAIN.c.place > before, CHAIN.c.place <= last)).mappings().all()
        yield from rows
        if len(rows) < PAGE:
            return
        before = rows[-1]["_place"]
