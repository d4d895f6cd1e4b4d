"""Version 5: up to where a run's results and events were deleted, so that no journal brings them back."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("run", sa.Column("forgotten", sa.Integer, nullable=False, server_default="0"))
    op.add_column("run", sa.Column("forgotten_event", sa.String(32)))
