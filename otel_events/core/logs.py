"""Events -> log records: each phase change as the OTel log event ``otel_events.run.{phase}``, and everything else that
a source tells as a log of its own. (Structlog's way in and out: structured.py.)
"""

from __future__ import annotations

from otel_events.core.fold import RESERVED
from otel_events.model.event import MOMENTS, PHASES, AnyEvent, Log, PhaseChange, Report, Run, Stat
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

LATE = "otel_events.late"
_OWN = frozenset((*RESERVED, MOMENTS))
"""Attributes that are no facts of the event: where it belongs, and what its span has as events."""


def severity_text(number: int) -> str:
    """Short name of a severity number, 1 to 24; "" outside."""
    return next((text for low, text in reversed(SEVERITIES) if low <= number <= 24), "")


def log(event: AnyEvent, trace: bytes, span: bytes, attempt: int, late: bool = False, full: bool = True) -> LogData:
    """The log record of an event, in the context of the attempt's span (b"" and b"" for an event of no run).

    ``full=False`` leaves the attributes of a phase change to the span, unless it has an error or is late: only the
    first change of an attempt need tell them at once, so that what is stuck can be found.
    """
    severity, body, name, fields = _content(event, full or late)
    fields |= identity(event.run, attempt)
    if late:
        fields[LATE] = True
    return LogData(event.time, event.time, severity, severity_text(severity), body, fields, trace, span, name)


def identity(run: Run, attempt: int) -> Attributes:
    """Attributes that say whose record it is, in every record of the attempt."""
    found: Attributes = {"otel_events.source": run.source}
    if run.namespace:
        found["otel_events.namespace"] = run.namespace
    if not run.id:
        return found | {"otel_events.resource.id": run.root}
    found |= {"otel_events.kind": run.kind, "otel_events.run.id": run.id, "otel_events.attempt": attempt}
    if run.workflow:
        found["cicd.pipeline.name"] = run.workflow
    if run.name and run.kind != "workflow":
        found["cicd.pipeline.task.name"] = run.name
    return found


def _content(event: AnyEvent, full: bool) -> tuple[int, str, str, Attributes]:
    """(severity, body, event name, attributes of its own)."""
    if not full and type(event) is PhaseChange and event.error is None and event.phase in PHASES:
        return _phase(event, {})
    fields = {key: value for key, value in event.attributes.items() if key not in _OWN}
    if isinstance(event, PhaseChange):
        return _phase(event, fields)
    if isinstance(event, Log):
        if event.logger:
            fields["logger"] = event.logger
        return event.severity, event.message, event.event_name, fields
    if isinstance(event, Report):
        return _report(event, fields)
    return _stat(event, fields)


def _phase(event: PhaseChange, fields: Attributes) -> tuple[int, str, str, Attributes]:
    info = PHASES.get(event.phase)
    fields["otel_events.phase.native"] = event.native
    if event.error:
        fields["error.type"] = fields["exception.type"] = event.error.type or "_OTHER"
        if event.error.kind:
            fields["otel_events.error.kind"] = event.error.kind
        if event.error.message:
            fields["exception.message"] = event.error.message
        if event.error.stack:
            fields["exception.stacktrace"] = event.error.stack
    if info is None:
        return 9, event.reason or event.native, f"{event.run.source}.phase.{event.native or event.phase}", fields
    return info.severity, event.reason or event.native, f"otel_events.run.{event.phase}", fields


def _report(event: Report, fields: Attributes) -> tuple[int, str, str, Attributes]:
    fields["otel_events.report.name"] = event.name
    if event.media_type:
        fields["otel_events.report.media_type"] = event.media_type
    if event.uri:
        fields["otel_events.report.uri"] = event.uri
    if event.step is not None:
        fields["otel_events.report.step"] = event.step
    return 9, event.name, "otel_events.report", fields


def _stat(event: Stat, fields: Attributes) -> tuple[int, str, str, Attributes]:
    """Only for a stat that came late: the others are metrics and no logs."""
    fields["otel_events.stat.name"] = event.name
    fields["otel_events.stat.value"] = event.value
    return 9, f"{event.name} = {event.value}", "otel_events.stat", fields
