"""Records of standard loggers inside tasks: each carries ``run_id``, ``attempt``, ``trace_id`` and ``span_id`` for
whatever format its handlers have, and becomes an event of the run.

``logging.Logger.callHandlers`` is wrapped, where a record is complete: a handler on the root logger would change what
``basicConfig`` does in the user's code, a record factory would refuse an ``extra`` of the same names.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import wraps
from threading import local
from typing import Any

from otel_events.inprocess.context import current_run
from otel_events.inprocess.faults import fault
from otel_events.inprocess.queue import emit
from otel_events.tasks.logs import RunLogger, carried, event_of

NOT_THEIRS = ("otel_events", "opentelemetry", "ray")
"""First parts of the names of loggers that are not the user's."""
SENT_BY_THE_SDK = "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED"
_emitting = local()


def install() -> Callable[[], None]:
    """Wrap ``callHandlers``; returns a function that undoes it, unless somebody else has wrapped it meanwhile."""
    original = logging.Logger.callHandlers

    @wraps(original)
    def call(self: logging.Logger, record: logging.LogRecord) -> Any:
        if type(self) is not RunLogger and record.name.partition(".")[0] not in NOT_THEIRS:
            _emit(record)
        return original(self, record)

    logging.Logger.callHandlers = call  # type: ignore[method-assign]  # this is the wrapping

    def undo() -> None:
        if logging.Logger.__dict__["callHandlers"] is call:
            logging.Logger.callHandlers = original  # type: ignore[method-assign]  # put back

    return undo


def _emit(record: logging.LogRecord) -> None:
    if getattr(_emitting, "now", False):
        return
    _emitting.now = True  # looking up the run may log
    try:
        run = current_run()
        if run is not None:
            if os.environ.get(SENT_BY_THE_SDK, "").lower() != "true":
                emit(event_of(run, record))
            for name, value in carried(run).items():
                vars(record).setdefault(name, value)
    except Exception as error:  # noqa: BLE001  # what a record holds may raise when it is read
        fault("a log record of a Ray task", error)
    finally:
        _emitting.now = False
