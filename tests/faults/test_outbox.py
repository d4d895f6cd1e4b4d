"""1,000 results on their way while something dies: each reaches the consumer, in order, and is one id there."""

import itertools
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lineside.line.sink.catalog import open_sink
from lineside.line.source.frame import Frame, Source
from lineside.store.audit import audit
from lineside.store.open import open_store
from tests.line.broker import Consumer, Mosquitto, needs_mosquitto, until
from tests.line.tiny import RED, picture, run, stub

PARTS = 1000
ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, needs_mosquitto]


@pytest.fixture
def broker(tmp_path):
    broker = Mosquitto(tmp_path).start()
    yield broker
    broker.stop()


def url(broker, options="") -> str:
    return f"mqtt://127.0.0.1:{broker.port}/plant/3?plain=true&anonymous=true&timeout_s=2{options}"


def stored(path: Path) -> list[str]:
    """Ids in the order of the store."""
    connection = sqlite3.connect(path)
    found = connection.execute(
        "SELECT inspection_id FROM chain WHERE inspection_id IS NOT NULL ORDER BY place"
    ).fetchall()
    connection.close()
    return [id for (id,) in found]


def waiting(path: Path) -> int:
    connection = sqlite3.connect(path)
    (found,) = connection.execute("SELECT count(*) FROM outbox WHERE closed IS NULL").fetchone()
    connection.close()
    return found


def in_thread(store, sinks, fps=250.0, parts=PARTS):
    """The line, running; its summary is put into the list when it has ended."""
    frames = (Frame(f"p{n}", n, f"{n}.png", picture=picture(RED)) for n in range(1, parts + 1))
    found = []
    source = Source("mem:", frames, parts)
    thread = threading.Thread(target=lambda: found.append(run(stub(), source, sinks, store, max_fps=fps)))
    thread.start()
    return thread, found


@pytest.mark.parametrize(("options", "parts"), [("", PARTS), ("&window=1", 150), ("&window=200", PARTS)])
def test_kill_9_of_the_broker(tmp_path, broker, options, parts):
    store = open_store(tmp_path / "line.db")
    consumer = Consumer(broker.port, "plant/3")
    thread, found = in_thread(store, [open_sink(url(broker, options))], parts=parts)
    for so_many in (parts // 8, parts // 2):
        until(lambda so_many=so_many: len(consumer.once) > so_many)
        broker.kill()
        broker.start()
    thread.join()
    (summary,) = found
    consumer.close()
    assert (summary.fault, summary.stored, summary.outboxes[0].pending) == ("", parts, 0)
    assert consumer.once == stored(tmp_path / "line.db")
    assert audit(store).broken is None
    store.dispose()


def test_kill_9_of_the_line(tmp_path, broker):
    path = tmp_path / "line.db"
    consumer = Consumer(broker.port, "plant/3")
    for kill_at in (100, 400):
        line = subprocess.Popen([sys.executable, "-m", "tests.faults.line", path, url(broker), "1000", "150"], cwd=ROOT)
        until(lambda line=line, kill_at=kill_at: len(consumer.once) > kill_at or line.poll() is not None)
        line.kill()
        line.wait()
    left = len(stored(path)) - len(consumer.once)
    said = subprocess.run(
        [sys.executable, "-m", "tests.faults.line", path, url(broker), "500", "250"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
    ).stdout  # fmt: skip
    consumer.close()
    assert said.split() == ["500", "0"]
    assert left >= 0
    assert consumer.once == stored(path)
    # told again only what had been sent and not been closed: at most what a kill takes of CLOSE_EVERY_S
    numbers = [one["lineside"]["number"] for one in consumer.seen]
    assert sorted(set(numbers)) == list(range(1, len(consumer.once) + 1))


def test_a_slow_consumer(tmp_path, broker):
    """Slower than the line and slower than the time-out: the line keeps its pace, nothing is told under two ids."""
    store = open_store(tmp_path / "line.db")
    consumer = Consumer(broker.port, "plant/3", slow_s=0.01)
    thread, found = in_thread(store, [open_sink(url(broker))])
    until(lambda: len(consumer.seen) > 20)
    consumer.slow_s = 2.5
    until(lambda: len(consumer.seen) > 22)
    consumer.slow_s = 0.001
    thread.join()
    (summary,) = found
    consumer.close()
    assert (summary.fault, summary.stored, summary.outboxes[0].pending) == ("", PARTS, 0)
    assert consumer.once == stored(tmp_path / "line.db")
    assert summary.outboxes[0].again >= 1
    store.dispose()


def test_a_broker_that_is_down_and_one_that_hangs(tmp_path, broker):
    store = open_store(tmp_path / "line.db")
    broker.kill()
    thread, found = in_thread(store, [open_sink(url(broker))])
    until(lambda: waiting(tmp_path / "line.db") > 200)
    broker.start()
    consumer = Consumer(broker.port, "plant/3")
    until(lambda: len(consumer.once) > 300)
    broker.pause()
    threading.Event().wait(3)  # longer than the time-out
    broker.go_on()
    thread.join()
    (summary,) = found
    consumer.close()
    assert (summary.fault, summary.stored, summary.outboxes[0].pending) == ("", PARTS, 0)
    assert consumer.once == stored(tmp_path / "line.db")
    store.dispose()


def test_two_lines_on_one_store_and_the_one_that_sends_is_killed(tmp_path, broker):
    path = tmp_path / "line.db"
    consumer = Consumer(broker.port, "plant/3")
    lines = [
        subprocess.Popen([sys.executable, "-m", "tests.faults.line", path, url(broker), str(parts), "100"], cwd=ROOT)
        for parts in (100_000, 400)
    ]
    until(lambda: len(consumer.once) > 100)
    lines[0].kill()
    lines[0].wait()
    lines[1].wait(60)
    subprocess.run([sys.executable, "-m", "tests.faults.line", path, url(broker), "1", "100"], cwd=ROOT, check=True)
    consumer.close()
    assert waiting(path) == 0
    assert consumer.once == stored(path)
    numbers = [one["lineside"]["number"] for one in consumer.seen]
    first = list(dict.fromkeys(numbers))
    assert first == sorted(first)
    runs = {one["lineside"]["run_id"] for one in consumer.seen}
    assert len(runs) == 3


def test_acknowledgements_of_unknown_results_while_results_flow(tmp_path, broker):
    store = open_store(tmp_path / "line.db")
    consumer = Consumer(broker.port, "plant/3")
    stop = threading.Event()

    def shout():
        for n in itertools.count():
            if stop.wait(0.005):
                return
            consumer.client.publish("plant/3/ack", f"{n:032x}", qos=1)

    shouter = threading.Thread(target=shout)
    shouter.start()
    thread, found = in_thread(store, [open_sink(url(broker))], parts=300)
    thread.join()
    stop.set()
    shouter.join()
    consumer.close()
    (summary,) = found
    assert summary.outboxes[0].strange > 0
    assert consumer.once == stored(tmp_path / "line.db")
    store.dispose()
