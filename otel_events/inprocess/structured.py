"""structlog with the current run: trace ids in every line, and log records to OTLP without the standard library.

    structlog.configure(processors=console(json=True, otlp=ToOtlp(sender.offer)))

The chain is: contextvars, level, callsite, trace context, time, our OTLP processor, exceptions, renderer. Nothing here
raises into the caller or changes its values (law 5), and what goes to OTLP is redacted (law 8).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec
import structlog
from opentelemetry import trace
from structlog.processors import CallsiteParameter, ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

from otel_events.core import redact
from otel_events.core.logs import severity_text
from otel_events.inprocess.attempts import ProcessAttempt
from otel_events.inprocess.context import AttemptSpan, current_run
from otel_events.inprocess.exceptions import exception_in, stack_of, type_name
from otel_events.model.event import Scalar
from otel_events.model.telemetry import Attributes, LogData

LEVELS: dict[str, int] = {
    "trace": 1,
    "debug": 5,
    "info": 9,
    "notset": 9,
    "msg": 9,
    "warn": 13,
    "warning": 13,
    "error": 17,
    "err": 17,
    "exception": 17,
    "critical": 21,
    "fatal": 21,
}
"""structlog's level or method -> OTel severity number (its text: logs.SEVERITIES; critical is FATAL)."""

CALLSITE: dict[str, str] = {
    "pathname": "code.file.path",
    "lineno": "code.line.number",
    "thread": "thread.id",
    "thread_name": "thread.name",
    "process": "process.pid",
    "stack": "code.stacktrace",
}
"""What CallsiteParameterAdder and StackInfoRenderer add -> the attribute of the semantic conventions."""
_CALLEE = ("qual_module", "module"), ("qual_name", "func_name")
"""The function's place and name, the fuller first: together ``code.function.name``."""

CONTEXT = ("trace_id", "span_id", "trace_flags", "otel_events.run.id", "otel_events.attempt")
"""Keys that ``add_otel_context`` sets; of OTLP records the first three are fields of their own."""

_DROPPED = frozenset(
    (
        *("event", "level", "level_number", "timestamp", "event_name", "exc_info", "exception", "stack_info"),
        *("_record", "_from_structlog", "filename", "process_name"),
        *(name for pair in _CALLEE for name in pair),
        *CALLSITE,
        *CONTEXT,
    )
)
"""Keys of an event dict that become something else than an attribute of their own name, or nothing."""
USER = "user."
"""Before a key of the caller's own that means something else here, so that neither is lost."""

_LARGEST = 2**63 - 1
_busy: ContextVar[bool] = ContextVar("otel_events_structured_busy", default=False)


