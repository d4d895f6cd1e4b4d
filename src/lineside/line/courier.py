"""The courier of one sink: a thread that sends what its outbox holds, in order, until the consumer has acknowledged it.

It sends the oldest `window` entries and waits; at the start and after every trouble only one, until it is acknowledged:
so a consumer who comes back does not begin in the middle. What is not acknowledged in time, or when the connection
fails, is sent again from there, after a pause that doubles from FIRST_S to LONGEST_S (and is drawn from half to one and
a half of that, so that many lines do not come back at once). Acknowledged entries are closed in groups, at most
CLOSE_EVERY_S later: what a kill takes of that is sent once more under the same id.

Where several lines share an outbox, one courier at a time has the claim to send; the others ask for it every CLAIM_S.
Nothing here can stop the line: only a full outbox does (store/outbox.py).
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from lineside.errors import LinesideError
from lineside.line.said import Said, Say, unheard
from lineside.line.sink.durable import Durable, Wire
from lineside.store import outbox
from lineside.store.open import reading, where, why
from lineside.store.records import Event, Inspection

PAGE = 64  # entries read at once
IDLE_S = 0.5  # how often to look for entries of another line, and after the connection
CLAIM_S = 1.0
CLOSE_EVERY_S = 0.2
FIRST_S, LONGEST_S = 0.1, 30.0
PATIENCE_S = 5.0  # at the end of the run: so long without an acknowledgement, and the rest is left for the next start
AT_MOST_S = 60.0


@dataclass(frozen=True, slots=True)
class Sent:
    """What a courier did in this run, and what waits."""

    url: str
    acknowledged: int
    again: int  # deliveries of a result that had been sent before
    strange: int  # acknowledgements of what was not under way, or that could not be read
    pending: int | None  # None: the store does not answer
    oldest_s: float | None  # since the verdict of the oldest that waits
    trouble: str  # why it waits; "" if nothing is wrong
    key: str = ""  # whose outbox: the URL without its options


class Courier:
    """Start it when the run is in the store, wake it after each commit, close it at the end. Final."""

    def __init__(
        self,
        engine: Engine,
        sink: Durable,
        who: str,
        *,
        say: Say = unheard,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ):
        self._engine, self._sink, self._say, self._now, self._monotonic = engine, sink, say, now, monotonic
        self._rng = random.Random() if rng is None else rng
        self._halt, self._news, self._ending = threading.Event(), threading.Event(), threading.Event()
        self._wire: Wire = sink.start(who, self._halt)
        self._claim: outbox.Claim | None = None
        self._failures = 0  # in a row
        self._highest = 0  # number of the newest entry that was sent
        self._heard_at = 0.0  # of the last acknowledgement
        self._acknowledged = self._again = 0
        self._trouble = ""
        self._hurried = False
        self._careful = True  # one at a time until the consumer has answered
        self._thread = threading.Thread(target=self._work, name=f"courier {sink.key}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There is something new in the outbox."""
        self._news.set()

    def close(self) -> None:
        """Let it go on while acknowledgements come, for at most AT_MOST_S; what is left stays in the outbox."""
        begun = self._heard_at = self._monotonic()
        self._ending.set()
        self._news.set()
        while self._thread.is_alive():
            now = self._monotonic()
            if now - self._heard_at > PATIENCE_S or now - begun > AT_MOST_S:
                break
            self._thread.join(0.05)
        self._halt.set()
        self._news.set()
        self._thread.join(PATIENCE_S)

    def sent(self) -> Sent:
        """As it is now."""
        try:
            with reading(self._engine) as connection:
                pending = outbox.pending(connection, self._sink.key)
        except DBAPIError:
            pending = None
        oldest = pending.oldest if pending else None
        return Sent(
            self._sink.url,
            self._acknowledged,
            self._again,
            self._wire.strange,
            pending.count if pending else None,
            None if oldest is None else max(0.0, (self._now() - oldest).total_seconds()),
            self._trouble,
            self._sink.key,
        )

    def _work(self) -> None:
        try:
            while not self._halt.is_set():
                try:
                    if not self._once():
                        break
                except LinesideError as error:
                    self._fail(str(error))
                except DBAPIError as error:
                    self._fail(why(error, where(self._engine)))
                except Exception as error:  # whatever it was, the results must not be forgotten
                    self._fail(f"{self._sink.key}: {type(error).__name__}: {error}")
        finally:
            self._wire.close()
            if self._claim:
                self._claim.release()

    def _once(self) -> bool:
        """One round; False at the end of the run, when nothing is left to do."""
        if self._claim is None or not self._claim.held():
            self._claim = outbox.claim(self._engine, self._sink.key)
        if self._claim is None:
            if self._ending.is_set():
                return False
            self._halt.wait(CLAIM_S)
            return True
        self._wire.ready()
        with reading(self._engine) as connection:
            letters = outbox.page(connection, self._sink.key, PAGE)
        if letters:
            self._send(letters)
            return True
        if self._trouble:  # it came from the connection or the store, and they are there again
            self._well()
            self._careful = True
        if self._ending.is_set():
            return False
        self._news.wait(IDLE_S)
        self._news.clear()
        return True

    def _send(self, letters: Sequence[outbox.Letter]) -> None:
        done: list[int] = []
        closed_at, at = self._monotonic(), 0
        try:
            while at < len(letters) and not self._halt.is_set():
                window = letters[at : at + (1 if self._careful else self._sink.window)]
                at += len(window)
                self._again += sum(letter.number <= self._highest for letter in window)
                self._highest = max(self._highest, window[-1].number)
                ids = self._wire.deliver(window)
                heard = [letter.number for letter in window if letter.record.id in ids]
                done += heard
                if heard:
                    self._acknowledged += len(heard)
                    self._heard_at = self._monotonic()
                if len(heard) < len(window):
                    if not self._halt.is_set():
                        self._fail(self._unanswered(window, len(heard)), progress=bool(heard))
                    return
                self._well()
                if self._monotonic() - closed_at > CLOSE_EVERY_S:
                    self._close(done)
                    done, closed_at = [], self._monotonic()
        finally:
            self._close(done)

    def _close(self, numbers: list[int]) -> None:
        if numbers:
            with self._engine.begin() as connection:
                outbox.close(connection, self._sink.key, numbers, self._now())

    def _unanswered(self, window: Sequence[outbox.Letter], heard: int) -> str:
        return (
            f"{self._sink.key}: {len(window) - heard} of {len(window)} results were not acknowledged in time, from "
            f"number {window[heard].number} ({_what(window[heard].record)}); look at the consumer"
        )

    def _well(self) -> None:
        self._failures, self._careful = 0, False
        if self._trouble:
            self._trouble = ""
            self._say(Said("sink", f"{self._sink.key}: results are acknowledged again", facts={"sink": self._sink.key}))

    def _fail(self, sentence: str, progress: bool = False) -> None:
        """Remember why, say it once, and wait before the next try."""
        if not self._trouble:
            self._say(Said("sink", sentence, "warning", facts={"sink": self._sink.key}))
        self._trouble, self._careful = sentence, True
        self._failures = 1 if progress else self._failures + 1
        pause_s = min(LONGEST_S, FIRST_S * 2 ** min(self._failures - 1, 20)) * self._rng.uniform(0.5, 1.5)
        until = self._monotonic() + pause_s
        while (left_s := until - self._monotonic()) > 0 and not self._halt.is_set():
            if self._ending.is_set() and not self._hurried:
                self._hurried = True  # the run ends: one more try, at once
                break
            self._halt.wait(min(IDLE_S, left_s))
            self._wire.idle()


def _what(record: Inspection | Event) -> str:
    return f"part {record.part_id}" if isinstance(record, Inspection) else f"event {record.kind}"
