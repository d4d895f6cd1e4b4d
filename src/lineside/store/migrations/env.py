"""Run by Alembic: the migrations, in the connection and the transaction that store/migrate.py has opened."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
