"""Where the belt was, and when: readings of an encoder's 32-bit counter.

A reading is (time, count); between two of them the belt is taken to have run evenly. The counter may pass its end
(4,294,967,295 is followed by 0). The belt runs forward only: it may stand, and tremble back by `jitter` counts, which
moves nothing here. More than that, or more than `jump` forward between two readings, is a counter that was reset, torn,
or turned the wrong way: nobody knows where the parts are.
"""

from bisect import bisect_left

WRAP = 2**32
KEEP = 8192  # readings of a moving belt; one that stands needs two


class Belt:
    """add() readings in the order of their times; at() and when() look back. Final; no clock in it."""

    def __init__(self, jump: int, jitter: int):
        self._jump, self._jitter = jump, jitter
        self._times_ns: list[int] = []  # when it was asked for: the count may be newer than that, never older
        self._counts: list[int] = []  # without wraps, never falling
        self._raw = self._here = 0

    def add(self, time_ns: int, raw: int) -> None:
        """One reading. ValueError: it can't be true, as half a sentence."""
        if not self._times_ns:
            self._raw = self._here = raw
            self._times_ns.append(time_ns)
            self._counts.append(raw)
            return
        moved = (raw - self._raw + WRAP // 2) % WRAP - WRAP // 2
        if moved > self._jump:
            raise ValueError(f"it jumped by {moved:,} counts between two readings (from {self._raw:,} to {raw:,})")
        farthest = self._counts[-1]
        if self._here + moved < farthest - self._jitter:
            back = farthest - self._here - moved
            raise ValueError(f"it went back by {back:,} counts (from {self._raw:,} to {raw:,})")
        self._raw, self._here = raw, self._here + moved
        count = max(farthest, self._here)
        if self._counts[-2:] == [count, count]:  # it stands: the first and the last of equal readings say it all
            self._times_ns.pop()
            self._counts.pop()
        self._times_ns.append(time_ns)
        self._counts.append(count)
        if len(self._counts) > 2 * KEEP:
            del self._times_ns[:KEEP], self._counts[:KEEP]

    def at(self, time_ns: int) -> float | None:
        """The count at a time; None: no reading is that new yet. LookupError: none is that old."""
        i = bisect_left(self._times_ns, time_ns)
        if i == len(self._times_ns):
            return None
        if self._times_ns[i] == time_ns:
            return self._counts[i]
        if i == 0:
            raise LookupError
        share = (time_ns - self._times_ns[i - 1]) / (self._times_ns[i] - self._times_ns[i - 1])
        return self._counts[i - 1] + share * (self._counts[i] - self._counts[i - 1])

    def when(self, count: float) -> int | None:
        """When the belt came to a count; None: not yet."""
        i = bisect_left(self._counts, count)
        if i == len(self._counts):
            return None
        if i == 0 or self._counts[i] == count:
            return self._times_ns[i]
        share = (count - self._counts[i - 1]) / (self._counts[i] - self._counts[i - 1])
        return self._times_ns[i - 1] + round(share * (self._times_ns[i] - self._times_ns[i - 1]))

    def stands_ns(self, now_ns: int) -> int:
        """How long the readings have said the same."""
        if not self._counts:
            return 0
        return now_ns - self._times_ns[bisect_left(self._counts, self._counts[-1])]
