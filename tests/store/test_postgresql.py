"""The store in a real PostgreSQL: the same tables, chain and outbox; two lines at once; what is refused."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from lineside.cli.main import main
from lineside.errors import LineError, SettingsError
from lineside.line import books
from lineside.line.sink.catalog import open_sink
from lineside.line.source.frame import Frame, Source
from lineside.store import outbox
from lineside.store.audit import audit
from lineside.store.history import Question, history
from lineside.store.open import open_store, reading
from lineside.store.outbox import Box
from lineside.store.tables import METADATA, VERSION
from tests.line.broker import Consumer, Mosquitto, needs_mosquitto
from tests.line.tiny import RED, picture, run, stub
from tests.store.postgres import needs_postgresql
from tests.store.rows import a_run, event, inspection, record
from tests.store.test_migrate import LAST_HASH

pytestmark = [needs_postgresql, pytest.mark.slow]
ROOT = Path(__file__).parents[2]


def test_what_goes_in_comes_out_and_fits_the_chain(url, capsys):
    engine = open_store(url)
    given = [inspection(1), inspection(2, margin=float("nan"), detail="NUL is not for PostgreSQL"), inspection(3)]
    assert record(engine, given).error == ""
    assert [one.inspection.decided for one in history(engine, Question())] == [one.decided for one in given]
    assert [one.inspection.score for one in history(engine, Question(limit=2))] == [0.9, 0.9]
    assert (audit(engine).inspections, audit(engine).broken) == (3, None)
    with reading(engine) as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, METADATA) == []
        assert context.get_current_revision() == f"{VERSION:04d}"
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE inspection SET verdict = 'reject' WHERE sequence = 2")
    engine.dispose()
    assert main(["verify", "--store", url]) == 1
    assert "row 2 (run rrrr" in capsys.readouterr().out
    assert main(["history", url, "--verdict", "reject"]) == 0


def test_a_store_of_version_2_is_brought_up_and_its_chain_goes_on(url):
    from sqlalchemy import create_engine

    theirs = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    old = (Path(__file__).parent / "version_2.sql").read_text().replace("DATETIME", "TIMESTAMP WITH TIME ZONE")
    statements = "\n".join(s for s in old.splitlines() if not s.startswith(("--", "BEGIN", "COMMIT")))
    with theirs.begin() as connection:
        connection.exec_driver_sql("SET TIME ZONE 'UTC'")
        connection.exec_driver_sql(statements.replace("%", "%%"))
    theirs.dispose()
    engine = open_store(url)
    assert (audit(engine).inspections, audit(engine).hash, audit(engine).broken) == (2, LAST_HASH, None)
    given = [event(1), inspection(1, "b" * 32, product="m8", views=[{"camera": "top", "margin": float("nan")}])]
    assert record(engine, given, run=a_run("b" * 32), boxes=[Box("mqtt://b/t", 9, events=True)]).error == ""
    assert (audit(engine).inspections, audit(engine).events, audit(engine).broken) == (3, 1, None)
    with reading(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
        assert [letter.number for letter in outbox.page(connection, "mqtt://b/t", 9)] == [1, 2, 3, 4]
    engine.dispose()


WRITER = """
import sys
from tests.store.rows import a_run, inspection, record
from lineside.store.open import open_store
run = sys.argv[2] * 32
engine = open_store(sys.argv[1])
done = record(engine, [inspection(n, run) for n in range(1, 301)], run=a_run(run))
print(done.committed, done.lost, done.error)
"""


def test_two_processes_make_and_fill_one_store(url):
    jobs = [
        subprocess.Popen([sys.executable, "-c", WRITER, url, name], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for name in "ab"
    ]
    assert [job.communicate(timeout=50)[0].strip() for job in jobs] == ["300 0", "300 0"]
    engine = open_store(url)
    assert (audit(engine).inspections, audit(engine).broken) == (600, None)
    engine.dispose()


def test_one_sends_at_a_time_and_a_session_that_ends_gives_the_claim_back(url):
    engine, other = open_store(url), open_store(url)
    first = outbox.claim(engine, "mqtt://b/t")
    assert first
    assert first.held()
    assert outbox.claim(other, "mqtt://b/t") is None
    another = outbox.claim(other, "mqtt://b/other")
    assert another
    another.release()
    first.release()
    second = outbox.claim(other, "mqtt://b/t")
    assert second
    second.release()
    engine.dispose()
    other.dispose()


@needs_mosquitto
def test_the_outbox_over_postgresql(url, tmp_path):
    broker = Mosquitto(tmp_path).start()
    consumer = Consumer(broker.port, "plant/3")
    engines = [open_store(url) for _ in range(2)]
    summaries = []

    def line(engine):
        frames = (Frame(f"p{n}", n, "x", picture=picture(RED)) for n in range(1, 51))
        sink = open_sink(f"mqtt://127.0.0.1:{broker.port}/plant/3?plain=true&anonymous=true")
        summaries.append(run(stub(), Source("mem:", frames, 50), [sink], engine, max_fps=100))

    threads = [threading.Thread(target=line, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    line(engines[0])
    consumer.close()
    broker.stop()
    assert [summary.fault for summary in summaries] == [""] * 3
    assert summaries[-1].outboxes[0].pending == 0
    assert [one["lineside"]["number"] for one in consumer.seen] == list(range(1, 151))
    assert audit(engines[0]).broken is None
    for engine in engines:
        engine.dispose()


def test_a_server_that_dies_is_a_fault_and_what_was_committed_is_there(server, url, monkeypatch):
    monkeypatch.setattr(books, "CLOSE_S", 5.0)
    engine = open_store(url)

    def actuate(part, verdict, reason, triggered_ns):
        if part.sequence == 50:
            server.stop(signal.SIGQUIT)

    frames = (Frame(f"p{n}", n, "x", picture=picture(RED)) for n in range(1, 100_000))
    summary = run(stub(), Source("mem:", frames, None), [], engine, max_fps=100, actuate=actuate)
    engine.dispose()
    assert "look at the database server" in summary.fault
    assert summary.stored + summary.lost == summary.parts
    server.start()
    engine = open_store(url)
    assert audit(engine).inspections >= summary.stored
    assert audit(engine).broken is None
    engine.dispose()


def test_a_server_that_is_not_there_is_a_sentence():
    with pytest.raises(LineError, match=r"postgresql://x@127\.0\.0\.1:1/y: .*look at the database server"):
        open_store("postgresql://x@127.0.0.1:1/y")


@pytest.mark.parametrize("url", ["postgresql://x:hunter2@db/y", "postgresql://x@db/y?password=hunter2"])
def test_a_password_in_the_url_is_refused(url):
    with pytest.raises(SettingsError, match="the URL holds a password") as told:
        open_store(url)
    assert "hunter2" not in str(told.value)
    with pytest.raises(SettingsError, match="names no database"):
        open_store("postgresql://x@db")


def test_tables_of_another_program_are_left_alone(url):
    from sqlalchemy import create_engine

    theirs = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with theirs.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE inspection (x int)")
    theirs.dispose()
    with pytest.raises(LineError, match="has tables of another program with our names"):
        open_store(url)


def test_no_store_in_the_database_and_one_that_is_too_new(url, capsys):
    assert main(["verify", "--store", url]) == 6
    assert "there is no store in this database" in capsys.readouterr().err
    engine = open_store(url)
    record(engine, [inspection(1)], run=a_run())
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0099'")
    engine.dispose()
    with pytest.raises(LineError, match=f"has version 99, this program knows {VERSION}"):
        open_store(url)
