"""A thread that applies a store's retention and frees what was hidden, a short step at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from otel_events.clearml_server.store.model import Limits
from otel_events.clearml_server.store.protocol import Retention
from otel_events.model.errors import StoreError

_EVERY_S = 5.0
_BETWEEN_S = 0.005
"""A pause after each step, so that batches which wait get their turn."""


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Keeper:
    """Call ``start`` once and ``stop`` at the end. A failing step is tried again at the next round."""

    def __init__(
        self,
        store: Retention,
        limits: Limits,
        now_ms: Callable[[], int] = _wall_ms,
        removed: Callable[[str, int], None] = lambda reason, events: None,
    ) -> None:
        """
        Args:
            store: What is to be held to the limits.
            limits: The greatest age and size.
            now_ms: The clock, epoch milliseconds.
            removed: Called with a reason ("age", "bytes") and how many events were removed for it.
        """
        self._store = store
        self._limits = limits
        self._now_ms = now_ms
        self._removed = removed
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="otel-events-store-keeper", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and wait for its end."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def step(self) -> bool:
        """Free a little of what is hidden, or else apply the limits; whether there is more to do."""
        if self._store.collect():
            return True
        step = self._store.retain(self._limits, self._now_ms())
        for reason, events in step.events.items():
            self._removed(reason, events)
        return step.more

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                more = self.step()
            except StoreError:
                more = False  # the disk is full or the file is locked: the writer reports it; try again later
            self._stopped.wait(_BETWEEN_S if more else _EVERY_S)
