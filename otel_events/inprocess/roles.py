"""The two roles of a process: one sends, its children hand their events over to it."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from otel_events.inprocess.faults import fault
from otel_events.inprocess.handover import GoneError, Owner, Writer, children_of
from otel_events.inprocess.ids import process_id
from otel_events.inprocess.queue import EventQueue, install, installed
from otel_events.inprocess.sending import Destination, open_destination
from otel_events.inprocess.settings import Settings
from otel_events.model.errors import JournalError
from otel_events.model.event import AnyEvent

AGAIN = 1.0
"""Seconds between two tries of a child to take the place of the process that sent for it."""
TRIES = 50
"""Tries to lock the folder of children, 10 ms apart: a child that looks whether we are here holds it for a moment."""

_logger = logging.getLogger("otel_events")


class SendingProcess:
    """The process that sends: its queue, what that goes to, and the folder of its children."""

    def __init__(self, destination: Destination, settings: Settings, queue: EventQueue | None = None) -> None:
        self.settings, self._destination, self._pid = settings, destination, os.getpid()
        self.owner = _owner(children_of(settings.journal))
        self.queue = queue or EventQueue(self.take, self.tick, destination.dropped)

    def take(self, events: Sequence[AnyEvent]) -> None:
        """Pass on events of this process. Raises what the destination raises."""
        self._destination.take(events)

    def tick(self) -> None:
        """Collect the events of children, and let the destination do what is due."""
        if self.owner is not None:
            self.owner.collect(self._destination.take)
        self._destination.tick()

    def dropped(self, count: int) -> None:
        """Count events that had no room in the queue."""
        self._destination.dropped(count)

    def is_own(self) -> bool:
        """Whether this is the process that was configured, not a fork of it."""
        return os.getpid() == self._pid

    def close(self, seconds: float) -> None:
        """Send what can be sent within ``seconds``, and let go of everything."""
        if not self.is_own():
            return  # a fork of the host: what is here is its parent's, its locks held by threads that are not here
        if installed() is self.queue:
            install(None)
        end = time.monotonic() + seconds
        self._destination.hurry(seconds - 1.0)
        if not self.queue.stop(patience=seconds - 1.0):
            self._destination.abort()  # ends the request that the thread waits for
            self.queue.stop()
        if self.owner is not None:
            with contextlib.suppress(Exception):
                self.owner.close(self._destination.take)
            self.owner.let_go()
        with contextlib.suppress(Exception):
            left = self._destination.finish(max(0.0, end - time.monotonic()))
            for line in filter(None, (self.queue.left(), left)):
                _logger.warning("%s", line)
        if self.settings.temporary:
            shutil.rmtree(self.settings.journal.parent, ignore_errors=True)

    def let_go(self) -> None:
        """In a fork of this process: close the files that it shares."""
        if self.owner is not None:
            self.owner.let_go()


class ChildProcess:
    """A process that leaves its events to another one, and takes its place when that has ended."""

    def __init__(self, settings: Settings, forked: bool, began: Callable[[], None]) -> None:
        """
        Args:
            settings: Of the process that sends.
            forked: Whether this is a fork of it.
            began: Called once, with the first event.
        """
        self.settings, self._forked, self._pid = settings, forked, os.getpid()
        self._writer: Writer | None = None
        self._successor: SendingProcess | None = None
        self._began: Callable[[], None] | None = began
        self._next_try = 0.0
        self.queue = EventQueue(self.take, self.tick, self.dropped, eager=True, began=self._begin)

    def _begin(self) -> None:
        began, self._began = self._began, None
        if began is not None:
            began()

    def take(self, events: Sequence[AnyEvent]) -> None:
        """Hand events over. Raises GoneError where the other process has ended and its place is not taken yet."""
        if self._successor is not None:
            return self._successor.take(events)
        try:
            self._leave(events)
        except GoneError:
            self._writer = None
            if time.monotonic() < self._next_try or not self._succeed():
                raise
            self.take(events)

    def _leave(self, events: Sequence[AnyEvent]) -> None:
        if self._writer is None:
            self._writer = Writer(children_of(self.settings.journal), process_id())
        if lost := self._writer.write(events):
            fault("the hand-over to the parent process", OverflowError(f"{lost} events dropped: it does not read them"))

    def _succeed(self) -> bool:
        """Take the place of the process that has ended; False where another child was faster."""
        self._next_try = time.monotonic() + AGAIN
        try:
            destination = open_destination(self.settings, self._forked)
        except JournalError:
            return False
        self._successor = SendingProcess(destination, self.settings, self.queue)
        self.queue.calm()
        return True

    def tick(self) -> None:
        """As the successor, do what is due."""
        if self._successor is not None:
            self._successor.tick()

    def dropped(self, count: int) -> None:
        """Count events that had no room in the queue."""
        if self._successor is not None:
            self._successor.dropped(count)
        else:
            fault("the queue of events to the parent process", OverflowError(f"{count} events were dropped"))

    def close(self, seconds: float) -> None:
        """Hand over what is queued; as the successor, send it within ``seconds``."""
        if os.getpid() == self._pid:
            if self._successor is not None:
                self._successor.close(seconds)
            else:
                with contextlib.suppress(Exception):
                    self.queue.pump()

    def let_go(self) -> None:
        """In a fork of this process: close the files that it shares."""
        if self._writer is not None:
            self._writer.let_go()
        if self._successor is not None:
            self._successor.let_go()


def _owner(folder: Path) -> Owner | None:
    for _ in range(TRIES):
        try:
            return Owner(folder)
        except BlockingIOError:  # see TRIES
            time.sleep(0.01)
        except OSError as error:
            fault("the folder of child processes", error)
            return None
    fault("the folder of child processes", TimeoutError(f"{folder} is another process's"))
    return None
