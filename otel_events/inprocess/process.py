"""Where the events of this process go: ``configure()``.

    to a collector    a journal and a gateway of this process's own (gateway.py), OTLP as OTEL_EXPORTER_OTLP_* says
    to a gateway      OTEL_EVENTS_GATEWAY (client.py)
    child processes   to the process that configured, through a folder beside its journal (handover.py): forked ones,
                      those that multiprocessing spawns, and any that names the same journal. It sends for all of
                      them, so there is one connection, one fold and one set of metrics. When it has gone, the next of
                      them that has something to say takes its place.

The end of the process waits at most ``EXIT_SECONDS`` for the other side.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from otel_events.gateway.state import SECOND, Timing
from otel_events.inprocess import forks
from otel_events.inprocess import queue as live
from otel_events.inprocess.ending import Afterwards
from otel_events.inprocess.ending import Leaving as Leaving
from otel_events.inprocess.faults import fault, process_id
from otel_events.inprocess.handover import GoneError, Owner, Writer, children_of
from otel_events.inprocess.queue import Live, install
from otel_events.inprocess.sending import GATEWAY, Sending, Settings, ToCollector, sending
from otel_events.model.errors import JournalError, OtelEventsError
from otel_events.model.event import AnyEvent

EXIT_SECONDS = 5.0
IN_PROCESS = Timing(grace=2 * SECOND)
"""Events of one process come in order: little is to be waited for (law 6)."""
JOURNAL = "OTEL_EVENTS_JOURNAL"
AGAIN = 1.0
"""Seconds between two tries of a child to take the place of the process that sent for it."""
LAST = -100
"""Priority of multiprocessing's finalizers that run when its children have been waited for."""

_logger = logging.getLogger("otel_events")


class Process:
    """The process that sends: its queue, where that goes, and the folder of its children."""

    def __init__(self, to: Sending, settings: Settings | None, queue: Live | None = None) -> None:
        self.settings, self._sending, self._pid = settings, to, os.getpid()
        self.owner: Owner | None = None
        if settings is not None:
            self.owner = _owner(children_of(settings.journal))
        self.live = queue or Live(self.take, self.tick, to.dropped)

    def take(self, events: Sequence[AnyEvent]) -> None:
        self._sending.take(events)

    def tick(self) -> None:
        if self.owner is not None:
            self.owner.collect(self._sending.take)
        self._sending.tick()

    def dropped(self, count: int) -> None:
        self._sending.dropped(count)

    def is_own(self) -> bool:
        """Whether this is the process that was configured, not a fork of it."""
        return os.getpid() == self._pid

    def close(self) -> None:
        """Send what can be sent within ``EXIT_SECONDS``, and let go of all."""
        if not self.is_own():
            return  # a fork of the host: what is here is its parent's, its locks held by threads that are not here
        if live._live is self.live:
            install(None)
        end = time.monotonic() + EXIT_SECONDS
        self._sending.hurry(EXIT_SECONDS - 1.0)
        if not self.live.stop(patience=EXIT_SECONDS - 1.0):
            self._sending.abort()
            self.live.stop()
        if self.owner is not None:
            with contextlib.suppress(Exception):
                self.owner.close(self._sending.take)
            self.owner.let_go()
        with contextlib.suppress(Exception):
            left = self._sending.finish(max(0.0, end - time.monotonic()))
            for what in filter(None, (self.live.left(), left)):
                _logger.warning("%s", what)
        if self.settings is not None and self.settings.temporary:
            shutil.rmtree(self.settings.journal.parent, ignore_errors=True)


