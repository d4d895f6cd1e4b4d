"""Version 4: which pictures are kept, where, and which inspections speak of them."""

import sqlalchemy as sa
from alembic import op

from lineside.store.utc import Utc

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "folder",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_folder"),
    )
    op.create_table(
        "picture",
        sa.Column("folder", sa.String(32), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("form", sa.String(6), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("seen", Utc, nullable=False),
        sa.PrimaryKeyConstraint("folder", "sha256", name="pk_picture"),
        sa.ForeignKeyConstraint(["folder"], ["folder.id"], name="fk_picture_folder"),
    )
    op.create_index("ix_picture_folder_seen", "picture", ["folder", "seen"])
    op.create_table(
        "shown",
        sa.Column("folder", sa.String(32), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("inspection_id", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("folder", "sha256", "inspection_id", name="pk_shown"),
        sa.ForeignKeyConstraint(["folder", "sha256"], ["picture.folder", "picture.sha256"], name="fk_shown_picture"),
    )
    op.create_index("ix_shown_inspection_id", "shown", ["inspection_id"])
