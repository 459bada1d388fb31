"""Events made in this process: handed over by ``emit`` in microseconds, journalled and sent by a thread behind it.

Never hurts the host (law 5): ``emit`` raises nothing and waits for nothing; what does not fit into the bounded queue is
dropped and counted; the end of the process waits at most ``EXIT_SECONDS`` for the collector.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence

from otel_events import redact
from otel_events.event import AnyEvent
from otel_events.pipeline.gateway import Gateway

QUEUE = 65_536
"""Events in memory before they are in the journal."""
EXIT_SECONDS = 5.0
PERIOD = 0.2
"""Seconds between two looks of the thread at the queue."""


class Live:
    """The queue and the thread of one process. ``take`` is what the events go to, batch by batch."""

    def __init__(self, take: Callable[[Sequence[AnyEvent]], object], tick: Callable[[], None]) -> None:
        self._take, self._tick = take, tick
        self._queue: deque[AnyEvent] = deque()
        self._stopped = threading.Event()
        self.dropped = 0
        self._thread = threading.Thread(target=self._work, name="otel-events", daemon=True)
        self._thread.start()

    def emit(self, event: AnyEvent) -> None:
        if len(self._queue) >= QUEUE:
            self.dropped += 1
        else:
            self._queue.append(event)

    def _work(self) -> None:
        while not self._stopped.wait(PERIOD):
            with contextlib.suppress(Exception):  # the journal said no: the events stay queued for the next round
                self.pump()
                self._tick()

    def pump(self) -> None:
        """Move what is queued now into the journal; an error leaves it queued."""
        count = len(self._queue)
        if count:
            self._take(redact.events(self._queue[i] for i in range(count)))
            for _ in range(count):
                self._queue.popleft()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(timeout=1.0)
        with contextlib.suppress(Exception):
            self.pump()


_live: Live | None = None


def install(live: Live | None) -> None:
    """Make ``live`` the place where this process's events go; None: nowhere."""
    global _live
    _live = live


def emit(event: AnyEvent) -> None:
    """Hand over an event of this process. Raises nothing, waits for nothing; before ``configure()`` it does nothing."""
    live = _live
    if live is not None:
        live.emit(event)


def run_gateway(gateway: Gateway) -> Live:
    """Let this process's events go through a gateway of its own, closed at exit within ``EXIT_SECONDS``."""
    live = Live(lambda events: gateway.offer("python", events), gateway.tick)

    def close() -> None:
        install(None)
        live.stop()
        with contextlib.suppress(Exception):
            gateway.drain_and_close(EXIT_SECONDS)

    install(live)
    atexit.register(close)
    return live
