"""What there is most of, straight to bytes: the log record of a phase change, and the span of a plain attempt.

Each equals, byte for byte, what the general way gives (``encode_log(log(...))``, ``encode_span(span(...))`` of what
``attempts`` folds): a property test holds it. They spare the structs and dicts in between and keep the bytes of what
comes again and again. What is not plain takes the general way.
"""

from __future__ import annotations

from struct import Struct
from typing import TypeVar

from otel_events.core.fold import RESERVED, Attempt
from otel_events.core.logs import identity, log, severity_text
from otel_events.core.spans import NANO, Context, span
from otel_events.model.event import MOMENTS, PHASES, AnyEvent, PhaseChange, Report, Run
from otel_events.model.telemetry import INTERNAL, Attributes
from otel_events.otlp import attributes, encode_log, encode_span, span_event
from otel_events.otlp.wire import ATTRIBUTES, BODY, EVENT, LOG, NAMES, SPAN, varint

KEPT = 16_384
"""Entries of each table; one that is full is emptied."""

_IN_TRACE = b"\x45\x01\x00\x00\x00\x4a\x10"
"""Flags of a log record (sampled) and what stands before its trace id."""
_UNSET = b"\x7a\x00\x85\x01\x00\x01\x00\x00"
"""Status UNSET, and the flags of a span as the SDK sets them."""
_REPORT = b"\x10\x09" + NAMES[0x1A]["INFO"]
_REPORT_NAME = NAMES[0x62]["otel_events.report"]

_time = Struct("<BQ").pack
_times = Struct("<BQBQ").pack
_nanoseconds = Struct("<Q").pack
_TOP = 1 << 63

K = TypeVar("K")
V = TypeVar("V")


def _keep(table: dict[K, V], key: K, value: V) -> V:
    if len(table) >= KEPT:
        table.clear()
    table[key] = value
    return value


class Logs:
    """Log records of phase changes and reports. Between two times stand the parts of the change (phase, native word,
    reason), which come again in every run, and of the attempt (its identity and context), which come again in each of
    its phases."""

    def __init__(self) -> None:
        self._changes: dict[tuple[str, str, str], tuple[bytes, bytes, bytes]] = {}
        # By the identity of the Run object, which the entry keeps alive: hashing one costs more than all the rest.
        self._attempts: dict[tuple[int, int], tuple[Run, bytes, bytes, bytes]] = {}
        self._definitions: dict[tuple[str, ...], tuple[bytes, bytes]] = {}

    def record(self, event: AnyEvent, where: Context, attempt: int, first: bool, late: bool) -> bytes:
        """The record of any event, in the context of its attempt."""
        if type(event) is PhaseChange and not late and event.run.id:
            return self.encode(event, where.trace_id, where.span_id, attempt, first)
        if type(event) is Report and not late and event.run.id:
            return self.report(event, where.trace_id, where.span_id, attempt)
        return encode_log(log(event, where.trace_id, where.span_id, attempt, late))

    def encode(self, event: PhaseChange, trace: bytes, span_id: bytes, attempt: int, first: bool) -> bytes:
        """The record of a change that is in time. ``first``: the first of its attempt, which tells all attributes."""
        time, own = event.time, event.attributes
        if event.error is not None or event.phase not in PHASES or not 0 < time < _TOP:
            return encode_log(log(event, trace, span_id, attempt, full=first))
        if first and not _TAKEN.isdisjoint(own):
            return encode_log(log(event, trace, span_id, attempt))
        before, native, name = self._changes.get((event.phase, event.native, event.reason)) or self._change(event)
        if first:
            before += attributes(LOG, own)
        about = self._about(event.run, attempt, trace, span_id)
        return b"".join((_time(0x09, time), before, native, about, _time(0x59, time), name))

    def report(self, event: Report, trace: bytes, span_id: bytes, attempt: int) -> bytes:
        """The record of a report that is in time."""
        time, own = event.time, event.attributes
        if not 0 < time < _TOP or not _TAKEN.isdisjoint(own):
            return encode_log(log(event, trace, span_id, attempt))
        found = attributes(LOG, own) + attributes(LOG, _report_fields(event))
        about = self._about(event.run, attempt, trace, span_id)
        return b"".join((_time(0x09, time), _REPORT, BODY[event.name], found, about, _time(0x59, time), _REPORT_NAME))

    def _about(self, run: Run, attempt: int, trace: bytes, span_id: bytes) -> bytes:
        kept = self._attempts.get((id(run), attempt))
        if kept is None or kept[0] is not run or kept[1] != span_id or kept[2] != trace:
            texts, numbers = ATTRIBUTES[LOG][str], ATTRIBUTES[LOG][int]
            before, after = self._definition(run)
            made = b"".join(
                (
                    before,
                    texts["otel_events.run.id"][run.id],
                    numbers["otel_events.attempt"][attempt],
                    after,
                    _IN_TRACE,
                    trace,
                    b"\x52\x08",
                    span_id,
                )
            )
            kept = _keep(self._attempts, (id(run), attempt), (run, span_id, trace, made))
        return kept[3]

    def _definition(self, run: Run) -> tuple[bytes, bytes]:
        """What ``identity`` gives before, and after, the run's id and attempt."""
        key = (run.source, run.namespace, run.kind, run.workflow, run.name)
        kept = self._definitions.get(key)
        if kept is None:
            found = [attributes(LOG, {name: value}) for name, value in identity(run, 0).items()]
            at = list(identity(run, 0)).index("otel_events.run.id")
            kept = _keep(self._definitions, key, (b"".join(found[:at]), b"".join(found[at + 2 :])))
        return kept

    def _change(self, event: PhaseChange) -> tuple[bytes, bytes, bytes]:
        info = PHASES[event.phase]
        severity = bytes((0x10, info.severity)) + NAMES[0x1A][severity_text(info.severity)]
        native = attributes(LOG, {"otel_events.phase.native": event.native})
        made = severity + BODY[event.reason or event.native], native, NAMES[0x62][f"otel_events.run.{event.phase}"]
        return _keep(self._changes, (event.phase, event.native, event.reason), made)


