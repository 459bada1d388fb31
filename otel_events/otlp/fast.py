"""Fast encoders for common log records and spans.

Each gives the same bytes as the general way, ``encode_log(log(...))`` and ``encode_span(span(...))``, from the same
tables of attributes; a property test compares them. They skip the structs and dicts in between and keep the bytes of
what repeats: of definitions, of phase changes, of attempts. Anything unusual (an error, a link, a retry, a name of ours
that a source uses) goes the general way.
"""

from __future__ import annotations

from struct import Struct
from typing import TypeVar

from otel_events.core.attributes import NOT_ON_LOGS, NOT_ON_SPANS, TABLES, NumberedRun, Tables
from otel_events.core.fold import Attempt
from otel_events.core.logs import log, severity_text
from otel_events.core.spans import Context, span
from otel_events.model.event import OUTCOMES, PHASES, AnyEvent, PhaseChange, Report, Run
from otel_events.model.telemetry import INTERNAL
from otel_events.otlp.compiled import CompiledTable, Template
from otel_events.otlp.encode import IN_TRACE, UNSET_STATUS, encode_log, encode_span, span_event
from otel_events.otlp.wire import ATTRIBUTES, BODY, EVENT, LOG, NAMES, SPAN, attributes, varint

CACHED = 16_384
"""Entries of each cache; a full one is emptied."""

_REPORT_SEVERITY = b"\x10\x09" + NAMES[0x1A]["INFO"]
_REPORT_NAME = NAMES[0x62]["otel_events.report"]

_time = Struct("<BQ").pack
_times = Struct("<BQBQ").pack
_nanoseconds = Struct("<Q").pack
_GOOD = frozenset(outcome for outcome in OUTCOMES if not PHASES[outcome].error)
_TOP = 1 << 63
"""Times at or above this, and at or below 0, go the general way, which clamps or leaves them out."""

K = TypeVar("K")
V = TypeVar("V")


def _cache(table: dict[K, V], key: K, value: V) -> V:
    if len(table) >= CACHED:
        table.clear()
    table[key] = value
    return value


class Logs:
    """Log records of phase changes and reports.

    A record is made of parts that repeat: those of the change (phase, native word, reason) come again in every run,
    those of the attempt (its identity and context) in each of its phases.
    """

    def __init__(self, tables: Tables = TABLES) -> None:
        """Compile the tables whose attributes the records have."""
        self._tables = tables
        self._phase = CompiledTable(tables.phase_log, LOG, "change")
        self._report = CompiledTable(tables.report, LOG)
        self._owner = CompiledTable(tables.run_log, LOG, "definition")
        self._phase_names = NOT_ON_LOGS | tables.run_log.names | tables.phase_log.names
        self._report_names = NOT_ON_LOGS | tables.run_log.names | tables.report.names
        self._changes: dict[tuple[str, str, str], tuple[bytes, bytes, bytes]] = {}
        # By the identity of the Run object, which the entry keeps alive: hashing one costs more than all the rest.
        self._attempts: dict[tuple[int, int], tuple[Run, bytes, bytes, bytes]] = {}
        self._definitions: dict[tuple[str, ...], Template] = {}

    def record(self, event: AnyEvent, where: Context, attempt: int, first: bool, late: bool) -> bytes:
        """The encoded log record of an event.

        Args:
            event: Any event.
            where: Context of its attempt.
            attempt: Number of its attempt.
            first: Whether it is the first phase change of its attempt, which carries all attributes of the source.
            late: Whether the source dated it after the attempt's outcome.

        Returns:
            Body of a LogRecord.
        """
        if not late and event.run.id:
            if type(event) is PhaseChange:
                return self._phase_record(event, where, attempt, first)
            if type(event) is Report:
                return self._report_record(event, where, attempt)
        return encode_log(log(event, where.trace_id, where.span_id, attempt, late, tables=self._tables))

    def _phase_record(self, event: PhaseChange, where: Context, attempt: int, first: bool) -> bytes:
        time, own = event.time, event.attributes
        usual = event.error is None and event.phase in PHASES and 0 < time < _TOP
        if not usual or (first and not self._phase_names.isdisjoint(own)):
            return encode_log(log(event, where.trace_id, where.span_id, attempt, full=first, tables=self._tables))
        before, fields, name = self._changes.get((event.phase, event.native, event.reason)) or self._change(event)
        if first:
            before += attributes(LOG, own)
        about = self._about(event.run, attempt, where)
        return b"".join((_time(0x09, time), before, fields, about, _time(0x59, time), name))

    def _report_record(self, event: Report, where: Context, attempt: int) -> bytes:
        time, own = event.time, event.attributes
        if not 0 < time < _TOP or not self._report_names.isdisjoint(own):
            return encode_log(log(event, where.trace_id, where.span_id, attempt, tables=self._tables))
        fields = attributes(LOG, own) + self._report.encode(event)
        about = self._about(event.run, attempt, where)
        parts = (_time(0x09, time), _REPORT_SEVERITY, BODY[event.name], fields, about, _time(0x59, time), _REPORT_NAME)
        return b"".join(parts)

    def _about(self, run: Run, attempt: int, where: Context) -> bytes:
        """Whose record it is, and the ids of its span."""
        entry = self._attempts.get((id(run), attempt))
        if entry is None or entry[0] is not run or entry[1] != where.span_id or entry[2] != where.trace_id:
            fields = self._owner.fill(self._definition(run), NumberedRun(run, attempt))
            about = b"".join((*fields, IN_TRACE, where.trace_id, b"\x52\x08", where.span_id))
            entry = _cache(self._attempts, (id(run), attempt), (run, where.span_id, where.trace_id, about))
        return entry[3]

    def _definition(self, run: Run) -> Template:
        key = (run.source, run.namespace, run.kind, run.workflow, run.name)
        template = self._definitions.get(key)
        if template is None:
            template = _cache(self._definitions, key, self._owner.template(NumberedRun(run, 0)))
        return template

    def _change(self, event: PhaseChange) -> tuple[bytes, bytes, bytes]:
        """(severity and body, attributes, name of the event)."""
        info = PHASES[event.phase]
        severity = bytes((0x10, info.severity)) + NAMES[0x1A][severity_text(info.severity)]
        before, name = severity + BODY[event.reason or event.native], NAMES[0x62][f"otel_events.run.{event.phase}"]
        key = (event.phase, event.native, event.reason)
        parts = before, self._phase.encode(event), name
        return _cache(self._changes, key, parts) if self._phase.is_constant else parts