class Child:
    """A process that leaves its events to another one, and takes its place when it has gone."""

    def __init__(self, settings: Settings, forked: bool) -> None:
        self.settings, self._forked, self._pid = settings, forked, os.getpid()
        self._writer: Writer | None = None
        self._process: Process | None = None
        self._registered = False
        self._again = 0.0
        self.live = Live(self.take, self.tick, self.dropped, eager=True, began=self._register)

    def take(self, events: Sequence[AnyEvent]) -> None:
        if self._process is not None:
            return self._process.take(events)
        try:
            self._leave(events)
        except GoneError:
            self._writer = None
            if time.monotonic() < self._again or not self._succeed():
                raise
            self.take(events)

    def _leave(self, events: Sequence[AnyEvent]) -> None:
        if self._writer is None:
            self._writer = Writer(children_of(self.settings.journal), process_id())
        if lost := self._writer.write(events):
            fault("the hand-over to the parent process", OverflowError(f"{lost} events dropped: it does not read them"))

    def _succeed(self) -> bool:
        """Take the place of the process that has gone; False where another one was faster."""
        self._again = time.monotonic() + AGAIN
        try:
            found = sending(self.settings, self._forked)
        except JournalError:
            return False
        self._process = Process(found, self.settings, self.live)
        self.live.calm()
        return True

    def tick(self) -> None:
        if self._process is not None:
            self._process.tick()

    def dropped(self, count: int) -> None:
        if self._process is not None:
            self._process.dropped(count)
        else:
            fault("the queue of events to the parent process", OverflowError(f"{count} events were dropped"))

    def _register(self) -> None:
        """With the first event: be called at the end of a process of multiprocessing, which has no exit handlers."""
        if not self._registered:
            self._registered = True
            _finalize(self.close)

    def close(self) -> None:
        if os.getpid() == self._pid:
            if self._process is not None:
                self._process.close()
            else:
                with contextlib.suppress(Exception):
                    self.live.pump()

    def let_go(self) -> None:
        """In a child of this one."""
        if self._writer is not None:
            self._writer.let_go()
        if self._process is not None and self._process.owner is not None:
            self._process.owner.let_go()


_now: Process | Child | None = None
_past: list[object] = []
"""What a forked child has of its parent, kept as it is: to take it apart would be to use its connections."""


