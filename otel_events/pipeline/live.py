"""Events made in this process: handed over by ``emit`` in microseconds, journalled and sent by a thread behind it.

Never hurts the host (law 5): ``emit`` raises nothing and waits for nothing; what does not fit into the bounded queue is
dropped and counted; the end of the process waits at most ``EXIT_SECONDS`` for the collector. A forked child starts with
nothing configured: the journal and the connections are its parent's.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from otel_events import redact
from otel_events.errors import OtelEventsError
from otel_events.event import AnyEvent
from otel_events.otlp import from_env
from otel_events.pipeline.gateway import Gateway
from otel_events.pipeline.own import Told, change
from otel_events.pipeline.settings import GatewayConfig
from otel_events.pipeline.state import SECOND, Timing

QUEUE = 65_536
"""Events in memory before they are in the journal."""
EXIT_SECONDS = 5.0
PERIOD = 0.2
"""Seconds between two looks of the thread at the queue."""
IN_PROCESS = Timing(grace=2 * SECOND)
"""Events of one process come in order: little is to be waited for (law 6)."""
JOURNAL = "OTEL_EVENTS_JOURNAL"

_logger = logging.getLogger("otel_events")


class Live:
    """The queue and the thread of one process. ``take`` is what the events go to, batch by batch; ``dropped`` is told
    how many had no room."""

    def __init__(
        self,
        take: Callable[[Sequence[AnyEvent]], object],
        tick: Callable[[], None],
        dropped: Callable[[int], object] = lambda count: None,
    ) -> None:
        self._take, self._tick, self._tell_dropped = take, tick, dropped
        self._queue: deque[AnyEvent | Told] = deque()
        self._pumping = threading.Lock()
        self._stopped = threading.Event()
        self._dropped = 0
        self._told = ""
        self._thread = threading.Thread(target=self._work, name="otel-events", daemon=True)
        self._thread.start()

    def emit(self, event: AnyEvent | Told) -> None:
        if self._stopped.is_set() or len(self._queue) >= QUEUE:
            self._dropped += 1
        else:
            self._queue.append(event)

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
        """Move what is queued now into the journal; an error leaves it queued."""
        if not self._pumping.acquire(timeout=1.0):  # at the end of the process, while the thread waits for the disk
            return
        try:
            if self._dropped:
                count, self._dropped = self._dropped, 0
                self._tell_dropped(count)
            taken = [self._queue.popleft() for _ in range(len(self._queue))]
            self._move([change(one) if isinstance(one, tuple) else one for one in taken])
        finally:
            self._pumping.release()

    def _move(self, batch: list[AnyEvent]) -> None:
        if batch:
            try:
                self._take(redact.events(batch))
            except BaseException:
                self._queue.extendleft(reversed(batch))
                raise

    def stop(self) -> None:
        """Take nothing more, and move what is queued; any number of times."""
        self._stopped.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=1.0)
        with contextlib.suppress(Exception):
            self.pump()


_counter = itertools.count(1).__next__
_own = os.urandom(10).hex()


def new_id() -> str:
    """An id of 32 hex digits that nothing else has, in any process: a random half of this process, and a number. Not
    from ``random``, which hosts seed; each forked child draws a half of its own."""
    return f"{_own}{_counter():012x}"


_faults: dict[str, int] = {}
_fault_lock = threading.Lock()


def fault(what: str, error: BaseException) -> None:
    """Something of ours, or that we called for the user, failed in the user's path: count it, log it the first time,
    and go on. Raises nothing itself."""
    try:
        with _fault_lock:
            first = what not in _faults
            _faults[what] = _faults.get(what, 0) + 1
        if first:
            _logger.warning("%s failed, its task goes on; told once, then counted: %s", what, _described(error))
    except Exception:  # noqa: BLE001, S110  # a handler of the user's that raises; there is nobody left to tell
        pass


def faults() -> dict[str, int]:
    """How often what has failed in this process."""
    with _fault_lock:
        return dict(_faults)


def _described(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:500]
    except Exception:  # noqa: BLE001  # what a foreign exception says of itself may fail
        return type(error).__name__


_live: Live | None = None
_close: Callable[[], None] | None = None


def install(live: Live | None) -> None:
    """Make ``live`` the place where this process's events go; None: nowhere."""
    global _live
    _live = live


def emit(event: AnyEvent | Told) -> None:
    """Hand over an event of this process. Raises nothing, waits for nothing; without ``configure()`` does nothing."""
    live = _live
    if live is not None:
        live.emit(event)


def configure(
    journal: str | Path | None = None, *, timing: Timing = IN_PROCESS, environ: Mapping[str, str] = os.environ
) -> None:
    """Let the runs of this process (``@task``, ``@workflow``) become telemetry, sent as OTEL_EXPORTER_OTLP_* says.

    ``journal``: its file, for this process alone; else $OTEL_EVENTS_JOURNAL, else a temporary one: then what the
    collector has not taken by the end of the process is lost. Again: in place of what was configured before. Raises
    nothing (law 5): what cannot be used is told in the log of the ``otel_events`` logger, and nothing is recorded.
    """
    shutdown()
    try:
        path = journal or environ.get(JOURNAL, "")
        folder = "" if path else tempfile.mkdtemp(prefix="otel-events-")
        place = Path(path).expanduser() if path else Path(folder) / "journal.db"
        run_gateway(Gateway.open(_settings(place, timing, environ)), folder)
    except OtelEventsError as error:
        _logger.error("the runs of this process are not recorded: %s", error)
    except Exception:
        _logger.exception("the runs of this process are not recorded")


def _settings(path: Path, timing: Timing, environ: Mapping[str, str]) -> GatewayConfig:
    config = GatewayConfig(journal=path, otlp=from_env(environ), timing=timing)
    path.parent.mkdir(parents=True, exist_ok=True)
    return config


def shutdown() -> None:
    """Send what can be sent within ``EXIT_SECONDS`` and let go of the journal; any number of times. The end of the
    process does it by itself."""
    global _close
    close, _close = _close, None
    if close is not None:
        atexit.unregister(close)
        close()


def run_gateway(gateway: Gateway, folder: str = "") -> Live:
    """Let this process's events go through a gateway of its own, closed at exit within ``EXIT_SECONDS``; then
    ``folder`` goes, if there is one."""
    global _close
    live = Live(
        lambda events: gateway.offer("python", events),
        gateway.tick,
        lambda count: gateway.dropped("queue_full", count),
    )
    own = os.getpid()

    def close() -> None:
        if os.getpid() != own:
            return  # a fork of the host: the gateway is its parent's, and its locks may be held by threads that are not
        install(None)
        end = time.monotonic() + EXIT_SECONDS
        live.stop()
        with contextlib.suppress(Exception):
            gateway.settle()
        with contextlib.suppress(Exception):
            left = gateway.drain_and_close(max(0.0, end - time.monotonic()))
            if left.commits:
                _logger.warning("telemetry of %d commits was not sent: %s", left.commits, left.reason)
        if folder:
            shutil.rmtree(folder, ignore_errors=True)

    install(live)
    atexit.register(close)
    if children := sys.modules.get("multiprocessing.util"):  # its children end without atexit
        children.Finalize(None, close, exitpriority=0)
    _close = close
    return live


def _in_child() -> None:
    global _live, _close, _own, _fault_lock
    _live = _close = None
    _own, _fault_lock = os.urandom(10).hex(), threading.Lock()


os.register_at_fork(after_in_child=_in_child)
