"""A broker and a consumer that are killed, hang, are slow, are away: the line keeps its pace, every result arrives."""

import os
import signal
import threading

import pytest

from tests.faults.shop import PARTS, sqlite, store_is_whole, told_is_stored, until, waiting
from tests.line.broker import needs_mosquitto

FPS = 250  # no PLC here that would have to keep up
pytestmark = [pytest.mark.slow, needs_mosquitto]
MINUTE_S = 60.0


def end(shop, consumer, *flags, **given):
    """Whatever the last run has left is told by the next one; then everything has arrived."""
    ask = sqlite(shop.store)
    if waiting(ask):
        shop.run(*flags, "--parts", "1", **given)
    until(lambda: waiting(ask) == 0)
    found = store_is_whole(ask, shop.store)
    told_is_stored(consumer.seen(), found)
    return found


def test_kill_9_of_the_broker(shop, broker, consumer):
    """Its default persistence loses what it had acknowledged; the outbox does not believe it."""
    shop.furnish()
    line = shop.line("--to", consumer.url(), fps=FPS)
    for so_many in (PARTS // 8, PARTS // 2):
        line.until(lambda so_many=so_many: consumer.so_far() > so_many)
        broker.kill()
        broker.start()
    assert line.ends() == 0, line.said()
    assert (line.summary()["stored"], line.summary()["fault"]) == (PARTS, "")
    found = end(shop, consumer, "--to", consumer.url())
    assert {row.reason for row in found} == {"decided"}


def test_the_broker_is_down_for_a_minute(shop, broker, consumer):
    shop.furnish()
    fps = PARTS / (MINUTE_S + 4)  # parts come before, during and after
    line = shop.line("--to", consumer.url(), fps=fps)
    line.until(lambda: consumer.so_far() > 20)
    broker.kill()
    told = len(consumer.seen())
    threading.Event().wait(MINUTE_S)
    piled = waiting(sqlite(shop.store))
    broker.start()
    assert line.ends(MINUTE_S + 200) == 0, line.said()
    assert "the connection to the broker is lost; results wait in the outbox" in line.said()
    assert "results are acknowledged again" in line.said()
    assert piled > PARTS // 4
    assert told < PARTS // 2
    assert line.summary()["stored"] == PARTS
    found = end(shop, consumer, "--to", consumer.url())
    assert {row.reason for row in found} == {"decided"}


def test_a_broker_that_hangs(shop, broker, consumer):
    shop.furnish()
    line = shop.line("--to", consumer.url(), fps=FPS)
    line.until(lambda: consumer.so_far() > 100)
    broker.pause()
    threading.Event().wait(3)  # longer than timeout_s
    broker.go_on()
    assert line.ends() == 0, line.said()
    assert line.summary()["stored"] == PARTS
    end(shop, consumer, "--to", consumer.url())


def test_a_slow_consumer_that_also_hangs(shop, broker, consumer):
    """Slower than the line, then silent for longer than the time-out."""
    shop.furnish()
    consumer.kill()
    consumer.slow_s = 0.004
    consumer.start()
    line = shop.line("--to", consumer.url(), fps=2 * FPS)
    line.until(lambda: consumer.so_far() > 50)
    consumer.send(signal.SIGSTOP)
    line.until(lambda: "were not acknowledged in time" in line.said())
    consumer.send(signal.SIGCONT)
    assert line.ends() == 0, line.said()
    assert "look at the consumer" in line.said()
    summary = line.summary()
    assert (summary["stored"], summary["verdicts"]["accept"] > 0) == (PARTS, True)
    end(shop, consumer, "--to", consumer.url())


def test_kill_9_of_the_consumer(shop, broker, consumer):
    shop.furnish()
    line = shop.line("--to", consumer.url(), fps=FPS)
    for so_many in (100, 500):
        line.until(lambda so_many=so_many: consumer.so_far() > so_many)
        consumer.kill()
        consumer.start()
    assert line.ends() == 0, line.said()
    end(shop, consumer, "--to", consumer.url())


def test_acknowledgements_that_are_none(shop, broker, consumer):
    """Of unknown ids, garbled, a flood of them: none closes anything."""
    import paho.mqtt.client as mqtt

    shop.furnish()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "stranger")
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    line = shop.line("--to", consumer.url(), fps=FPS)
    n = 0
    while line.process.poll() is None:
        client.publish("plant/3/ack", f"{n:032x}" if n % 3 else os.urandom(n % 40), qos=1)
        n += 1
        threading.Event().wait(0.005)
    client.disconnect()
    client.loop_stop()
    assert line.ends() == 0, line.said()
    assert line.summary()["outboxes"][0]["strange"] > 0
    end(shop, consumer, "--to", consumer.url())
