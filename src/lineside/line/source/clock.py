"""When a frame was captured, by the line's clock, from the camera's own time stamp.

The two clocks have different zeros, and a frame takes some time to arrive. The smallest difference (arrival − stamp)
seen so far is the zero plus the quickest way; a frame that took longer was delayed by the rest, in a buffer or on the
network, and was captured that much before its arrival. So a picture that waited can not pass for a fresh one.

Crystals drift apart by up to 100 ppm, so the smallest difference may grow by that much. A camera whose clock is set
anew would seem delayed for ever, so a delay longer than `longest_ns`, or a stamp before the one before, starts the
comparison afresh; a clock that needs that again and again (it counts in other units than it says) is not used any more.
One that is set back by less than lies between two frames looks like frames that wait in a buffer, and is not found:
they count as late until 100 ppm have made up for it. A camera's clock is set when nobody looks at parts.
"""

DRIFT = 1e-4
FRESH_STARTS = 3
FORGIVEN = 1000  # frames without a fresh start, after which one is forgotten


class Delay:
    """Keeps the smallest difference. Final."""

    def __init__(self, longest_ns: int):
        self._longest_ns = longest_ns
        self._zero_ns: int | None = None
        self._seen_ns = self._starts = self._good = 0
        self._stamp_ns: int | None = None

    def of(self, arrived_ns: int, camera_ns: int | None) -> int:
        """How many ns longer than the quickest frame this one took; 0 where the camera has no clock of use."""
        if camera_ns is None or self._starts > FRESH_STARTS:
            return 0
        difference = arrived_ns - camera_ns
        zero = difference if self._zero_ns is None else self._zero_ns + round((arrived_ns - self._seen_ns) * DRIFT)
        set_back = self._stamp_ns is not None and camera_ns < self._stamp_ns
        if set_back or difference - zero > self._longest_ns:
            self._starts, self._good = self._starts + 1, 0
            zero = difference
        elif (good := self._good + 1) < FORGIVEN:
            self._good = good
        else:
            self._starts, self._good = max(0, self._starts - 1), 0
        self._stamp_ns = camera_ns
        self._zero_ns, self._seen_ns = min(difference, zero), arrived_ns
        return difference - self._zero_ns
