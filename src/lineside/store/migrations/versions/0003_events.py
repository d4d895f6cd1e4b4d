"""Version 3: events beside inspections, in the same chain and outbox; an inspection's product and views.

Columns that become nullable, and new ones with a foreign key, make SQLite copy the table: nothing refers to these two.
"""

import sqlalchemy as sa
from alembic import op

from lineside.store.utc import Utc

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("inspection", sa.Column("product", sa.Text))
    op.add_column("inspection", sa.Column("views", sa.JSON))
    op.create_table(
        "event",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("run_id", sa.String(32)),
        sa.Column("at", Utc, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_event"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_event_run_id"),
    )
    op.create_index("ix_event_at", "event", ["at"])
    op.create_index("ix_event_subject", "event", ["subject"])
    op.add_column("sink", sa.Column("events", sa.Boolean, nullable=False, server_default=sa.false()))
    with op.batch_alter_table("chain") as chain:
        chain.alter_column("inspection_id", existing_type=sa.String(32), nullable=True)
        chain.add_column(sa.Column("event_id", sa.String(32)))
        chain.create_foreign_key("fk_chain_event_id", "event", ["event_id"], ["id"])
        chain.create_unique_constraint("uq_chain_event_id", ["event_id"])
    with op.batch_alter_table("outbox") as outbox:
        outbox.alter_column("inspection_id", existing_type=sa.String(32), nullable=True)
        outbox.add_column(sa.Column("event_id", sa.String(32)))
        outbox.create_foreign_key("fk_outbox_event_id", "event", ["event_id"], ["id"])
        outbox.create_unique_constraint("uq_outbox_sink_event_id", ["sink", "event_id"])
    op.create_index("ix_outbox_event_id", "outbox", ["event_id"])
