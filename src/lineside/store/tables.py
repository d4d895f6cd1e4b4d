"""The tables. Portable SQL types only: the same tables serve SQLite and PostgreSQL.

run         one start of `lineside run`; ended is null while it runs, and for ever where it was killed or not all of it
            was stored
inspection  one part's verdict; its id is unique in the world, so that whoever is told twice can see it
event       something else that happened: a state, a drift alarm, a person's word on a result …
chain       inspections and events in the order they were stored in, each with a hash over the one before (chain.py)
anchor      where the chain begins after old rows were deleted
sink        who is told through an outbox, and the number of the last entry written for him
outbox      which inspection or event a sink must be told; closed when the consumer has acknowledged it (outbox.py)
folder      where pictures are kept: one a line, known by an id that lies in it (pictures.py)
picture     a picture that is kept in a folder: the promise that its file is there
shown       which inspection speaks of which picture; gone when the inspection is forgotten

Times are UTC. A change here is a migration in migrations/versions, and VERSION with it; a test compares both.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from lineside.store.utc import Utc

VERSION = 5  # of the tables; in SQLite's user_version, and the newest migration

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
    Column("settings", JSON, nullable=False),  # line, deadline, rate, sinks, engine
    # what was deleted of it (retention.py): a killed line's journal may still hold it, and must not bring it back
    Column("forgotten", Integer, nullable=False, server_default=text("0")),  # the highest sequence; 0: nothing yet
    Column("forgotten_event", String(32)),  # the last event; null: none yet
)

line_name = RUN.c.settings["line"].as_string()  # its name; null in runs of a version that did not store it

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
    Column("product", Text),
    Column("views", JSON(none_as_null=True)),  # [{camera: …, verdict: …, …}]; null: one camera
    UniqueConstraint("run_id", "sequence"),
    Index(None, "decided"),
)

EVENT = Table(
    "event",
    METADATA,
    Column("id", String(32), primary_key=True),  # uuid4, hex
    Column("run_id", String(32), ForeignKey("run.id")),  # null: no line was running
    Column("at", Utc, nullable=False),
    Column("kind", String(16), nullable=False),  # of records.KINDS
    Column("who", Text, nullable=False),
    Column("subject", Text, nullable=False),  # such as an inspection's id, which may be forgotten before the event
    Column("detail", JSON, nullable=False),
    Index(None, "at"),
    Index(None, "subject"),
)

CHAIN = Table(
    "chain",
    METADATA,
    Column("place", BigInteger, primary_key=True, autoincrement=False),  # 1, 2, 3, … in the store, no gaps
    Column("inspection_id", String(32), ForeignKey("inspection.id"), unique=True),  # exactly one of these two
    Column("event_id", String(32), ForeignKey("event.id"), unique=True),
    Column("hash", String(64), nullable=False),
)

ANCHOR = Table(
    "anchor",
    METADATA,
    Column("place", BigInteger, primary_key=True, autoincrement=False),  # the last place that was deleted
    Column("hash", String(64), nullable=False),  # its hash: what the first row that is left goes on from
    Column("at", Utc, nullable=False),
    Column("inspections", BigInteger, nullable=False),  # how many were deleted then
)

SINK = Table(
    "sink",
    METADATA,
    Column("key", Text, primary_key=True),  # who is told: its URL without options
    Column("last", BigInteger, nullable=False),  # number of the newest entry; 0: none yet
    Column("events", Boolean, nullable=False, server_default=false()),  # whether it wants events too
)

OUTBOX = Table(
    "outbox",
    METADATA,
    Column("sink", Text, ForeignKey("sink.key"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # 1, 2, 3, … for this sink, no gaps
    Column("inspection_id", String(32), ForeignKey("inspection.id")),  # exactly one of these two
    Column("event_id", String(32), ForeignKey("event.id")),
    # when the consumer acknowledged it, wanted no events any more, or was let go; null: not yet
    Column("closed", Utc),
    UniqueConstraint("sink", "inspection_id"),
    UniqueConstraint("sink", "event_id"),
    Index("ix_outbox_inspection_id", "inspection_id"),
    Index("ix_outbox_event_id", "event_id"),
    Index(
        "ix_outbox_open",
        "sink",
        "number",
        sqlite_where=text("closed IS NULL"),
        postgresql_where=text("closed IS NULL"),
    ),
)

FOLDER = Table(
    "folder",
    METADATA,
    Column("id", String(32), primary_key=True),  # uuid4, hex; the same as in the folder's own mark
    Column("host", Text, nullable=False),  # where it was when a line last wrote there
    Column("path", Text, nullable=False),
)

PICTURE = Table(
    "picture",
    METADATA,
    Column("folder", String(32), ForeignKey("folder.id"), primary_key=True),
    Column("sha256", String(64), primary_key=True),  # as in inspection and its views
    Column("file", Text, nullable=False),  # relative to the folder, "/"-separated
    Column("form", String(6), nullable=False),  # file: the bytes that came; pixels: a PNG whose pixels have the sha256
    Column("bytes", BigInteger, nullable=False),  # of the file
    Column("seen", Utc, nullable=False),  # when an inspection last spoke of it
    Index("ix_picture_folder_seen", "folder", "seen"),
)

SHOWN = Table(
    "shown",
    METADATA,
    Column("folder", String(32), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("inspection_id", String(32), primary_key=True),  # it may be stored a moment later than this row
    ForeignKeyConstraint(["folder", "sha256"], ["picture.folder", "picture.sha256"], name="fk_shown_picture"),
    Index("ix_shown_inspection_id", "inspection_id"),
)
