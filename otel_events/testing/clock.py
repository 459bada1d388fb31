"""A clock for tests: it stands still until a test moves it, and wakes the threads whose time has come."""

from __future__ import annotations

import math
import threading

NANO = 1_000_000_000
_TICK = 1 << 30
"""Ticks of a second: a power of two, so that times are exact as floats, and a thread that waits for one reaches it."""


class FakeClock:
    """Time that a test moves; a Clock for the Exporter and its senders.

    >>> clock = FakeClock(start=100.0)
    >>> clock.advance(2.5)
    >>> clock.time(), clock.monotonic(), clock.time_ns()
    (102.5, 2.5, 102500000000)
    """

    def __init__(self, start: float = 1_760_000_000.0) -> None:
        """``start``: seconds since the epoch at which ``monotonic()`` is 0."""
        self._start, self._ticks = start, 0
        self._sleepers: list[tuple[float, threading.Condition]] = []
        self._changed = threading.Condition()

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._ticks / _TICK

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._start + self.monotonic()

    def time_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return round(self.time() * NANO)

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass, and wake those whose time has come."""
        with self._changed:
            self._ticks = self._after(seconds)
            due = [sleeper for sleeper in self._sleepers if sleeper[0] <= self._ticks]
            self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[0] > self._ticks]
        for _, condition in due:
            with condition:
                condition.notify_all()

    def _after(self, seconds: float) -> int:
        return math.ceil(self._ticks + seconds * _TICK)

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """Wait on the held ``condition`` until it is notified or that much time was advanced (None: no limit)."""
        with self._changed:
            sleeper = (math.inf if seconds is None else self._after(seconds), condition)
            self._sleepers.append(sleeper)
            self._changed.notify_all()
        try:
            condition.wait()
        finally:
            with self._changed:
                if sleeper in self._sleepers:
                    self._sleepers.remove(sleeper)

    def until_asleep(self, patience: float = 10.0) -> float:
        """Wait, in real time, until a thread waits for this clock; the seconds that the first of them waits for.

        AssertionError after ``patience`` real seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._first() < math.inf, patience):
                raise AssertionError(f"nobody waited for the clock within {patience} s")
            return (self._first() - self._ticks) / _TICK

    def _first(self) -> float:
        return min((until for until, _ in self._sleepers), default=math.inf)
