"""How a store of an older version becomes one of this version: one file a version in versions/ (Alembic)."""
