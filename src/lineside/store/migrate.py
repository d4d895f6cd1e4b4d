"""From an older version of the tables to this one, in one transaction: a crash midway leaves the store as it was.

Alembic is imported only where a store is made or changed: opening one that is up to date costs nothing.
"""

from sqlalchemy import Connection, inspect

from lineside.store.tables import METADATA, VERSION

PLACE = "lineside.store:migrations"


def revision(version: int) -> str:
    """The name of a version among the migrations."""
    return f"{version:04d}"


def make(connection: Connection) -> None:
    """All tables of this version in an empty database, and the mark of it."""
    from alembic.runtime.migration import MigrationContext

    METADATA.create_all(connection)
    MigrationContext.configure(connection).stamp(_script(), revision(VERSION))


def upgrade(connection: Connection) -> None:
    """Bring the tables of an older version to this one, step by step."""
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext

    script, context = _script(), MigrationContext.configure(connection)
    version = version_of(connection) if inspect(connection).has_table("alembic_version") else 1
    for following in range(version + 1, VERSION + 1):
        step = script.get_revision(revision(following))
        assert step is not None
        with Operations.context(context):
            step.module.upgrade()
        context.stamp(script, step.revision)


def version_of(connection: Connection) -> int:
    """As the mark in the database has it; 0: there is none."""
    from alembic.runtime.migration import MigrationContext

    found = MigrationContext.configure(connection).get_current_revision()
    return int(found) if found else 0


def _script():  # -> alembic.script.ScriptDirectory
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", PLACE)
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)
