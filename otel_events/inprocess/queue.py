"""The queue of events of this process: ``emit`` hands one over in microseconds, a thread moves them on.

It never hurts the host (law 5): ``emit`` raises nothing and waits for nothing; what does not fit into the bounded queue
is dropped and counted. Where the events go is decided in process.py.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

from otel_events.core import redact
from otel_events.inprocess.attempts import PhaseRecord, phase_change
from otel_events.model.event import PHASES, AnyEvent, PhaseChange

QUEUE = 65_536
"""Events in memory before they are moved on."""
BATCH = 5_000
"""Events that are moved on at a time."""
PERIOD = 0.2
"""Seconds between two rounds of the thread."""

_logger = logging.getLogger("otel_events")
_OUTCOMES = frozenset(row.name for row in PHASES.values() if row.outcome)


class EventQueue:
    """The bounded queue of one process, and the thread that empties it."""

    def __init__(
        self,
        take: Callable[[Sequence[AnyEvent]], object],
        tick: Callable[[], None],
        dropped: Callable[[int], object] = lambda count: None,
        eager: bool = False,
        began: Callable[[], None] = lambda: None,
        thread: bool = True,
    ) -> None:
        """
        Args:
            take: What the events go to, batch by batch. An error leaves the batch queued, to be offered again.
            tick: Called after each round of the thread.
            dropped: Called with the number of events that had no room.
            eager: The end of a run is moved on at once, by the thread that hands it over: for a process that may be
                killed when its work is done.
            began: Called when the thread starts; of an eager queue that is with its first event.
            thread: Without one, everything waits for ``stop``.
        """
        self._began = began
        self._take, self._tick, self._report_dropped, self._eager = take, tick, dropped, eager
        self._queue: deque[AnyEvent | PhaseRecord] = deque()
        self._pumping = threading.Lock()
        self._stopped = threading.Event()
        self._dropped = 0
        self._last_error = ""
        self._thread: threading.Thread | None = None
        if thread and not eager:
            self._start()

    def _start(self) -> None:
        """Start the thread; of an eager queue only with its first event, since most forked children have none."""
        self._began()
        self._thread = threading.Thread(target=self._work, name="otel-events", daemon=True)
        with contextlib.suppress(RuntimeError):  # the interpreter is ending
            self._thread.start()

    def calm(self) -> None:
        """Leave the ends of runs to the thread from here on."""
        self._eager = False

    def emit(self, event: AnyEvent | PhaseRecord) -> None:
        """Add an event; it is dropped and counted where there is no room."""
        if self._stopped.is_set() or len(self._queue) >= QUEUE:
            self._dropped += 1
            return
        self._queue.append(event)
        if self._eager:
            if self._thread is None:
                self._start()
            if _is_end(event):
                with contextlib.suppress(Exception):  # the thread tries again, and logs
                    self.pump()

    def _work(self) -> None:
        while not self._stopped.wait(PERIOD):
            try:
                self.pump()
                self._tick()
                self._last_error = ""
            except Exception as error:  # noqa: BLE001  # what is queued stays so for the next round
                if str(error) != self._last_error:  # once, not in each round
                    self._last_error = str(error)
                    _logger.warning("events of this process wait: %s", error)

    def pump(self) -> None:
        """Move on what is queued now. Raises what ``take`` raises; the events stay queued then."""
        if not self._pumping.acquire(timeout=1.0):  # at the end of the process, while the thread waits for the disk
            return
        try:
            if self._dropped:
                count, self._dropped = self._dropped, 0
                self._report_dropped(count)
            left = len(self._queue)  # later events wait for the next round, so that this one ends
            while left > 0:
                number = min(left, BATCH)
                self._move([self._queue.popleft() for _ in range(number)])
                left -= number
        finally:
            self._pumping.release()

    def _move(self, batch: list[AnyEvent | PhaseRecord]) -> None:
        try:
            self._take([phase_change(item) if isinstance(item, tuple) else redact.event(item) for item in batch])
        except BaseException:
            self._queue.extendleft(reversed(batch))
            raise

    def stop(self, patience: float = 1.0) -> bool:
        """Accept nothing more, and move on what is queued; any number of times.

        Args:
            patience: Seconds to wait for the thread to end its round.

        Returns:
            False where the thread did not end in that time: then nothing was moved on.
        """
        self._stopped.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread() and thread.ident is not None:
            thread.join(timeout=patience)
            if thread.is_alive():
                return False
        try:
            self.pump()
        except Exception as error:  # noqa: BLE001  # said by ``left``
            self._last_error = str(error)
        return True

    def left(self) -> str:
        """After ``stop``: how many events were not moved on, and why; "" where all were."""
        count = len(self._queue)
        reason = self._last_error or "no answer in time"
        return f"{count:,} events of this process were not sent: {reason}" if count else ""


def _is_end(event: AnyEvent | PhaseRecord) -> bool:
    if isinstance(event, tuple):
        return event[0].outermost and event[1] in _OUTCOMES
    return isinstance(event, PhaseChange) and event.phase in _OUTCOMES


_installed: EventQueue | None = None


def install(queue: EventQueue | None) -> None:
    """Make ``queue`` the one that this process's events go to; None: they go nowhere."""
    global _installed
    _installed = queue


def installed() -> EventQueue | None:
    """The queue that this process's events go to; None where nothing is recorded."""
    return _installed


def emit(event: AnyEvent | PhaseRecord) -> None:
    """Hand over an event of this process. Raises nothing, waits for nothing; without ``configure()`` does nothing."""
    queue = _installed
    if queue is not None:
        queue.emit(event)
