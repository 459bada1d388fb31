"""A thread that ticks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from otel_events.model.errors import OtelEventsError

PERIOD = 0.2
"""Seconds between two ticks."""

_logger = logging.getLogger("otel_events")


class Ticker:
    """Calls ``tick`` every PERIOD seconds, from ``start`` to ``stop``."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to tick, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="otel-events-gateway", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the tick that goes on now. Any number of times."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(PERIOD):
            try:
                self._tick()
            except OtelEventsError:
                pass  # Readiness shows it and the next tick tries again: nothing acknowledged is at stake.
            except Exception:
                _logger.exception("the gateway's tick failed; it goes on with the next")
