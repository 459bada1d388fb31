"""Where the events of this process go: ``configure()``.

    to a collector    a journal and a gateway in this process (gateway/), OTLP as OTEL_EXPORTER_OTLP_* says
    to a gateway      OTEL_EVENTS_GATEWAY (client.py)
    child processes   to the process that configured, through a folder beside its journal (handover.py): forked ones,
                      those that multiprocessing spawns, and any that names the same journal. It sends for all of
                      them, so there is one connection, one fold and one set of metrics. When it has ended, the next of
                      them that has events takes its place.

The end of the process waits at most ``EXIT_SECONDS`` for the other side.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from otel_events.gateway.state import SECOND, Timing
from otel_events.inprocess import forks
from otel_events.inprocess.ending import ExitStep, LateEvents
from otel_events.inprocess.handover import Writer, children_of
from otel_events.inprocess.ids import process_id
from otel_events.inprocess.queue import install, installed
from otel_events.inprocess.roles import ChildProcess, SendingProcess
from otel_events.inprocess.sending import open_destination
from otel_events.inprocess.settings import GATEWAY, Settings
from otel_events.model.errors import JournalError, OtelEventsError

EXIT_SECONDS = 5.0
IN_PROCESS = Timing(grace=2 * SECOND)
"""Events of one process come in order, so the grace for late ones is short (law 6)."""
JOURNAL = "OTEL_EVENTS_JOURNAL"
LAST = -100
"""Priority of multiprocessing's finalizers that run when its children have been waited for."""

_logger = logging.getLogger("otel_events")


_active: SendingProcess | ChildProcess | None = None
_of_parents: list[object] = []
"""What a forked child has of its parent, held so that nothing collects it: that would use its connections."""


def configure(
    journal: str | Path | None = None,
    *,
    gateway: str | None = None,
    timing: Timing = IN_PROCESS,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Let the events of this process become telemetry; again: in place of what was configured before.

    Raises nothing (law 5): what cannot be used is said in the log of the ``otel_events`` logger, and nothing is
    recorded.

    Args:
        journal: Its file, for this process and its children; else $OTEL_EVENTS_JOURNAL, else a temporary one: then what
            the other side has not taken by the end of the process is lost.
        gateway: URL of a gateway that makes telemetry of the events; else $OTEL_EVENTS_GATEWAY. "": none, they are sent
            from here, as OTEL_EXPORTER_OTLP_* says.
        timing: How long late events are waited for.
        environ: The variables that are read.
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
    return _active.settings.journal if _active is not None and not _active.settings.temporary else None


def _settings(journal: str | Path | None, gateway: str | None, timing: Timing, environ: Mapping[str, str]) -> Settings:
    named = journal or environ.get(JOURNAL, "")
    path = Path(named).expanduser() if named else Path(tempfile.mkdtemp(prefix="otel-events-")) / "journal.db"
    url = environ.get(GATEWAY, "") if gateway is None else gateway
    return Settings(path, not named, url, timing, environ)


def _start(settings: Settings) -> None:
    global _active
    try:
        _active = SendingProcess(open_destination(settings), settings)
    except JournalError:
        if not _has_owner(settings):
            raise
        _active = _child(settings, forked=False)
    except BaseException:
        if settings.temporary:
            shutil.rmtree(settings.journal.parent, ignore_errors=True)
        raise
    install(_active.queue)
    _at_end(_active)


def _has_owner(settings: Settings) -> bool:
    """Whether the process that holds the journal sends for others."""
    try:
        writer = Writer(children_of(settings.journal), process_id())
        writer.write(())
    except OSError:
        return False
    writer.let_go()
    return True


def shutdown() -> None:
    """Send what can be sent within ``EXIT_SECONDS`` and let go of the journal; any number of times. The end of the
    process does it by itself."""
    global _active
    active, _active = _active, None
    for undo in _undo[::-1]:
        undo()
    _undo.clear()
    if active is not None:
        active.close(EXIT_SECONDS)
        if installed() is active.queue:
            install(None)


_undo: list[Callable[[], None]] = []


def at_shutdown(undo: Callable[[], None]) -> None:
    """Call ``undo`` at the next ``shutdown()``."""
    _undo.append(undo)


# --- the end ---------------------------------------------------------------------------------------------------------


_exit_steps: list[ExitStep] = []
_late_events: LateEvents | None = None


def set_exit_steps(*steps: ExitStep) -> None:
    """Replace what is sent beside the runs at the end of the process."""
    _exit_steps[:] = steps


def end() -> None:
    """The exit handler that ``configure`` registers. Starts no thread: since Python 3.12 none can be started then."""
    for step in _exit_steps:
        step.begin()
    try:
        _end_active()
    except Exception:
        _logger.exception("the end of this process: telemetry may be missing")
    for step in _exit_steps:
        step.wait()


def last() -> None:
    """The exit handler that ``import otel_events`` registers. It is called after all handlers that were registered
    later."""
    if _late_events is not None:
        _late_events.close()


def _end_active() -> None:
    active = _active
    if active is None:
        return
    # multiprocessing waits for its children in an exit handler of its own, which may run after this one.
    children = sys.modules.get("multiprocessing.process")
    if children is not None and children.active_children() and _finalize(lambda: _close(active)):
        return
    _close(active)


def _close(active: SendingProcess | ChildProcess) -> None:
    global _late_events
    ends = time.monotonic() + EXIT_SECONDS
    active.close(EXIT_SECONDS)
    if isinstance(active, SendingProcess) and active.is_own():
        _late_events = LateEvents(active.settings, ends)
        install(_late_events.queue)


def _at_end(active: SendingProcess | ChildProcess) -> None:
    """Register ``end``. Handlers run last first, so what was registered before ``configure`` has not ended then."""
    atexit.unregister(end)
    atexit.register(end)
    # A process that multiprocessing started ends without exit handlers.
    if (children := sys.modules.get("multiprocessing.process")) and children.parent_process() is not None:
        _finalize(lambda: active.close(EXIT_SECONDS))


def _finalize(close: Callable[[], None]) -> bool:
    """Have multiprocessing call ``close`` when its children have ended; False where it will not any more."""
    util: Any = sys.modules.get("multiprocessing.util")
    if util is None or util.is_exiting():
        return False
    util.Finalize(None, close, exitpriority=LAST)
    return True


# --- children --------------------------------------------------------------------------------------------------------


def _child(settings: Settings, forked: bool) -> ChildProcess:
    """A child that is registered with multiprocessing's finalizers, since its processes run no exit handlers; with its
    first event."""
    child = ChildProcess(settings, forked, began=lambda: _at_finalizers(child))
    return child


def _at_finalizers(child: ChildProcess) -> None:
    _finalize(lambda: child.close(EXIT_SECONDS))


def settings_for_child() -> Settings | None:
    """What a process that multiprocessing spawns is given (``join``); None where nothing is configured."""
    return msgspec.structs.replace(_active.settings, environ={}) if _active is not None else None


def join(settings: Settings) -> None:
    """In a spawned process: leave its events to the process that started it, unless it is configured already."""
    global _active
    if _active is None:
        _active = _child(msgspec.structs.replace(settings, environ=os.environ), forked=False)
        install(_active.queue)


def _in_child() -> None:
    global _active
    parent, _active = _active, None
    install(None)
    if parent is not None:
        _of_parents.append(parent)
        parent.let_go()
        _active = _child(parent.settings, forked=True)
        install(_active.queue)


os.register_at_fork(after_in_child=_in_child)
forks.watch()