class Spans:
    """Spans of node and task attempts that went well: the parts of the definition, and of each change of phase, are
    kept; ids, times and the source's own attributes are what is new in each."""

    def __init__(self) -> None:
        self._definitions: dict[tuple[str, ...], tuple[bytes, ...]] = {}
        self._changes: dict[tuple[str, str, str], tuple[bytes, bytes]] = {}

    def encode(self, attempt: Attempt, where: Context, outcome: str, previous: Context | None) -> bytes:
        """``encode_span(span(...))`` of the same."""
        run = attempt.run
        plain = not (previous or attempt.links or attempt.error or attempt.skewed) and outcome == attempt.outcome
        if not (plain and outcome and run.kind != "workflow" and 0 < attempt.start <= attempt.end < _TOP):
            return encode_span(span(attempt, where, outcome, previous))
        if not _TAKEN.isdisjoint(attempt.attributes) or PHASES[outcome].error:
            return encode_span(span(attempt, where, outcome, previous))
        head, pipeline, name, result, native = self._definition(run, outcome, attempt.native)
        types = ATTRIBUTES[SPAN]
        texts, numbers = types[str], types[int]
        parts = [b"\x0a\x10", where.trace_id, b"\x12\x08", where.span_id, b"\x22\x08", where.parent_span_id, head]
        if not where.parent_span_id:
            del parts[4:6]
        parts.append(_times(0x39, attempt.start, 0x41, attempt.end))
        parts += [types[type(value)][key][value] for key, value in attempt.attributes.items()]
        queued = ((attempt.first_running or attempt.end) - attempt.start) / NANO
        parts += (
            pipeline,
            texts["cicd.pipeline.run.id"][run.root],
            name,
            texts["cicd.pipeline.task.run.id"][run.id],
            result,
            texts["otel_events.run.id"][run.id],
            numbers["otel_events.attempt"][run.attempt],
            native,
            types[float]["otel_events.queue.duration"][queued],
        )
        if attempt.first_running:
            ran = (attempt.end - attempt.first_running) / NANO
            parts.append(types[float]["otel_events.run.duration"][ran])
        for change in attempt.phases:
            start, end = self._changes.get((change.phase, change.native, change.reason)) or self._change(change)
            parts += (start, _nanoseconds(change.time), end)
        if attempt.reports:
            parts += [_report(report) for report in attempt.reports]
        parts.append(_UNSET)
        return b"".join(parts)

    def _definition(self, run: Run, outcome: str, native: str) -> tuple[bytes, ...]:
        """Name and kind, and the attributes that all attempts of a definition share, in the four places they stand."""
        key = (run.source, run.kind, run.namespace, run.workflow, run.name, outcome, native)
        kept = self._definitions.get(key)
        if kept is not None:
            return kept
        groups: tuple[Attributes, ...] = (
            {"cicd.pipeline.name": run.workflow},
            {"cicd.pipeline.task.name": run.name},
            {
                "cicd.pipeline.task.run.result": PHASES[outcome].cicd,
                "otel_events.source": run.source,
                "otel_events.kind": run.kind,
                "otel_events.namespace": run.namespace,
            },
            {"otel_events.outcome": outcome, "otel_events.phase.native": native},
        )
        told = [attributes(SPAN, {name: text for name, text in group.items() if text}) for group in groups]
        head = NAMES[0x2A][run.name or run.kind] + b"\x30" + varint(INTERNAL)
        return _keep(self._definitions, key, (head, *told))

    def _change(self, change: PhaseChange) -> tuple[bytes, bytes]:
        """(what stands before the time of a span event, what after it)."""
        found = {"otel_events.phase.native": change.native}
        if change.reason:
            found["otel_events.reason"] = change.reason
        tail = NAMES[0x12][f"otel_events.run.{change.phase}"] + attributes(EVENT, found)
        head = b"\x5a" + varint(9 + len(tail)) + b"\x09"
        return _keep(self._changes, (change.phase, change.native, change.reason), (head, tail))


_TAKEN = frozenset(
    (
        *RESERVED,
        MOMENTS,
        *("otel_events.run.url", "cicd.pipeline.name", "cicd.pipeline.run.id", "cicd.pipeline.task.name"),
        *("cicd.pipeline.task.run.id", "cicd.pipeline.task.run.result", "otel_events.source", "otel_events.kind"),
        *("otel_events.namespace", "otel_events.run.id", "otel_events.attempt", "otel_events.outcome"),
        *("otel_events.phase.native", "otel_events.queue.duration", "otel_events.run.duration", "error.type"),
        *("otel_events.report.name", "otel_events.report.media_type", "otel_events.report.uri"),
        *("otel_events.report.step", "otel_events.resource.id"),
    )
)
"""Names that we give ourselves: a source that tells one of them takes the general way, where ours win."""


def _report_fields(report: Report) -> Attributes:
    found: Attributes = {"otel_events.report.name": report.name}
    if report.media_type:
        found["otel_events.report.media_type"] = report.media_type
    if report.uri:
        found["otel_events.report.uri"] = report.uri
    if report.step is not None:
        found["otel_events.report.step"] = report.step
    return found


def _report(report: Report) -> bytes:
    return span_event(report.time, "otel_events.report", attributes(EVENT, _report_fields(report)))
