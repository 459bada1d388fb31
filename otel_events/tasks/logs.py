"""``current_context().logging`` and ``.logger``: log lines of a task.

Each becomes a log event of the run, and goes where the user's own logging goes, with run_id, attempt, trace_id and
span_id. Both follow the level of the standard logger ``otel_events.user`` (INFO unless it is set). ``logging`` goes to
that logger's handlers and its parents', ``logger`` through structlog's configuration. A handler or processor that
raises is counted and logged once.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from otel_events.inprocess.attempts import ProcessAttempt
from otel_events.inprocess.exceptions import stack_of, type_name
from otel_events.inprocess.faults import fault
from otel_events.inprocess.ids import new_id
from otel_events.inprocess.queue import emit
from otel_events.model.event import Log, Run, Scalar
from otel_events.model.identity import span_id, trace_id

USER = "otel_events.user"
"""Name of the standard logger above the loggers of all runs: set its level, or give it handlers of its own."""
LONGEST = 32_768
"""Characters of a message or of one of its fields; what is longer is cut."""
FIELDS = 128
"""Fields of one line; what is more is left out."""

_user = logging.getLogger(USER)
if _user.level == logging.NOTSET:
    _user.setLevel(logging.INFO)
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every standard record has; all else is the caller's ``extra``."""


def carried(run: Run | None) -> dict[str, str | int]:
    """The fields of a record that name its run; empty values outside of any."""
    if run is None:
        return {"run_id": "", "attempt": 0, "trace_id": "", "span_id": ""}
    return {
        "run_id": run.id,
        "attempt": (attempt := run.attempt or 1),
        "trace_id": trace_id(run.source, run.namespace, run.root).hex(),
        "span_id": span_id(run.source, run.namespace, run.id, attempt, run.kind).hex(),
    }


class RunLogger(logging.Logger):
    """The standard logger of one attempt, a child of ``otel_events.user``. Records have ``run_id``, ``attempt``,
    ``trace_id`` and ``span_id`` as attributes (``%(trace_id)s`` in a format)."""

    def __init__(self, context: ProcessAttempt) -> None:
        super().__init__(USER)
        self.parent = _user
        self._run = context.run
        self._carried = carried(context.run)

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # the standard library's name
        """By the level of ``otel_events.user`` at this moment. The inherited method caches it, and the cache of a
        logger that is not registered is never cleared."""
        return level > self.manager.disable and level >= self.getEffectiveLevel()

    def handle(self, record: logging.LogRecord) -> None:
        """Emit the record as an event, then pass it to the handlers. Raises nothing."""
        try:
            if self._run is not None:
                emit(event_of(self._run, record))
            vars(record).update(self._carried)
        except Exception as error:  # noqa: BLE001  # what a record holds may raise when it is read
            fault("a log record of a task", error)
        try:
            super().handle(record)
        except Exception as error:  # noqa: BLE001  # a handler of the user's
            fault("a logging handler", error)

    def __reduce__(self) -> Any:
        return logging.getLogger, (USER,)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001  # arguments that do not fit, or raise when they are shown
        fault("a log record of a task", error)
        return str(record.msg)


def severity_of(level: int) -> int:
    """OTel severity number of a standard level: DEBUG 5, INFO 9, WARNING 13, ERROR 17, CRITICAL 21."""
    return min(max(1 + 4 * level // 10, 1), 24)


def event_of(run: Run, record: logging.LogRecord) -> Log:
    """The log event of a standard record. Raises what reading the record raises."""
    extra = {key: value for key, value in vars(record).items() if key not in _PLAIN}
    attributes: dict[str, Scalar] = {
        "code.file.path": record.pathname,
        "code.line.number": record.lineno,
        "code.function.name": record.funcName or "",
    }
    attributes |= _fields(extra)
    if record.exc_info and record.exc_info[1] is not None:
        attributes |= _exception(record.exc_info[1])
    return Log(
        id=new_id(),
        time=time.time_ns(),
        run=run,
        attributes=attributes,
        message=_cut(_message(record)),
        severity=severity_of(record.levelno),
        logger=record.name,
    )


def _fields(extra: dict[str, Any]) -> dict[str, Scalar]:
    return {str(key): _scalar(value) for key, value in list(extra.items())[:FIELDS]}


def _scalar(value: object) -> Scalar:
    if type(value) in (bool, float) or (type(value) is int and -(2**63) <= value < 2**63):
        return cast(Scalar, value)
    try:
        return _cut(value if type(value) is str else str(value))
    except Exception as error:  # noqa: BLE001  # a value that cannot be shown
        fault("a field of a task's log record", error)
        return f"({type(value).__name__})"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _exception(error: BaseException) -> dict[str, Scalar]:
    return {
        "exception.type": type_name(type(error)),
        "exception.message": _scalar(error),
        "exception.stacktrace": _cut(stack_of(error)),
    }


# --- structlog -------------------------------------------------------------------------------------------------------

SEVERITIES = {"debug": 5, "info": 9, "msg": 9, "warn": 13, "warning": 13, "error": 17, "err": 17, "exception": 17}
SEVERITIES |= {"critical": 21, "fatal": 21}
"""Method of a structlog logger -> OTel severity number; others are INFO."""


def bound_logger(context: ProcessAttempt) -> FilteringBoundLogger:
    """A structlog logger that emits each line as a log event, then hands it on to the configured structlog."""
    run, fields = context.run, carried(context.run)

    def emit_line(logger: WrappedLogger, method: str, event: EventDict) -> tuple[tuple[Any, ...], EventDict]:
        severity = SEVERITIES.get(method, 9)
        if not _user.isEnabledFor((severity - 1) * 10 // 4):
            raise structlog.DropEvent
        message = event.pop("event", "")
        if run is not None:
            try:
                emit(_line(run, message, severity, event))
            except Exception as error:  # noqa: BLE001  # as in RunLogger
                fault("a log record of a task", error)
        return (message,), {**event, **(fields if run is not None else {})}

    chain: list[Any] = [structlog.contextvars.merge_contextvars, emit_line]
    every = structlog.make_filtering_bound_logger(logging.NOTSET)
    return cast(FilteringBoundLogger, structlog.wrap_logger(_Onward(), processors=chain, wrapper_class=every))


class _Onward:
    """What the last processor's result goes to: the same method of the logger that the user has configured."""

    def __getattr__(self, method: str) -> Any:
        def call(*args: Any, **fields: Any) -> None:
            try:
                getattr(structlog.get_logger(), method)(*args, **fields)
            except Exception as error:  # noqa: BLE001  # a processor of the user's
                fault("a structlog processor", error)

        return call


def _line(run: Run, message: object, severity: int, event: EventDict) -> Log:
    fields = dict(event)
    exc_info = fields.pop("exc_info", None)
    attributes = _fields(fields)
    error = _exception_in(exc_info)
    if error is not None:
        attributes |= _exception(error)
    return Log(
        id=new_id(),
        time=time.time_ns(),
        run=run,
        attributes=attributes,
        message=str(_scalar(message)),
        severity=severity,
        logger=USER,
    )


def _exception_in(exc_info: object) -> BaseException | None:
    """The exception of structlog's ``exc_info``: an exception, the triple of ``sys.exc_info()``, or True for the one
    that is being handled."""
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return next((part for part in exc_info if isinstance(part, BaseException)), None)
    return sys.exc_info()[1] if exc_info else None
