"""Events become log records: a phase change the OTel log event ``otel_events.run.{phase}``, anything else a record
of its own. Attributes come from the tables of attributes.py.
"""

from __future__ import annotations

from otel_events.core.attributes import NOT_ON_LOGS, TABLES, NumberedRun, Tables
from otel_events.model.event import PHASES, AnyEvent, Log, PhaseChange, Report
from otel_events.model.telemetry import Attributes, LogData

SEVERITIES: tuple[tuple[int, str], ...] = (
    (1, "TRACE"),
    (5, "DEBUG"),
    (9, "INFO"),
    (13, "WARN"),
    (17, "ERROR"),
    (21, "FATAL"),
)
"""(lowest severity number, text) of the OTel log data model; four numbers to each text."""

INFO = 9
"""Severity of what has none of its own."""


def severity_text(number: int) -> str:
    """Short name of a severity number.

    Args:
        number: 1 to 24, as in the OTel log data model.

    Returns:
        The name; "" for a number outside.

    Example:
        >>> severity_text(9), severity_text(18), severity_text(0)
        ('INFO', 'ERROR', '')
    """
    return next((text for low, text in reversed(SEVERITIES) if low <= number <= 24), "")


def log(
    event: AnyEvent,
    trace: bytes,
    span: bytes,
    attempt: int,
    late: bool = False,
    full: bool = True,
    tables: Tables = TABLES,
) -> LogData:
    """The log record of an event.

    Args:
        event: Any event.
        trace: Id of the trace that its attempt is in; b"" for an event of no run.
        span: Id of its attempt's span; b"" for an event of no run.
        attempt: Number of the attempt.
        late: Whether the source dated it after the attempt's outcome.
        full: False leaves the source's attributes of a phase change to the span, unless it has an error or is late.
            Only the first change of an attempt needs them at once, so that an attempt that is stuck can be found.
        tables: Which attributes it has.

    Returns:
        The record, ready to be encoded.

    Example:
        >>> from otel_events.model.event import Run
        >>> line = Log(id="e", time=1, run=Run("toy", "task", "r/t", "train", "r"), message="epoch 3")
        >>> log(line, b"", b"", 1).attributes["otel_events.run.id"]
        'r/t'
    """
    severity, body, name, fields = _content(event, full or late, tables)
    # Whose record it is wins over what a source says, in the place where the source says it.
    (tables.run_log if event.run.id else tables.resource_log).put(fields, NumberedRun(event.run, attempt))
    if late:
        tables.late_log.put(fields, event)
    return LogData(event.time, event.time, severity, severity_text(severity), body, fields, trace, span, name)


def _content(event: AnyEvent, full: bool, tables: Tables) -> tuple[int, str, str, Attributes]:
    """(severity, body, event name, attributes of its own)."""
    if not full and type(event) is PhaseChange and event.error is None and event.phase in PHASES:
        return _phase(event, {}, tables)
    fields = {key: value for key, value in event.attributes.items() if key not in NOT_ON_LOGS}
    if isinstance(event, PhaseChange):
        return _phase(event, fields, tables)
    if isinstance(event, Log):
        tables.line_log.put(fields, event)
        return event.severity, event.message, event.event_name, fields
    if isinstance(event, Report):
        tables.report.put(fields, event)
        return INFO, event.name, "otel_events.report", fields
    tables.stat_log.put(fields, event)
    return INFO, f"{event.name} = {event.value}", "otel_events.stat", fields


def _phase(event: PhaseChange, fields: Attributes, tables: Tables) -> tuple[int, str, str, Attributes]:
    tables.phase_log.put(fields, event)
    if event.error:
        tables.error_log.put(fields, event.error)
    info = PHASES.get(event.phase)
    if info is None:
        return INFO, event.reason or event.native, f"{event.run.source}.phase.{event.native or event.phase}", fields
    return info.severity, event.reason or event.native, f"otel_events.run.{event.phase}", fields