class Spans:
    """Spans of node and task attempts that went well.

    The bytes of the definition and of each phase change are kept; ids, times and the source's own attributes are new
    in each span.
    """

    def __init__(self, tables: Tables = TABLES) -> None:
        """Compile the tables whose attributes the spans and their events have."""
        self._tables = tables
        self._rows = CompiledTable(tables.step_span, SPAN, "definition")
        self._phase = CompiledTable(tables.phase_event, EVENT, "change")
        self._report = CompiledTable(tables.report, EVENT)
        self._names = NOT_ON_SPANS | tables.step_span.names
        self._definitions: dict[tuple[str, ...], tuple[bytes, Template]] = {}
        self._changes: dict[tuple[str, str, str], tuple[bytes, bytes]] = {}

    def encode(self, attempt: Attempt, where: Context, outcome: str, previous: Context | None) -> bytes:
        """The encoded span of a closed attempt.

        Args:
            attempt: The attempt, as the fold has it.
            where: Its place in its trace.
            outcome: The settled outcome; "" for an incomplete attempt.
            previous: Context of the attempt before this one.

        Returns:
            Body of a Span, as ``encode_span(span(...))`` gives it.
        """
        run, own = attempt.run, attempt.attributes
        usual = not (previous or attempt.links or attempt.error or attempt.skewed) and outcome == attempt.outcome
        usual = usual and outcome in _GOOD and run.kind != "workflow" and 0 < attempt.start <= attempt.end < _TOP
        if not usual or not self._names.isdisjoint(own):
            return encode_span(span(attempt, where, outcome, previous, self._tables))
        types = ATTRIBUTES[SPAN]
        key = (run.source, run.kind, run.namespace, run.workflow, run.name, outcome, attempt.native)
        head, template = self._definitions.get(key) or self._definition(key, attempt)
        parts = [b"\x0a\x10", where.trace_id, b"\x12\x08", where.span_id]
        if where.parent_span_id:
            parts += b"\x22\x08", where.parent_span_id
        parts += head, _times(0x39, attempt.start, 0x41, attempt.end)
        parts += [types[type(value)][name][value] for name, value in own.items()]
        parts += self._rows.fill(template, attempt)
        for change in attempt.phases:
            before, after = self._changes.get((change.phase, change.native, change.reason)) or self._change(change)
            parts += before, _nanoseconds(change.time), after
        if attempt.reports:
            parts += map(self._report_event, attempt.reports)
        parts.append(UNSET_STATUS)
        return b"".join(parts)

    def _definition(self, key: tuple[str, ...], attempt: Attempt) -> tuple[bytes, Template]:
        """(name and kind, attributes)."""
        head = NAMES[0x2A][attempt.run.name or attempt.run.kind] + b"\x30" + varint(INTERNAL)
        return _cache(self._definitions, key, (head, self._rows.template(attempt)))

    def _change(self, change: PhaseChange) -> tuple[bytes, bytes]:
        """(what stands before the time of a span event, what after it)."""
        after = NAMES[0x12][f"otel_events.run.{change.phase}"] + self._phase.encode(change)
        halves = b"\x5a" + varint(9 + len(after)) + b"\x09", after
        key = (change.phase, change.native, change.reason)
        return _cache(self._changes, key, halves) if self._phase.is_constant else halves

    def _report_event(self, report: Report) -> bytes:
        return span_event(report.time, "otel_events.report", self._report.encode(report))
