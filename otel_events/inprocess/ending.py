"""The end of a process: what is sent beside its runs, and the events of exit handlers that run after ours."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence

import msgspec

from otel_events.inprocess.queue import EventQueue, install
from otel_events.inprocess.sending import Destination, open_destination
from otel_events.inprocess.settings import Settings
from otel_events.model.event import AnyEvent

_logger = logging.getLogger("otel_events")


class ExitStep(msgspec.Struct, frozen=True):
    """Something else that is sent at the end of the process, at the same time as the runs."""

    begin: Callable[[], None]
    """Called before the runs are sent."""
    wait: Callable[[], None]
    """Called after they were sent; returns in bounded time."""


class LateEvents:
    """Events of exit handlers that run after the one of ``configure``: those that were registered before it.

    They wait in memory for the very last handler, the one that ``import otel_events`` registered.
    """

    def __init__(self, settings: Settings, ends: float) -> None:
        """``ends``: of ``time.monotonic()``, when all of our waiting has to be over."""
        self._settings, self._ends, self._pid = settings, ends, os.getpid()
        self._destination: Destination | None = None
        self.queue = EventQueue(self._take, lambda: None, thread=False)

    def _take(self, events: Sequence[AnyEvent]) -> None:
        if self._destination is None:
            self._destination = open_destination(self._settings)
        self._destination.take(events)

    def close(self) -> None:
        """Send them, if there are any, in what is left of the time."""
        install(None)
        if os.getpid() != self._pid:
            return  # a fork: these are its parent's
        try:
            self.queue.stop()
            left = self._destination.finish(max(0.0, self._ends - time.monotonic())) if self._destination else ""
            for line in filter(None, (self.queue.left(), left)):
                _logger.warning("%s", line)
        except Exception:
            _logger.exception("runs of exit handlers are not recorded")
        if self._settings.temporary:
            shutil.rmtree(self._settings.journal.parent, ignore_errors=True)
