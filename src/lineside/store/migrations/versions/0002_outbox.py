"""Version 2: the hash chain and the outbox. What is there already is chained in the order it was stored.

The tables are written out here and not taken from tables.py, which goes on changing; this file does not.
"""

import sqlalchemy as sa
from alembic import op

from lineside.store.chain import GENESIS, row_hash, run_hash
from lineside.store.utc import Utc

revision = "0002"
down_revision = "0001"
PAGE = 1000
RUN = sa.table(
    "run",
    *map(sa.column, ("id", "bundle_sha256", "bundle", "source", "lineside")),
    sa.column("started", Utc),
    sa.column("settings", sa.JSON),
)
INSPECTION = sa.table(
    "inspection",
    *map(sa.column, ("id", "run_id", "sequence", "part_id", "name", "sha256", "label", "score", "margin", "verdict")),
    *map(sa.column, ("reason", "detail", "truth", "decode_ms", "infer_ms", "decide_ms", "total_ms")),
    sa.column("scores", sa.JSON),
    sa.column("captured", Utc),
    sa.column("decided", Utc),
)
CHAIN = sa.table("chain", *map(sa.column, ("place", "inspection_id", "hash")))


def upgrade() -> None:
    op.create_table(
        "chain",
        sa.Column("place", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("inspection_id", sa.String(32), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("place", name="pk_chain"),
        sa.ForeignKeyConstraint(["inspection_id"], ["inspection.id"], name="fk_chain_inspection_id"),
        sa.UniqueConstraint("inspection_id", name="uq_chain_inspection_id"),
    )
    op.create_table(
        "anchor",
        sa.Column("place", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("at", Utc, nullable=False),
        sa.Column("inspections", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("place", name="pk_anchor"),
    )
    op.create_table(
        "sink",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_sink"),
    )
    op.create_table(
        "outbox",
        sa.Column("sink", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("inspection_id", sa.String(32), nullable=False),
        sa.Column("closed", Utc),
        sa.PrimaryKeyConstraint("sink", "number", name="pk_outbox"),
        sa.ForeignKeyConstraint(["sink"], ["sink.key"], name="fk_outbox_sink"),
        sa.ForeignKeyConstraint(["inspection_id"], ["inspection.id"], name="fk_outbox_inspection_id"),
        sa.UniqueConstraint("sink", "inspection_id", name="uq_outbox_sink_inspection_id"),
    )
    op.create_index("ix_outbox_inspection_id", "outbox", ["inspection_id"])
    still_open = sa.text("closed IS NULL")
    op.create_index(
        "ix_outbox_open", "outbox", ["sink", "number"], sqlite_where=still_open, postgresql_where=still_open
    )
    _chain_what_is_there(op.get_bind())


def _chain_what_is_there(connection: sa.Connection) -> None:
    """Every inspection, run after run, in order."""
    place, before = 0, GENESIS
    for run in connection.execute(sa.select(RUN).order_by(RUN.c.started, RUN.c.id)).mappings().all():
        hashed, last = run_hash(dict(run)), 0
        query = (
            sa.select(INSPECTION).where(INSPECTION.c.run_id == run["id"]).order_by(INSPECTION.c.sequence).limit(PAGE)
        )
        while rows := connection.execute(query.where(INSPECTION.c.sequence > last)).mappings().all():
            links = []
            for row in rows:
                place, before = place + 1, row_hash(before, hashed, dict(row))
                links.append({"place": place, "inspection_id": row["id"], "hash": before})
            connection.execute(sa.insert(CHAIN), links)
            last = rows[-1]["sequence"]
