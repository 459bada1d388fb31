"""The end of a process: what is sent beside its runs, and what is told after they were sent."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence

import msgspec

from otel_events.inprocess.queue import Live, install
from otel_events.inprocess.sending import Sending, Settings, sending
from otel_events.model.event import AnyEvent

_logger = logging.getLogger("otel_events")


class Leaving(msgspec.Struct, frozen=True):
    """What else is sent at the end of the process, at the same time as the runs."""

    begin: Callable[[], None]
    wait: Callable[[], None]


class Afterwards:
    """Events of exit handlers that run after the one of ``configure``: those that were registered before it. They wait
    in memory for the very last handler, that of ``import otel_events``."""

    def __init__(self, settings: Settings, ends: float) -> None:
        """``ends``: of ``time.monotonic()``, when all of our waiting has to be over."""
        self._settings, self._ends, self._pid = settings, ends, os.getpid()
        self._to: Sending | None = None
        self.live = Live(self._take, lambda: None, thread=False)

    def _take(self, events: Sequence[AnyEvent]) -> None:
        if self._to is None:
            self._settings.journal.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._to = sending(self._settings)
        self._to.take(events)

    def close(self) -> None:
        """Send them, if there are any, in what is left of the time."""
        install(None)
        if os.getpid() != self._pid:
            return
        try:
            self.live.stop()
            left = self._to.finish(max(0.0, self._ends - time.monotonic())) if self._to else ""
            for what in filter(None, (self.live.left(), left)):
                _logger.warning("%s", what)
        except Exception:
            _logger.exception("runs of exit handlers are not recorded")
        if self._settings.temporary:
            shutil.rmtree(self._settings.journal.parent, ignore_errors=True)
