"""Open the store: SQLite in WAL mode, or a PostgreSQL database (postgresql.py); made on first use, brought to this
version if it is older, refused with a sentence where it can not be relied on.

synchronous = FULL: a commit returns after the disk has it. What is told to a sink is therefore neither lost by kill -9
(NORMAL would do for that: the page cache belongs to the kernel) nor by a power cut (NORMAL may lose the last commits,
which had been told). The line commits in groups and never waits for it, so the price is paid beside the line:
docs/run.md has the numbers. Several processes may write to one store; a writer waits up to BUSY_S for another's commit.
"""

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from lineside.bundle.folder import beside
from lineside.errors import LineError
from lineside.store.tables import VERSION

BUSY_S = 30.0
APPLICATION_ID = 0x4C4E5344  # "LNSD", so that the program `file` and we know whose database this is
PRAGMAS = ("synchronous = FULL", "foreign_keys = ON")
READS = "lineside_reads"  # execution option: this connection only reads, and waits for no writer


def default_store(bundle: Path) -> Path:
    """Beside the bundle, never in it (a file more would break its hashes): nuts.bundle → nuts.bundle.db"""
    return beside(bundle, ".db")


def open_store(path: Path | str, *, make: bool = True) -> Engine:
    """The store in this file or PostgreSQL URL, made (if `make`) where there is none, and of this version.

    LineError says why it can't be written, and what to do.
    """
    if is_url(path):
        from lineside.store.postgresql import open_database

        return open_database(str(path), make=make)
    path = Path(path)
    if not make and not path.is_file():
        raise LineError(f"{path}: there is no store here; name the file that `lineside run` wrote")
    if not path.parent.is_dir():
        raise LineError(
            f"{path}: the folder {path.parent} does not exist; make it, or name another file with --store FILE"
        )
    if path.is_file() and not _sqlite(path):
        raise LineError(why(LineError("file is not a database"), path))
    url, how = URL.create("sqlite", database=str(path)), {"timeout": BUSY_S, "check_same_thread": False}
    alone = _alone(path)
    if alone:
        place = f"{alone.as_uri()}?immutable=1"
        engine = create_engine(url, creator=lambda: sqlite3.connect(place, uri=True, **how))
    else:
        engine = create_engine(url, connect_args=how)
    event.listen(engine, "connect", _connected)
    event.listen(engine, "begin", _begin)
    try:
        with reading(engine) as connection:
            version = _version(connection, path)
        if version == 0:
            _to_wal(engine, path)
        if alone and 0 < version < VERSION:
            raise LineError(
                f"{path}: the store has version {version}, this program reads {VERSION}, and can bring it there only "
                "where it can write; copy it to another disk, and read it there"
            )
        if version < VERSION:
            with engine.begin() as connection:
                _bring_up(connection, path)
    except DBAPIError as error:
        engine.dispose()
        raise LineError(why(error, path)) from None
    except LineError:
        engine.dispose()
        raise
    return engine


def is_url(path: Path | str) -> bool:
    """Whether this names a database on a server, not a file."""
    return isinstance(path, str) and path.startswith("postgresql:")


def reading(engine: Engine) -> Connection:
    """A connection that only reads."""
    return engine.connect().execution_options(**{READS: True})


def where(engine: Engine) -> str:
    """The store's name in messages."""
    sqlite = engine.dialect.name == "sqlite"
    return engine.url.database or "" if sqlite else engine.url.set(drivername="postgresql").render_as_string()


def identity(engine: Engine) -> str:
    """The store's name, the same from whatever folder and through whatever link it was named."""
    return os.path.realpath(engine.url.database or "") if engine.dialect.name == "sqlite" else where(engine)


def why(error: Exception, path: Path | str) -> str:
    """A store's error as a sentence with a remedy."""
    text = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    if is_url(str(path)):
        text = " ".join(text.split())
        return f"{path}: {text}: look at the database server, or name another store with --store"
    remedies = {
        "readonly": "the store can not be written; name a file in a folder that can, with --store FILE",
        "unable to open": "the store can not be opened or made; name a file in a writable folder, with --store FILE",
        "full": "the disk is full; free space, or name a file on another disk with --store FILE",
        "disk I/O": "the disk refuses; look at its space, quota and health, or name another with --store FILE",
        "not a database": "this is no SQLite file; move it away, or name another with --store FILE",
        "malformed": "the store is damaged; move it away with its -wal and -shm files, and keep them for rescue",
        "locked": f"another program has held the store for {BUSY_S:.0f} s; end it, or name another with --store FILE",
    }
    remedy = next((r for key, r in remedies.items() if key in text), "name another file with --store FILE")
    return f"{path}: {text}: {remedy}"


def _connected(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    reads = connection.get_execution_options().get(READS)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")  # wait for another writer here, never half way


def _sqlite(path: Path) -> bool:
    """An empty file or a SQLite one. (SQLite itself would write over any file shorter than its header.)"""
    try:
        with path.open("rb") as file:
            return file.read(16) in (b"", b"SQLite format 3\0")
    except OSError as error:
        raise LineError(f"{path}: can not be read ({error.strerror}); name another file with --store FILE") from None


def _alone(path: Path) -> Path | None:
    """The real file, if it lies on a read-only disk without the two files (-wal, -shm) by which SQLite shares a store.

    SQLite can not make them there, and reads the file only if it is told that nobody will change it. With both of them
    it reads as ever. LineError for -wal alone: results are in it, and only a writer could get them out.
    """
    real = Path(os.path.realpath(path))
    if not real.is_file() or not os.statvfs(real).f_flag & os.ST_RDONLY:
        return None
    wal, shared = (real.with_name(f"{real.name}-{one}") for one in ("wal", "shm"))
    if shared.exists():
        return None
    if wal.exists() and wal.stat().st_size:
        raise LineError(
            f"{path}: the line had not ended when this copy was made: {wal.name} holds results that are not in it "
            "yet, and this disk is read-only; copy both to a folder that can be written, and read them there"
        )
    return real


def _version(connection: Connection, path: Path) -> int:
    """Of the store's tables; 0 for a new file. LineError for what is no store of ours or too new, left as it is."""
    identity = connection.exec_driver_sql("PRAGMA application_id").scalar_one()
    version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    tables = connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one()
    if identity == APPLICATION_ID and 0 < version <= VERSION:
        return version
    if identity == APPLICATION_ID:
        raise LineError(
            f"{path}: the store has version {version}, this program knows {VERSION}; update it with: "
            "pip install --upgrade lineside"
        )
    if version or identity or tables:
        raise LineError(f"{path}: this SQLite file belongs to another program; name another file with --store FILE")
    return 0


def _bring_up(connection: Connection, path: Path) -> None:
    """Make the tables, or bring them to this version; another process may have done it meanwhile."""
    from lineside.store import migrate

    version = _version(connection, path)
    if version == VERSION:
        return
    if version:
        migrate.upgrade(connection)
    else:
        migrate.make(connection)
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")


def _to_wal(engine: Engine, path: Path) -> None:
    """Once per file; the mode stays. Of two processes that do it at once the second may find the file locked: again."""
    end = time.monotonic() + BUSY_S
    while True:
        connection = engine.raw_connection()
        try:
            (mode,) = connection.cursor().execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise LineError(why(error, path)) from None
            time.sleep(0.02)
        finally:
            connection.close()
    if mode != "wal":
        raise LineError(
            f"{path}: SQLite's write-ahead log can not be used here (journal mode is {mode}); "
            "a network folder can not hold a store: name a file on a local disk with --store FILE"
        )
