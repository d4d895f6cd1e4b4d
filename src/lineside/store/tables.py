"""The tables: runs and inspections. Portable SQL types only: the same tables serve SQLite and PostgreSQL.

A run is one start of `lineside run`; ended is null while it runs, and for ever when it was killed. An inspection is one
part's verdict; its id is unique in the world, so that whoever is told twice can see it. Times are UTC.
"""

from sqlalchemy import (
    JSON,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from lineside.store.utc import Utc

VERSION = 1  # of the tables; in SQLite's user_version

METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

RUN = Table(
    "run",
    METADATA,
    Column("id", String(32), primary_key=True),  # uuid4, hex
    Column("started", Utc, nullable=False),
    Column("ended", Utc),
    Column("bundle_sha256", String(64), nullable=False),  # of manifest.json: the bundle's identity
    Column("bundle", Text, nullable=False),  # path, as the user named it
    Column("source", Text, nullable=False),  # URL
    Column("lineside", Text, nullable=False),  # version
    Column("settings", JSON, nullable=False),  # deadline, rate, sinks, engine, host
)

INSPECTION = Table(
    "inspection",
    METADATA,
    Column("id", String(32), primary_key=True),  # uuid4, hex
    Column("run_id", String(32), ForeignKey("run.id"), nullable=False),
    Column("sequence", Integer, nullable=False),  # 1, 2, 3, … in the run, no gaps
    Column("part_id", Text, nullable=False),
    Column("name", Text, nullable=False),  # of the picture
    Column("sha256", String(64)),  # of the picture's bytes; null: there was no picture
    Column("label", Text),  # null: no answer
    Column("score", Float),  # of the label, 0 to 1
    Column("scores", JSON(none_as_null=True)),  # {class: score}
    Column("margin", Float),  # log-odds that the part may pass; null: no answer, or not finite
    Column("verdict", String(6), nullable=False),  # accept, hold, reject
    Column("reason", String(16), nullable=False),  # line/station.py
    Column("detail", Text, nullable=False),
    Column("truth", Text),
    Column("captured", Utc, nullable=False),
    Column("decided", Utc, nullable=False),
    Column("decode_ms", Float),
    Column("infer_ms", Float),
    Column("decide_ms", Float),
    Column("total_ms", Float, nullable=False),  # captured → verdict
    UniqueConstraint("run_id", "sequence"),
    Index(None, "decided"),
)
