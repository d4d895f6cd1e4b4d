"""A halted line says so again every few minutes, and how many parts it has rejected since: whoever reads the log only
now must not take it for one that has nothing to do. Pure but for `say`: the time is an argument.
"""

from collections.abc import Callable

from lineside.line import said
from lineside.line.events import Changed

EVERY_S = 300.0


class Reminder:
    """Tell it each change of state, ask it how long to wait, and let it speak. Final."""

    def __init__(self, say: said.Say, now_ns: Callable[[], int], every_s: float | None = None):
        self._say, self._now_ns, self._every_ns = say, now_ns, round((EVERY_S if every_s is None else every_s) * 1e9)
        self._halt: Changed | None = None
        self._since_ns = self._next_ns = self._before = 0

    def changed(self, change: Changed, rejected: int) -> None:
        """The station is in another state. rejected: so many parts up to now."""
        self._halt = change if change.state == "halted" else None
        self._since_ns, self._before = self._now_ns(), rejected
        self._next_ns = self._since_ns + self._every_ns

    def patience_s(self, wanted: float | None) -> float | None:
        """How long the line may wait for its next message: as long as it wants, but not beyond the next reminder."""
        if self._halt is None:
            return wanted
        mine = max(0, self._next_ns - self._now_ns()) / 1e9
        return mine if wanted is None else min(wanted, mine)

    def look(self, rejected: int) -> None:
        """Say it, if it is time to."""
        now = self._now_ns()
        if self._halt is None or now < self._next_ns:
            return
        self._next_ns += self._every_ns * (1 + (now - self._next_ns) // self._every_ns)
        self._say(said.still_halted(self._halt, (now - self._since_ns) / 1e9, rejected - self._before))
