"""The tables of attributes: each attribute that spans, span events and log records carry, as one row.

Whatever makes telemetry loops over these rows: ``span()`` and ``log()`` fill dicts from them, and the fast encoders of
``otlp/fast.py`` compile them to bytes. A new attribute is a new row; nothing else needs to change. The order of rows is
the order of attributes on the wire. ``docs/attributes.md`` is printed from the tables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

import msgspec

from otel_events.core.fold import RESERVED, Attempt
from otel_events.model.event import MOMENTS, PHASES, AnyEvent, Error, Log, PhaseChange, Report, Run, Scalar, Stat
from otel_events.model.telemetry import Attributes

NANO = 1_000_000_000
RUN_URL = "otel_events.run.url"
"""Attribute in which a source gives the address of a run; its span has it under the name of the conventions."""

NOT_ON_SPANS = frozenset((*RESERVED, MOMENTS, RUN_URL))
"""Attributes of events that do not go on the span: trace contexts, what becomes span events, the address of the run."""
NOT_ON_LOGS = frozenset((*RESERVED, MOMENTS))
"""The same for log records; these keep the address under the source's name."""

Subject = TypeVar("Subject")
Scope = Literal["definition", "change", "run", "event", "unusual"]


class NumberedRun(msgspec.Struct, gc=False):
    """Whose log record it is: a run and the number of its attempt."""

    run: Run
    attempt: int


class Row(msgspec.Struct, Generic[Subject], frozen=True):
    """One attribute."""

    name: str
    type: type[str] | type[int] | type[float] | type[bool]
    """Type of every value."""
    scope: Scope
    """What the value depends on, and so how long the fast encoders may use its bytes again:

    - ``definition``: on source, namespace, kind, workflow and name of the run; of spans also on outcome and native word
    - ``change``: on phase, native word and reason of a phase change
    - ``run``: on the run and the number of its attempt
    - ``event``: on anything else
    - ``unusual``: the value is None for all that the fast encoders take (see ``otlp/fast.py``), so they skip the row
    """
    value: Callable[[Subject], Scalar | None]
    """Reads the value; None leaves the attribute out."""
    about: str
    """For the printed page."""


class Table(Generic[Subject]):
    """Rows in the order of their attributes. Immutable.

    Example:
        >>> table = Table[Error](Row("exception.type", str, "event", lambda error: error.type or None, "its class"))
        >>> table.of(Error("ValueError")), table.of(Error(""))
        ({'exception.type': 'ValueError'}, {})
    """

    __slots__ = ("_values", "names", "rows")

    def __init__(self, *rows: Row[Subject]) -> None:
        """A table of these rows."""
        self.rows = rows
        self.names = frozenset(row.name for row in rows)
        self._values = tuple((row.name, row.value) for row in rows)

    def put(self, fields: Attributes, subject: Subject) -> None:
        """Add the attributes of ``subject`` to ``fields``; one that stands there already is replaced in its place.

        Args:
            fields: Attributes that a source gave; changed.
            subject: What the rows read.
        """
        for name, value in self._values:
            scalar = value(subject)
            if scalar is not None:
                fields[name] = scalar

    def of(self, subject: Subject) -> Attributes:
        """The attributes of ``subject`` alone."""
        fields: Attributes = {}
        self.put(fields, subject)
        return fields

    def plus(self, *rows: Row[Subject]) -> Table[Subject]:
        """A table with more rows at its end."""
        return Table(*self.rows, *rows)


def is_failure(outcome: str) -> bool:
    """Whether an outcome ("" for none) makes the status of its span ERROR."""
    return bool(outcome) and PHASES[outcome].error


def error_type(error: Error | None) -> str:
    """``error.type`` of an error; the conventions have ``_OTHER`` for one without a type."""
    return error.type if error and error.type else "_OTHER"


# Of spans. The subject is the attempt, with its settled outcome as ``outcome``.


def _result(attempt: Attempt) -> str | None:
    return PHASES[attempt.outcome].cicd if attempt.outcome else None


def _url(attempt: Attempt) -> Scalar | None:
    return attempt.attributes.get(RUN_URL) or None


def _queued_seconds(attempt: Attempt) -> float | None:
    until = attempt.first_running or (attempt.end if attempt.outcome else 0)
    return (until - attempt.start) / NANO if until else None


def _running_seconds(attempt: Attempt) -> float | None:
    return (attempt.end - attempt.first_running) / NANO if attempt.first_running else None


def _failure_type(attempt: Attempt) -> str | None:
    return error_type(attempt.error) if is_failure(attempt.outcome) else None


def _failure_kind(attempt: Attempt) -> str | None:
    return attempt.error.kind or None if attempt.error else None


