"""Stores of versions 1 and 2, as their programs made them, become stores of this version with all that is in them."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from lineside.store.audit import audit
from lineside.store.open import APPLICATION_ID, open_store, reading
from lineside.store.outbox import Box, page
from lineside.store.tables import METADATA, VERSION
from tests.store.rows import a_run, inspection, record

VERSION_1 = f"""
PRAGMA journal_mode = WAL;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = 1;
CREATE TABLE run (
	id VARCHAR(32) NOT NULL,
	started DATETIME NOT NULL,
	ended DATETIME,
	bundle_sha256 VARCHAR(64) NOT NULL,
	bundle TEXT NOT NULL,
	source TEXT NOT NULL,
	lineside TEXT NOT NULL,
	settings JSON NOT NULL,
	CONSTRAINT pk_run PRIMARY KEY (id)
);
CREATE TABLE inspection (
	id VARCHAR(32) NOT NULL,
	run_id VARCHAR(32) NOT NULL,
	sequence INTEGER NOT NULL,
	part_id TEXT NOT NULL,
	name TEXT NOT NULL,
	sha256 VARCHAR(64),
	label TEXT,
	score FLOAT,
	scores JSON,
	margin FLOAT,
	verdict VARCHAR(6) NOT NULL,
	reason VARCHAR(16) NOT NULL,
	detail TEXT NOT NULL,
	truth TEXT,
	captured DATETIME NOT NULL,
	decided DATETIME NOT NULL,
	decode_ms FLOAT,
	infer_ms FLOAT,
	decide_ms FLOAT,
	total_ms FLOAT NOT NULL,
	CONSTRAINT pk_inspection PRIMARY KEY (id),
	CONSTRAINT uq_inspection_run_id_sequence UNIQUE (run_id, sequence),
	CONSTRAINT fk_inspection_run_id FOREIGN KEY(run_id) REFERENCES run (id)
);
CREATE INDEX ix_inspection_decided ON inspection (decided);
"""
TIME = "2026-11-21 13:00:00.000000"


def version_1(path: Path, parts: int = 3) -> Path:
    """A store as the first program left it, with two runs."""
    with sqlite3.connect(path) as connection:
        connection.executescript(VERSION_1)
        for run in "ab":
            connection.execute(
                "INSERT INTO run VALUES (?, ?, NULL, ?, 'nuts.bundle', 'nuts:', '0.1.0', '{\"deadline_ms\": 20.5}')",
                (run * 32, TIME.replace("13", "13" if run == "a" else "14", 1), "ab" * 32),
            )
            for n in range(1, parts + 1):
                connection.execute(
                    "INSERT INTO inspection VALUES (?, ?, ?, ?, 'ä.png', NULL, 'good', 0.1, '{\"good\": 0.1}', NULL, "
                    "'accept', 'decided', '', NULL, ?, ?, 0.1, 1e-9, NULL, 2.5)",
                    (f"{run}{n:031x}", run * 32, n, f"p{n}", TIME, TIME),
                )
    connection.close()
    return path


def version_2(path: Path) -> Path:
    """A store of version 2: one run, two inspections, chained, both open in an outbox."""
    with sqlite3.connect(path) as connection:
        connection.executescript("PRAGMA journal_mode = WAL;" + (Path(__file__).parent / "version_2.sql").read_text())
        connection.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 2;")
    connection.close()
    return path


def schema(path: Path) -> set[tuple[str, str]]:
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchall()
    connection.close()
    return set(found)


def test_a_store_of_version_1_is_brought_up_with_all_that_is_in_it(tmp_path):
    path = version_1(tmp_path / "old.db")
    engine = open_store(path)
    found = audit(engine)
    assert (found.inspections, found.broken) == (6, None)
    record(engine, [inspection(n) for n in (1, 2)])
    assert audit(engine).inspections == 8
    with reading(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
        assert connection.exec_driver_sql("PRAGMA user_version").scalar_one() == VERSION
    engine.dispose()
    open_store(path).dispose()


def test_a_new_store_is_the_same_as_one_that_was_brought_up(tmp_path):
    open_store(version_1(tmp_path / "old.db")).dispose()
    engine = open_store(tmp_path / "new.db")
    with reading(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()
    assert schema(tmp_path / "old.db") == schema(tmp_path / "new.db")


LAST_HASH = "3ebdde55dd3d099b39736a3cc0a3020ea6ebeda54628c2bdb713c7e8427d3cb8"  # of version_2.sql


def test_the_chain_of_a_store_of_version_2_is_left_as_it_is_and_goes_on(tmp_path):
    path = version_2(tmp_path / "old.db")
    engine = open_store(path)
    found = audit(engine)
    assert (found.inspections, found.place, found.hash, found.broken) == (2, 2, LAST_HASH, None)
    with reading(engine) as connection:
        assert [letter.record.sequence for letter in page(connection, "mqtt://b/t", 9)] == [1, 2]
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    more = inspection(1, "b" * 32, product="m8", views=[{"camera": "top", "margin": 0.5}])
    record(engine, [more], run=a_run("b" * 32), boxes=[Box("mqtt://b/t", 9)])
    assert (audit(engine).inspections, audit(engine).broken) == (3, None)
    with reading(engine) as connection:
        assert page(connection, "mqtt://b/t", 9)[2].record.views == more.views
    engine.dispose()
    open_store(tmp_path / "new.db").dispose()
    assert schema(path) == schema(tmp_path / "new.db")


def test_an_upgrade_that_fails_leaves_the_store_as_it_was(tmp_path, monkeypatch):
    path = version_1(tmp_path / "old.db")
    before = schema(path)
    monkeypatch.setattr("lineside.store.chain.row_hash", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        open_store(path)
    assert schema(path) == before
    monkeypatch.undo()
    engine = open_store(path)
    assert audit(engine).inspections == 6
    engine.dispose()


OPEN = """
import sys
from pathlib import Path
from lineside.store.open import open_store
open_store(Path(sys.argv[1])).dispose()
"""


def test_two_processes_bring_up_one_store(tmp_path):
    path = version_1(tmp_path / "old.db", 500)
    jobs = [subprocess.Popen([sys.executable, "-c", OPEN, str(path)], stderr=subprocess.PIPE) for _ in range(3)]
    assert [(job.communicate(timeout=60)[1], job.returncode) for job in jobs] == [(b"", 0)] * 3
    engine = open_store(path)
    assert (audit(engine).inspections, audit(engine).broken) == (1000, None)
    engine.dispose()


def test_a_store_that_is_up_to_date_opens_without_alembic(tmp_path):
    open_store(tmp_path / "line.db").dispose()
    check = OPEN + "assert 'alembic' not in sys.modules"
    subprocess.run([sys.executable, "-c", check, str(tmp_path / "line.db")], check=True)


def test_a_run_of_the_old_program_is_still_known(tmp_path):
    engine = open_store(version_1(tmp_path / "old.db"))
    record(engine, [inspection(1, "c" * 32)], run=a_run("c" * 32))
    assert audit(engine).inspections == 7
    engine.dispose()
