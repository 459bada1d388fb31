"""structlog with the run at hand: trace ids in every line, and log records straight to OTLP (not through stdlib).

    structlog.configure(processors=console(json=True, otlp=ToOtlp(sender.offer)))

Chain: contextvars, level, callsite, trace context, time, our OTLP processor, exceptions, renderer. Nothing here raises
into the caller or changes what it handed over (law 5), and what goes to OTLP is redacted (law 8).
"""

from __future__ import annotations

import sys
import time
import traceback
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
from otel_events.inprocess.context import current_run, otel_context
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
    """structlog processor: trace_id, span_id, trace_flags (32, 16, 2 lower-case hex digits) of the span at hand, else
    of the run at hand; and the run's id and attempt. The caller's own value of such a key moves to ``user.{key}``."""
    for key, value in _context().items():
        if event.get(key, value) != value:
            event[USER + key] = event[key]
        event[key] = value
    return event


def _context() -> dict[str, str | int]:
    run = current_run()
    where = trace.get_current_span().get_span_context()
    if not where.is_valid and run is not None:
        where = trace.get_current_span(otel_context(run)).get_span_context()
    found: dict[str, str | int] = {}
    if where.is_valid:
        found["trace_id"] = trace.format_trace_id(where.trace_id)
        found["span_id"] = trace.format_span_id(where.span_id)
        found["trace_flags"] = f"{where.trace_flags:02x}"
    if run is not None:
        found["otel_events.run.id"] = run.id
        found["otel_events.attempt"] = run.attempt or 1
    return found


class ToOtlp:
    """structlog processor that makes a LogData of each event dict and hands it to ``take``; the dict goes on unchanged.

    ``clock`` gives ns since the epoch, UTC. What fails is counted in ``failed`` and never raised. Log lines that
    ``take`` itself brings about are not taken: they would come round for ever.
    """

    def __init__(self, take: Callable[[LogData], object], clock: Callable[[], int] = time.time_ns) -> None:
        self._take, self._clock = take, clock
        self.failed = 0

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        if _busy.get():
            return event
        token = _busy.set(True)
        try:
            self._take(record(event, method, self._clock()))
        except Exception:  # noqa: BLE001  # a log line must not end what it tells of
            self.failed += 1
        finally:
            _busy.reset(token)
        return event


def record(event: Mapping[str, Any], method: str, now: int) -> LogData:
    """The log record of an event dict, in the context at hand, redacted."""
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
    found: Attributes = {}
    for key, value in event.items():
        own = context.get(key) != value if key in CONTEXT else key not in _DROPPED
        if own and value is not None:
            reserved = key in ours or key in CONTEXT
            found[USER + key if reserved else key] = _scalar(value)
    return found | ours


def _code(event: Mapping[str, Any]) -> Attributes:
    found = {attribute: _scalar(event[key]) for key, attribute in CALLSITE.items() if event.get(key) is not None}
    parts = [next((str(event[key]) for key in keys if event.get(key)), "") for keys in _CALLEE]
    if parts[1]:
        found["code.function.name"] = ".".join(part for part in parts if part)
    return found


def _exception(event: Mapping[str, Any]) -> Attributes:
    """``exception.*`` of exc_info (True, an exception or the triple), or of what an ExceptionRenderer made of it."""
    error = _error(event.get("exc_info"))
    if error is not None:
        stack = "".join(traceback.format_exception(error, limit=50))
        return _named(type(error), _text(error), stack)
    rendered = event.get("exception")
    if isinstance(rendered, str) and rendered:
        return {"exception.stacktrace": rendered}
    if isinstance(rendered, list) and rendered and isinstance(rendered[0], dict):
        first = rendered[0]
        found: Attributes = {"exception.type": str(first.get("exc_type", "")), "exception.stacktrace": _text(rendered)}
        return found | {"exception.message": str(first.get("exc_value", ""))}
    return {}


def _named(kind: type[BaseException], message: str, stack: str) -> Attributes:
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return {"exception.type": name, "exception.message": message, "exception.stacktrace": stack}


def _error(told: object) -> BaseException | None:
    if isinstance(told, BaseException):
        return told
    if isinstance(told, tuple):
        return next((part for part in told if isinstance(part, BaseException)), None)
    return sys.exc_info()[1] if told else None


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


def teller(json: bool, file: TextIO | None = None) -> Callable[[LogData], None]:
    """A function that writes log records, such as those of a gateway's events, as structlog records: lines of JSON, or
    text. It raises nothing: who cannot be written to (a closed pipe) is not told any more."""
    out = file or sys.stdout
    render: Processor = structlog.processors.JSONRenderer()
    if not json:
        render = structlog.dev.ConsoleRenderer(colors=out.isatty())
    logger = structlog.wrap_logger(structlog.PrintLogger(out), processors=[render])

    def tell(record: LogData) -> None:
        fields: dict[str, object] = {"timestamp": _iso(record.time), "level": record.severity_text.lower()}
        if record.trace_id:
            ids = {"trace_id": record.trace_id.hex(), "span_id": record.span_id.hex(), "trace_flags": "01"}
            fields |= ids
        told = {key: _shown(value) for key, value in record.attributes.items()}
        with suppress(OSError, ValueError):
            logger.info(_shown(record.body), event_name=record.event_name, **fields, **told)

    return tell


def _iso(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def _shown(value: Scalar) -> Scalar:
    """Text from outside on a terminal: what would steer it (escapes, line ends) shows as its code point."""
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in value)


def console(json: bool, otlp: Processor | None = None) -> list[Processor]:
    """The processors for structlog.configure: lines of JSON, or coloured text where standard output is a terminal."""
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