_SPAN: tuple[Row[Attempt], ...] = (
    Row("otel_events.source", str, "definition", lambda attempt: attempt.run.source, "the source of the events"),
    Row("otel_events.kind", str, "definition", lambda attempt: attempt.run.kind, "`workflow`, `node` or `task`"),
    Row(
        "otel_events.namespace",
        str,
        "definition",
        lambda attempt: attempt.run.namespace or None,
        "the source's own division, such as project and domain; if it has one",
    ),
    Row("otel_events.run.id", str, "run", lambda attempt: attempt.run.id, "id of the run, as the source gives it"),
    Row("otel_events.attempt", int, "run", lambda attempt: attempt.run.attempt, "number of the attempt, from 1"),
    Row("otel_events.outcome", str, "definition", lambda attempt: attempt.outcome or None, "how it ended; if it did"),
    Row(
        "otel_events.phase.native",
        str,
        "definition",
        lambda attempt: attempt.native or None,
        "the source's own word for the last phase",
    ),
    Row(
        "otel_events.queue.duration",
        float,
        "event",
        _queued_seconds,
        "seconds from the first sign of the attempt to its first `running`; to its end if it never ran",
    ),
    Row("otel_events.run.duration", float, "event", _running_seconds, "seconds from first `running` to end; if it ran"),
    Row("error.type", str, "unusual", _failure_type, "type of the error, else `_OTHER`; if the outcome is a failure"),
    Row("otel_events.error.kind", str, "unusual", _failure_kind, "`user` or `system`; if the source says whose fault"),
    Row("otel_events.incomplete", bool, "unusual", lambda attempt: not attempt.outcome or None, "if it has no outcome"),
    Row("otel_events.clock_skew", bool, "unusual", lambda attempt: attempt.skewed or None, "if clocks disagree"),
)

WORKFLOW_SPAN: Table[Attempt] = Table(
    Row(
        "cicd.pipeline.name",
        str,
        "definition",
        lambda attempt: attempt.run.workflow or attempt.run.name or None,
        "name of the workflow",
    ),
    Row("cicd.pipeline.run.id", str, "run", lambda attempt: attempt.run.id, "id of the run"),
    Row("cicd.pipeline.action.name", str, "definition", lambda _: "RUN", "always `RUN`"),
    Row("cicd.pipeline.result", str, "definition", _result, "the CI/CD word of the outcome; if there is one"),
    Row("cicd.pipeline.run.url.full", str, "unusual", _url, f"address of the run; if the source gives `{RUN_URL}`"),
    *_SPAN,
)
"""Of the span of a workflow's attempt, after the attributes that its source gives."""

STEP_SPAN: Table[Attempt] = Table(
    Row("cicd.pipeline.name", str, "definition", lambda attempt: attempt.run.workflow or None, "name of the workflow"),
    Row("cicd.pipeline.run.id", str, "run", lambda attempt: attempt.run.root, "id of the root run"),
    Row("cicd.pipeline.task.name", str, "definition", lambda attempt: attempt.run.name or None, "name of the step"),
    Row("cicd.pipeline.task.run.id", str, "run", lambda attempt: attempt.run.id, "id of the run"),
    Row("cicd.pipeline.task.run.result", str, "definition", _result, "the CI/CD word of the outcome; if there is one"),
    Row(
        "cicd.pipeline.task.run.url.full", str, "unusual", _url, f"address of the run; if the source gives `{RUN_URL}`"
    ),
    *_SPAN,
)
"""Of the span of a node's or task's attempt, after the attributes that its source gives."""

# Of span events.

_EXCEPTION: tuple[Row[Error], ...] = (
    Row("exception.message", str, "event", lambda error: error.message or None, "message of the error; if it has one"),
    Row("exception.stacktrace", str, "event", lambda error: error.stack or None, "its stack; if the source gives it"),
)
_NATIVE: Row[PhaseChange] = Row(
    "otel_events.phase.native", str, "change", lambda change: change.native, "the source's own word for the phase"
)

PHASE_EVENT: Table[PhaseChange] = Table(
    _NATIVE, Row("otel_events.reason", str, "change", lambda change: change.reason or None, "why; if the source says")
)
"""Of the span event of a phase change."""

EXCEPTION_EVENT: Table[Error] = Table(
    Row("exception.type", str, "event", error_type, "type of the error, else `_OTHER`"), *_EXCEPTION
)
"""Of the span event ``exception``, at the end of an attempt whose outcome is a failure."""

REPORT: Table[Report] = Table(
    Row("otel_events.report.name", str, "event", lambda report: report.name, "name of the report"),
    Row("otel_events.report.media_type", str, "event", lambda report: report.media_type or None, "if it has one"),
    Row("otel_events.report.uri", str, "event", lambda report: report.uri or None, "where it is; if it has an address"),
    Row("otel_events.report.step", int, "event", lambda report: report.step, "the iteration that it is of; if any"),
)
"""Of a report: on its span event and on its log record."""

# Of log records.

PHASE_LOG: Table[PhaseChange] = Table(_NATIVE)
"""Of the log record of a phase change, after the attributes that its source gives."""