def add_otel_context(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """structlog processor that adds the trace context, and the id and attempt of the current run.

    Args:
        logger: Not used.
        method: Not used.
        event: The event dict. The caller's own value of a key that is added moves to ``user.{key}``.

    Returns:
        The event dict with trace_id, span_id and trace_flags (32, 16 and 2 lower-case hex digits) of the current span,
        else of the current run.

    >>> add_otel_context(None, "info", {"event": "read"})  # outside of any run
    {'event': 'read'}
    """
    for key, value in _context().items():
        if event.get(key, value) != value:
            event[USER + key] = event[key]
        event[key] = value
    return event


def _context() -> dict[str, str | int]:
    run = current_run()
    where = trace.get_current_span().get_span_context()
    if not where.is_valid and run is not None:
        where = AttemptSpan(ProcessAttempt(run)).get_span_context()
    fields: dict[str, str | int] = {}
    if where.is_valid:
        fields["trace_id"] = trace.format_trace_id(where.trace_id)
        fields["span_id"] = trace.format_span_id(where.span_id)
        fields["trace_flags"] = f"{where.trace_flags:02x}"
    if run is not None:
        fields["otel_events.run.id"] = run.id
        fields["otel_events.attempt"] = run.attempt or 1
    return fields


class ToOtlp:
    """structlog processor that makes a LogData of each event dict, and leaves the dict as it is.

    What fails is counted in ``failed`` and never raised. Log lines that are written while ``take`` runs are ignored:
    each would make another one.
    """

    def __init__(self, take: Callable[[LogData], object], clock: Callable[[], int] = time.time_ns) -> None:
        """
        Args:
            take: Called with each record.
            clock: Gives ns since the epoch, UTC.
        """
        self._take, self._clock = take, clock
        self.failed = 0

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        if _busy.get():
            return event
        token = _busy.set(True)
        try:
            self._take(record(event, method, self._clock()))
        except Exception:  # noqa: BLE001  # a log line must not end the code that writes it
            self.failed += 1
        finally:
            _busy.reset(token)
        return event


def record(event: Mapping[str, Any], method: str, now: int) -> LogData:
    """The redacted log record of an event dict, in the current context."""
    level = str(event.get("level", method)).lower()
    severity = LEVELS.get(level) or LEVELS.get(method, 9)
    context = _context()
    fields = _attributes(event, context)
    return LogData(
        time=now,
        observed=now,
        severity=severity,
        severity_text=severity_text(severity),
        body=redact.text(_text(event.get("event", ""))),
        attributes=redact.attributes(fields),
        trace_id=bytes.fromhex(str(context.get("trace_id", ""))),
        span_id=bytes.fromhex(str(context.get("span_id", ""))),
        event_name=redact.text(str(event.get("event_name", ""))),
    )


def _attributes(event: Mapping[str, Any], context: Mapping[str, str | int]) -> Attributes:
    ours = _code(event) | _exception(event)
    ours |= {key: context[key] for key in CONTEXT[3:] if key in context}
    theirs: Attributes = {}
    for key, value in event.items():
        own = context.get(key) != value if key in CONTEXT else key not in _DROPPED
        if own and value is not None:
            reserved = key in ours or key in CONTEXT
            theirs[USER + key if reserved else key] = _scalar(value)
    return theirs | ours


def _code(event: Mapping[str, Any]) -> Attributes:
    attributes = {attribute: _scalar(event[key]) for key, attribute in CALLSITE.items() if event.get(key) is not None}
    parts = [next((str(event[key]) for key in keys if event.get(key)), "") for keys in _CALLEE]
    if parts[1]:
        attributes["code.function.name"] = ".".join(part for part in parts if part)
    return attributes


def _exception(event: Mapping[str, Any]) -> Attributes:
    """``exception.*`` of exc_info (True, an exception or the triple), or of what an ExceptionRenderer made of it."""
    error = exception_in(event.get("exc_info"))
    if error is not None:
        return {
            "exception.type": type_name(type(error)),
            "exception.message": _text(error),
            "exception.stacktrace": stack_of(error),
        }
    rendered = event.get("exception")
    if isinstance(rendered, str) and rendered:
        return {"exception.stacktrace": rendered}
    if isinstance(rendered, list) and rendered and isinstance(rendered[0], dict):
        first = rendered[0]
        return {
            "exception.type": str(first.get("exc_type", "")),
            "exception.stacktrace": _text(rendered),
            "exception.message": str(first.get("exc_value", "")),
        }
    return {}


def _scalar(value: object) -> Scalar:
    """The value as an attribute can hold it: scalars as they are, integers beyond 64 bits and all else as text."""
    if type(value) in (str, bool, float) or (type(value) is int and -_LARGEST <= value <= _LARGEST):
        return value  # type: ignore[return-value]  # one of the types of Scalar, checked above
    return _text(value)


def _text(value: object) -> str:
    if isinstance(value, dict | list | tuple):
        try:
            return msgspec.json.encode(value, enc_hook=str).decode()
        except (TypeError, ValueError, RecursionError):
            return repr(value)
    return str(value)


def line_writer(json: bool, file: TextIO | None = None) -> Callable[[LogData], None]:
    """Make a function that writes log records, such as those of a gateway's events, as lines.

    Args:
        json: Whether a line is JSON; else text, coloured on a terminal.
        file: Where they go; standard output unless one is given.

    Returns:
        The function. It raises nothing: where the file cannot be written to (a closed pipe), the line is lost.
    """
    out = file or sys.stdout
    render: Processor = structlog.processors.JSONRenderer()
    if not json:
        render = structlog.dev.ConsoleRenderer(colors=out.isatty())
    logger = structlog.wrap_logger(structlog.PrintLogger(out), processors=[render])

    def write(record: LogData) -> None:
        fields: dict[str, object] = {"timestamp": _iso(record.time), "level": record.severity_text.lower()}
        if record.trace_id:
            ids = {"trace_id": record.trace_id.hex(), "span_id": record.span_id.hex(), "trace_flags": "01"}
            fields |= ids
        attributes = {key: _shown(value) for key, value in record.attributes.items()}
        with suppress(OSError, ValueError):
            logger.info(_shown(record.body), event_name=record.event_name, **fields, **attributes)

    return write


def _iso(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def _shown(value: Scalar) -> Scalar:
    """Text from outside, for a terminal: control characters (escapes, line ends) show as their code points."""
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in value)


def console(json: bool, otlp: Processor | None = None) -> list[Processor]:
    """The processors for ``structlog.configure``.

    Args:
        json: Whether a line is JSON; else text, coloured where standard output is a terminal.
        otlp: A ``ToOtlp``.

    Returns:
        The chain.
    """
    render: tuple[Processor, ...]
    if json:
        # Without the values of local variables, which both renderers of structlog show unless told otherwise.
        errors = ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
        render = errors, structlog.processors.JSONRenderer()
    else:
        plain = structlog.dev.plain_traceback
        render = (structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=plain),)
    where = {CallsiteParameter.PATHNAME, CallsiteParameter.LINENO, CallsiteParameter.QUAL_NAME}
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.CallsiteParameterAdder(where | {CallsiteParameter.QUAL_MODULE}),
        add_otel_context,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        *((otlp,) if otlp is not None else ()),
        *render,
    ]