def configure(
    journal: str | Path | None = None,
    *,
    gateway: str | None = None,
    timing: Timing = IN_PROCESS,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Let the events of this process become telemetry, sent as OTEL_EXPORTER_OTLP_* says; or go to ``gateway``, else to
    $OTEL_EVENTS_GATEWAY, which makes telemetry of them.

    ``journal``: its file, for this process and its children; else $OTEL_EVENTS_JOURNAL, else a temporary one: then what
    the other side has not taken by the end of the process is lost. Again: in place of what was configured before.
    Raises nothing (law 5): what cannot be used is told in the log of the ``otel_events`` logger; nothing is recorded.
    """
    shutdown()
    try:
        _start(_settings(journal, gateway, timing, environ))
    except OtelEventsError as error:
        _logger.error("the runs of this process are not recorded: %s", error)
    except Exception:
        _logger.exception("the runs of this process are not recorded")


def journal_in_use() -> Path | None:
    """The journal of this process, if one was named that outlives it."""
    settings = _now.settings if _now is not None else None
    return settings.journal if settings is not None and not settings.temporary else None


def _settings(journal: str | Path | None, gateway: str | None, timing: Timing, environ: Mapping[str, str]) -> Settings:
    named = journal or environ.get(JOURNAL, "")
    path = Path(named).expanduser() if named else Path(tempfile.mkdtemp(prefix="otel-events-")) / "journal.db"
    url = environ.get(GATEWAY, "") if gateway is None else gateway
    return Settings(path, not named, url, timing, environ)


def _start(settings: Settings) -> None:
    global _now
    try:
        _now = Process(sending(settings), settings)
    except JournalError:
        if not _has_owner(settings):
            raise
        _now = Child(settings, forked=False)
    except BaseException:
        if settings.temporary:
            shutil.rmtree(settings.journal.parent, ignore_errors=True)
        raise
    install(_now.live)
    _at_end(_now)


def _owner(folder: Path) -> Owner | None:
    for _ in range(50):
        try:
            return Owner(folder)
        except BlockingIOError:  # a child looks whether we are here, for a moment
            time.sleep(0.01)
        except OSError as error:
            fault("the folder of child processes", error)
            return None
    fault("the folder of child processes", TimeoutError(f"{folder} is another process's"))
    return None


def _has_owner(settings: Settings) -> bool:
    """Whether the process that holds the journal sends for others."""
    try:
        writer = Writer(children_of(settings.journal), process_id())
        writer.write(())
    except OSError:
        return False
    writer.let_go()
    return True


def run_gateway(gateway: Any) -> Live:
    """Let this process's events go through a gateway that is open already, closed at the end of the process."""
    global _now
    _now = Process(ToCollector(gateway), None)
    install(_now.live)
    _at_end(_now)
    return _now.live


def shutdown() -> None:
    """Send what can be sent within ``EXIT_SECONDS`` and let go of the journal; any number of times. The end of the
    process does it by itself."""
    global _now
    now, _now = _now, None
    for undo in _undo[::-1]:
        undo()
    _undo.clear()
    if now is not None:
        now.close()
        if live._live is now.live:
            install(None)


_undo: list[Callable[[], None]] = []


def at_shutdown(undo: Callable[[], None]) -> None:
    """Call ``undo`` at the next ``shutdown()``."""
    _undo.append(undo)


# --- the end ---------------------------------------------------------------------------------------------------------


_leaving: list[Leaving] = []


def leave_with(*leaving: Leaving) -> None:
    """Let these go along at the end of the process, in place of what did before."""
    _leaving[:] = leaving


_afterwards: Afterwards | None = None


def end() -> None:
    """The exit handler that ``configure`` registers. Starts no thread: since Python 3.12 none can be started then."""
    for one in _leaving:
        one.begin()
    try:
        _end_now()
    except Exception:
        _logger.exception("the end of this process: telemetry may be missing")
    for one in _leaving:
        one.wait()


def last() -> None:
    """The exit handler that ``import otel_events`` registers: the last of all that come later."""
    if _afterwards is not None:
        _afterwards.close()


def _end_now() -> None:
    now = _now
    if now is None:
        return
    # Children of multiprocessing are waited for by its own handler, which may come after this one.
    children = sys.modules.get("multiprocessing.process")
    if children is not None and children.active_children() and _finalize(lambda: _leave(now)):
        return
    _leave(now)


def _leave(now: Process | Child) -> None:
    global _afterwards
    ends = time.monotonic() + EXIT_SECONDS
    now.close()
    if isinstance(now, Process) and now.settings is not None and now.is_own():
        _afterwards = Afterwards(now.settings, ends)
        install(_afterwards.live)


def _at_end(now: Process | Child) -> None:
    """Have the end told to us: handlers run last first, so what was registered before this is not yet gone then."""
    atexit.unregister(end)
    atexit.register(end)
    # A process that multiprocessing started ends without exit handlers.
    if (children := sys.modules.get("multiprocessing.process")) and children.parent_process() is not None:
        _finalize(now.close)


def _finalize(close: Callable[[], None]) -> bool:
    """Have multiprocessing call ``close`` when its children have ended; False where it will not any more."""
    util: Any = sys.modules.get("multiprocessing.util")
    if util is None or util.is_exiting():
        return False
    util.Finalize(None, close, exitpriority=LAST)
    return True


# --- children --------------------------------------------------------------------------------------------------------


def handed() -> Settings | None:
    """What a process that multiprocessing starts afresh is told (``arrived``); None where nothing is configured."""
    if _now is None or _now.settings is None:
        return None
    return msgspec.structs.replace(_now.settings, environ={})


def arrived(settings: Settings) -> None:
    """In such a process: leave its events to the process that started it, unless it has configured for itself."""
    global _now
    if _now is None:
        _now = Child(msgspec.structs.replace(settings, environ=os.environ), forked=False)
        install(_now.live)


def _in_child() -> None:
    global _now
    was, _now = _now, None
    install(None)
    if was is None:
        return
    _past.append(was)
    if isinstance(was, Child):
        was.let_go()
    elif was.owner is not None:
        was.owner.let_go()
    if was.settings is not None:
        _now = Child(was.settings, forked=True)
        install(_now.live)


os.register_at_fork(after_in_child=_in_child)
forks.watch()