ERROR_LOG: Table[Error] = Table(
    Row("error.type", str, "event", error_type, "type of the error, else `_OTHER`"),
    Row("exception.type", str, "event", error_type, "the same"),
    Row("otel_events.error.kind", str, "event", lambda error: error.kind or None, "`user` or `system`; if known"),
    *_EXCEPTION,
)
"""Of the log record of a phase change with an error, after those of PHASE_LOG."""

LINE_LOG: Table[Log] = Table(
    Row("logger", str, "event", lambda line: line.logger or None, "name of the logger; if it has one")
)
"""Of any other log record of a source, after the attributes that its source gives."""

STAT_LOG: Table[Stat] = Table(
    Row("otel_events.stat.name", str, "event", lambda stat: stat.name, "name of the stat"),
    Row("otel_events.stat.value", float, "event", lambda stat: stat.value, "its value"),
)
"""Of the log record of a stat that came late; a stat in time is a metric and no log."""

_OWNER: tuple[Row[NumberedRun], ...] = (
    Row("otel_events.source", str, "definition", lambda owner: owner.run.source, "the source of the event"),
    Row(
        "otel_events.namespace",
        str,
        "definition",
        lambda owner: owner.run.namespace or None,
        "the source's own division, such as project and domain; if it has one",
    ),
)

RUN_LOG: Table[NumberedRun] = Table(
    *_OWNER,
    Row("otel_events.kind", str, "definition", lambda owner: owner.run.kind, "`workflow`, `node` or `task`"),
    Row("otel_events.run.id", str, "run", lambda owner: owner.run.id, "id of the run, as the source gives it"),
    Row("otel_events.attempt", int, "run", lambda owner: owner.attempt, "number of the attempt, from 1"),
    Row("cicd.pipeline.name", str, "definition", lambda owner: owner.run.workflow or None, "name of the workflow"),
    Row(
        "cicd.pipeline.task.name",
        str,
        "definition",
        lambda owner: (owner.run.name or None) if owner.run.kind != "workflow" else None,
        "name of the node or task; if it is of one",
    ),
)
"""Of every log record of a run, after those of its event: whose record it is."""

RESOURCE_LOG: Table[NumberedRun] = Table(
    *_OWNER, Row("otel_events.resource.id", str, "run", lambda owner: owner.run.root, "what the record is about")
)
"""Of every log record of no run, after those of its event."""

LATE_LOG: Table[AnyEvent] = Table(Row("otel_events.late", bool, "event", lambda _: True, "always true"))
"""Of the log record of an event that its source dated after the attempt's outcome, last."""


class Tables(msgspec.Struct, frozen=True):
    """All tables. What makes or encodes telemetry takes them as an argument, with ``TABLES`` as the default."""

    workflow_span: Table[Attempt] = WORKFLOW_SPAN
    step_span: Table[Attempt] = STEP_SPAN
    phase_event: Table[PhaseChange] = PHASE_EVENT
    exception_event: Table[Error] = EXCEPTION_EVENT
    report: Table[Report] = REPORT
    phase_log: Table[PhaseChange] = PHASE_LOG
    error_log: Table[Error] = ERROR_LOG
    line_log: Table[Log] = LINE_LOG
    stat_log: Table[Stat] = STAT_LOG
    run_log: Table[NumberedRun] = RUN_LOG
    resource_log: Table[NumberedRun] = RESOURCE_LOG
    late_log: Table[AnyEvent] = LATE_LOG


TABLES = Tables()
"""What otel_events sends."""

_SECTIONS: tuple[tuple[str, Table[Any]], ...] = (
    ("Span of a workflow", WORKFLOW_SPAN),
    ("Span of a node or task", STEP_SPAN),
    ("Span event of a phase change: `otel_events.run.{phase}`", PHASE_EVENT),
    ("Span event of a failure: `exception`", EXCEPTION_EVENT),
    ("Span event and log record of a report: `otel_events.report`", REPORT),
    ("Log record of a phase change: `otel_events.run.{phase}`", PHASE_LOG),
    ("Log record of a phase change with an error, besides", ERROR_LOG),
    ("Log record of anything else that a source says", LINE_LOG),
    ("Log record of a stat that came late: `otel_events.stat`", STAT_LOG),
    ("Every log record of a run, besides", RUN_LOG),
    ("Every log record of no run, besides", RESOURCE_LOG),
    ("Every log record that came late, besides", LATE_LOG),
)
_TYPES = {str: "string", int: "int", float: "double", bool: "boolean"}


def attributes_tables() -> str:
    """All tables as Markdown, for docs/attributes.md."""
    head = "| attribute | type | what it says |\n| --- | --- | --- |\n"
    return "\n".join(f"## {title}\n\n{head}{''.join(map(_line, table.rows))}" for title, table in _SECTIONS)


def _line(row: Row[Any]) -> str:
    return f"| `{row.name}` | {_TYPES[row.type]} | {row.about} |\n"
