"""Events made in this process: handed over by ``emit`` in microseconds, moved on by a thread behind it.

Never hurts the host (law 5): ``emit`` raises nothing and waits for nothing; what does not fit into the bounded queue is
dropped and counted. Where the events go is process.py's to say.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence

from otel_events.core import redact
from otel_events.inprocess.attempts import Told, change
from otel_events.inprocess.faults import fault as fault
from otel_events.inprocess.faults import faults as faults
from otel_events.inprocess.faults import new_id as new_id
from otel_events.model.event import PHASES, AnyEvent, PhaseChange

QUEUE = 65_536
"""Events in memory before they are moved on."""
MOVED = 5_000
"""Events that are moved on at a time."""
PERIOD = 0.2
"""Seconds between two looks of the thread at the queue."""

_logger = logging.getLogger("otel_events")
_OUTCOMES = frozenset(row.name for row in PHASES.values() if row.outcome)


class Live:
    """The queue and the thread of one process. ``take`` is what the events go to, batch by batch; ``dropped`` is told
    how many had no room. ``eager``: the end of a run is moved on at once, by the thread that tells of it: of a process
    that may be killed when its work is done."""

    def __init__(
        self,
        take: Callable[[Sequence[AnyEvent]], object],
        tick: Callable[[], None],
        dropped: Callable[[int], object] = lambda count: None,
        eager: bool = False,
        began: Callable[[], None] = lambda: None,
        thread: bool = True,
    ) -> None:
        """``began``: called with the first event of an eager one. ``thread``: without one, all waits for ``stop``."""
        self._began = began
        self._take, self._tick, self._tell_dropped, self._eager = take, tick, dropped, eager
        self._queue: deque[AnyEvent | Told] = deque()
        self._pumping = threading.Lock()
        self._stopped = threading.Event()
        self._dropped = 0
        self._told = ""
        self._thread: threading.Thread | None = None
        if thread and not eager:
            self._start()

    def _start(self) -> None:
        """The thread; of an eager one only when there is something to do: most forked children have nothing."""
        self._began()
        self._thread = threading.Thread(target=self._work, name="otel-events", daemon=True)
        with contextlib.suppress(RuntimeError):  # the interpreter is on its way out
            self._thread.start()

    def calm(self) -> None:
        """Leave the ends of runs to the thread from here on."""
        self._eager = False

    def emit(self, event: AnyEvent | Told) -> None:
        if self._stopped.is_set() or len(self._queue) >= QUEUE:
            self._dropped += 1
            return
        self._queue.append(event)
        if self._eager:
            if self._thread is None:
                self._start()
            if _is_end(event):
                with contextlib.suppress(Exception):  # the thread tries again, and tells
                    self.pump()

    def _work(self) -> None:
        while not self._stopped.wait(PERIOD):
            try:
                self.pump()
                self._tick()
                self._told = ""
            except Exception as error:  # noqa: BLE001  # what is queued stays so for the next round
                if str(error) != self._told:
                    self._told = str(error)
                    _logger.warning("events of this process wait: %s", error)

    def pump(self) -> None:
        """Move on what is queued now; an error leaves it queued."""
        if not self._pumping.acquire(timeout=1.0):  # at the end of the process, while the thread waits for the disk
            return
        try:
            if self._dropped:
                count, self._dropped = self._dropped, 0
                self._tell_dropped(count)
            left = len(self._queue)
            while left > 0:
                number = min(left, MOVED)
                self._move([self._queue.popleft() for _ in range(number)])
                left -= number
        finally:
            self._pumping.release()

    def _move(self, batch: list[AnyEvent | Told]) -> None:
        try:
            self._take([change(one) if isinstance(one, tuple) else redact.event(one) for one in batch])
        except BaseException:
            self._queue.extendleft(reversed(batch))
            raise

    def stop(self, patience: float = 1.0) -> bool:
        """Take nothing more, and move on what is queued; any number of times. Waits ``patience`` seconds for the thread
        to end its round; False where it did not."""
        self._stopped.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread() and thread.ident is not None:
            thread.join(timeout=patience)
            if thread.is_alive():
                return False
        try:
            self.pump()
        except Exception as error:  # noqa: BLE001  # told by ``left``
            self._told = str(error)
        return True

    def left(self) -> str:
        """After ``stop``: how many events were not moved on, and why; "" where all were."""
        count = len(self._queue)
        return f"{count:,} events of this process were not sent: {self._told or 'no answer in time'}" if count else ""


def _is_end(event: AnyEvent | Told) -> bool:
    if isinstance(event, tuple):
        return event[0].outermost and event[1] in _OUTCOMES
    return isinstance(event, PhaseChange) and event.phase in _OUTCOMES


_live: Live | None = None


def install(live: Live | None) -> None:
    """Make ``live`` the place where this process's events go; None: nowhere."""
    global _live
    _live = live


def emit(event: AnyEvent | Told) -> None:
    """Hand over an event of this process. Raises nothing, waits for nothing; without ``configure()`` does nothing."""
    live = _live
    if live is not None:
        live.emit(event)


def shutdown() -> None:
    """Send what can be sent and let go (process.shutdown); nothing where nothing was configured."""
    process = sys.modules.get("otel_events.inprocess.process")  # it loads what sends; who only tells need not
    if process is not None:
        process.shutdown()
