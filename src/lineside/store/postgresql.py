"""The store as a PostgreSQL database, for several stations: postgresql://[USER@]HOST[:PORT]/DATABASE[?sslmode=…].

The same tables as in a SQLite file. The password is never in the URL: libpq takes it from PGPASSWORD, or from
~/.pgpass, which it refuses unless only its owner can read it. To another machine the connection is encrypted and the
server's certificate is checked (sslmode=verify-full, root certificate in ~/.postgresql/root.crt), unless the URL names
another sslmode. A commit waits for the disk, even where the server's default would not.
"""

from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from lineside.errors import LineError, MissingExtra, SettingsError
from lineside.redact import redact
from lineside.store import migrate
from lineside.store.chain import one_writer
from lineside.store.open import where, why
from lineside.store.tables import METADATA, VERSION

LOOPBACK = (None, "", "localhost", "127.0.0.1", "::1")
CONNECT_S = 10


def open_database(url: str, *, make: bool) -> Engine:
    """The store in this database. SettingsError for a URL that is none or holds a password; LineError otherwise."""
    engine = _engine(url)
    try:
        with engine.begin() as connection:
            _bring_up(connection, where(engine), make)
    except DBAPIError as error:
        engine.dispose()
        raise LineError(why(error, where(engine))) from None
    except LineError:
        engine.dispose()
        raise
    return engine


def version_at(url: str) -> tuple[str, int]:
    """(name for people, version of the tables, 0 where there are none); nothing is changed. The same errors."""
    engine = _engine(url)
    try:
        with engine.connect() as connection:
            there = set(inspect(connection).get_table_names())
            return where(engine), migrate.version_of(connection) if "alembic_version" in there else 0
    except DBAPIError as error:
        raise LineError(why(error, where(engine))) from None
    finally:
        engine.dispose()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise SettingsError("--store: expected a file, or postgresql://USER@HOST/DATABASE") from None
    if parsed.password is not None or "password" in parsed.query:
        raise SettingsError(
            "--store: the URL holds a password, which others can read in the list of processes; leave it out and put "
            "it into ~/.pgpass (mode 600) or PGPASSWORD"
        )
    if not parsed.database:
        raise SettingsError(f"{redact(url)}: names no database; expected postgresql://USER@HOST/DATABASE")
    local = parsed.host in LOOPBACK or str(parsed.host).startswith("/")
    if not local and "sslmode" not in parsed.query and "host" not in parsed.query:
        parsed = parsed.update_query_dict({"sslmode": "verify-full"})
    try:
        engine = create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            connect_args={"connect_timeout": CONNECT_S, "application_name": "lineside"},
        )
    except ModuleNotFoundError:
        raise MissingExtra("a store in PostgreSQL", "psycopg", "postgres") from None
    event.listen(engine, "connect", _connected)
    return engine


def _connected(connection: Any, _: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('synchronous_commit')")
        if cursor.fetchone()[0] == "off":
            cursor.execute("SET synchronous_commit = on")
    connection.commit()


def _bring_up(connection: Connection, name: str, make: bool) -> None:
    one_writer(connection)  # of two that start at once, one makes the tables
    there = set(inspect(connection).get_table_names())
    ours = set(METADATA.tables)
    version = migrate.version_of(connection) if "alembic_version" in there else 0
    if version == VERSION and ours <= there:
        return
    if version > VERSION:
        raise LineError(
            f"{name}: the store has version {version}, this program knows {VERSION}; update it with: "
            "pip install --upgrade lineside"
        )
    if there & {*ours, "alembic_version"}:
        if version and {"run", "inspection"} <= there:
            migrate.upgrade(connection)
            return
        raise LineError(
            f"{name}: has tables of another program with our names ({', '.join(sorted(there)[:3])}, …); give Lineside "
            "a database of its own: createdb lineside"
        )
    if not make:
        raise LineError(f"{name}: there is no store in this database; name the one that `lineside run` writes to")
    migrate.make(connection)
