"""Two lines on one SQLite store and one outbox; the one that sends is killed."""

import pytest

from tests.faults.shop import FPS, PARTS, by_run, sqlite, store_is_whole, told_is_stored, until, waiting
from tests.line.broker import needs_mosquitto

pytestmark = [pytest.mark.slow, needs_mosquitto]


def test_two_lines_on_one_store_and_one_is_killed(shop, consumer):
    shop.furnish()
    flags = ("--to", consumer.url())
    first = shop.line(*flags, fps=FPS)
    first.until(lambda: consumer.so_far() > 50)  # it has the claim to send
    second = shop.line(*flags, fps=FPS)
    second.until(lambda: len({one["run_id"] for one in consumer.seen()}) == 2)
    first.kill()
    assert second.ends() == 0, second.said()
    ask = sqlite(shop.store)
    if waiting(ask):
        shop.run(*flags, "--parts", "1")
    until(lambda: waiting(ask) == 0)
    found = store_is_whole(ask, shop.store)
    assert PARTS in {len(run) for run in by_run(found).values()}
    told_is_stored(consumer.seen(), found)
