"""Version 1: runs and inspections, as the first program made them. Nothing to do: it is where stores begin."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Stores of version 1 carry no mark of Alembic; store/migrate.py gives it to them."""
