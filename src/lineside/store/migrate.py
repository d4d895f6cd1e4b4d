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
    from alembic.script import ScriptDirectory

    METADATA.create_all(connection)
    MigrationContext.configure(connection).stamp(ScriptDirectory.from_config(_config(connection)), revision(VERSION))


def upgrade(connection: Connection) -> None:
    """Bring the tables of an older version to this one."""
    from alembic import command

    config = _config(connection)
    if not inspect(connection).has_table("alembic_version"):
        command.stamp(config, revision(1))
    command.upgrade(config, revision(VERSION))


def version_of(connection: Connection) -> int:
    """As the mark in the database has it; 0: there is none."""
    from alembic.runtime.migration import MigrationContext

    found = MigrationContext.configure(connection).get_current_revision()
    return int(found) if found else 0


def _config(connection: Connection):  # -> alembic.config.Config
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", PLACE)
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
