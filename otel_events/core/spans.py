"""One attempt -> one span: names, kinds and attributes of section 5 of the design, events, links and status.

Semantic conventions: ``cicd.*`` (release candidate, v1.44.0), ``error.type``, ``exception.*``; ours under
``otel_events.*``; a source's own attributes come through unchanged.
"""

from __future__ import annotations

import msgspec

from otel_events.core.fold import INTERNAL, RESERVED, Attempt
from otel_events.model import telemetry
from otel_events.model.event import MOMENTS, PHASES, Link, PhaseChange, Report, Run
from otel_events.model.identity import is_sampled, parse_traceparent, span_id, trace_id
from otel_events.model.telemetry import Attributes, SpanData, SpanEvent, SpanLink

NANO = 1_000_000_000
MOMENTS_LIMIT = 128
"""Of one phase change: as many events as the SDK lets a span have."""


class Context(msgspec.Struct, frozen=True, gc=False):
    """Where an attempt stands in its trace. ``foreign``: we do not send this span: the source's own SDK does, or
    it is of the source's own machinery."""

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes = b""
    foreign: bool = False


def context(run: Run, attributes: Attributes, parent_span_id: bytes = b"") -> Context:
    """Context of an attempt from its natural key; a trace context that its source carries wins (law 2): the run's own
    entirely, the caller's for trace and parent. One that is not sampled is the context of a span that nobody sends."""
    own = _told(attributes, "traceparent")
    if own:
        return Context(own[0], own[1], parent_span_id, foreign=True)
    span = span_id(run.source, run.namespace, run.id, run.attempt, run.kind)
    if attributes.get(INTERNAL):
        return Context(trace_id(run.source, run.namespace, run.root), span, parent_span_id, foreign=True)
    outer = _told(attributes, "otel_events.parent.traceparent")
    if outer:
        return Context(outer[0], span, outer[1])
    return Context(trace_id(run.source, run.namespace, run.root), span, parent_span_id)


def _told(attributes: Attributes, key: str) -> tuple[bytes, bytes] | None:
    text = attributes.get(key)
    found = parse_traceparent(text) if isinstance(text, str) else None
    return found if found and is_sampled(str(text)) else None


def derived_parent(run: Run, attempt: int = 1) -> bytes:
    """Span id of the parent by its natural key alone; b"" for a root."""
    if run.parent and run.parent != run.id:
        kind = run.parent_kind or "workflow"
        return span_id(run.source, run.namespace, run.parent, attempt, kind)
    if run.id != run.root:
        return span_id(run.source, run.namespace, run.root, attempt, "workflow")
    return b""


def span(attempt: Attempt, where: Context, outcome: str, previous: Context | None = None) -> SpanData:
    """The span of a closed attempt. ``outcome`` is the settled one, "" for incomplete; ``previous``: attempt n-1's."""
    run = attempt.run
    root = run.kind == "workflow" and run.id == run.root
    status, message = _status(attempt, outcome)
    return SpanData(
        trace_id=where.trace_id,
        span_id=where.span_id,
        parent_span_id=where.parent_span_id,
        name=_name(run),
        kind=telemetry.SERVER if root else telemetry.INTERNAL,
        start=attempt.start,
        end=max(attempt.start, attempt.end),
        attributes=_attributes(attempt, outcome),
        events=_events(attempt, outcome),
        links=_links(attempt, previous),
        status=status,
        status_message=message,
    )


def _name(run: Run) -> str:
    if run.kind == "workflow":
        return f"RUN {run.workflow or run.name}".rstrip()
    return run.name or run.kind


def _status(attempt: Attempt, outcome: str) -> tuple[int, str]:
    if outcome and PHASES[outcome].error:
        return telemetry.ERROR, attempt.error.message if attempt.error else ""
    return telemetry.UNSET, ""


def _attributes(attempt: Attempt, outcome: str) -> Attributes:
    run = attempt.run
    found = attempt.attributes.copy()
    for key in (*RESERVED, MOMENTS):
        found.pop(key, None)
    url = found.pop("otel_events.run.url", None)
    if run.kind == "workflow":
        _put(found, "cicd.pipeline.name", run.workflow or run.name)
        found["cicd.pipeline.run.id"] = run.id
        found["cicd.pipeline.action.name"] = "RUN"
        result, address = "cicd.pipeline.result", "cicd.pipeline.run.url.full"
    else:
        _put(found, "cicd.pipeline.name", run.workflow)
        found["cicd.pipeline.run.id"] = run.root
        _put(found, "cicd.pipeline.task.name", run.name)
        found["cicd.pipeline.task.run.id"] = run.id
        result, address = "cicd.pipeline.task.run.result", "cicd.pipeline.task.run.url.full"
    if outcome:
        found[result] = PHASES[outcome].cicd
    if url:
        found[address] = url
    _ours(found, attempt, outcome)
    return found


def _ours(found: Attributes, attempt: Attempt, outcome: str) -> None:
    run = attempt.run
    found["otel_events.source"] = run.source
    found["otel_events.kind"] = run.kind
    _put(found, "otel_events.namespace", run.namespace)
    found["otel_events.run.id"] = run.id
    found["otel_events.attempt"] = run.attempt
    _put(found, "otel_events.outcome", outcome)
    _put(found, "otel_events.phase.native", attempt.native)
    queued_until = attempt.first_running or (attempt.end if outcome else 0)
    if queued_until:
        found["otel_events.queue.duration"] = (queued_until - attempt.start) / NANO
    if attempt.first_running:
        found["otel_events.run.duration"] = (attempt.end - attempt.first_running) / NANO
    if outcome and PHASES[outcome].error:
        found["error.type"] = attempt.error.type if attempt.error and attempt.error.type else "_OTHER"
    if attempt.error:
        _put(found, "otel_events.error.kind", attempt.error.kind)
    if not outcome:
        found["otel_events.incomplete"] = True
    if attempt.skewed:
        found["otel_events.clock_skew"] = True


def _put(found: Attributes, key: str, value: str) -> None:
    if value:
        found[key] = value


def _events(attempt: Attempt, outcome: str) -> list[SpanEvent]:
    made = [_phase_event(change, outcome) for change in attempt.phases]
    made.extend(_report_event(report) for report in attempt.reports)
    made.extend(moment for change in attempt.phases if MOMENTS in change.attributes for moment in _moments(change))
    if attempt.error and outcome and PHASES[outcome].error:
        error = attempt.error
        fields: Attributes = {"exception.type": error.type or "_OTHER"}
        _put(fields, "exception.message", error.message)
        _put(fields, "exception.stacktrace", error.stack)
        made.append(SpanEvent(attempt.end, "exception", fields))
    return made


def _phase_event(change: PhaseChange, outcome: str) -> SpanEvent:
    phase = outcome if outcome and PHASES[change.phase].outcome else change.phase
    fields: Attributes = {"otel_events.phase.native": change.native}
    if change.reason:
        fields["otel_events.reason"] = change.reason
    return SpanEvent(change.time, f"otel_events.run.{phase}", fields)


def _report_event(report: Report) -> SpanEvent:
    fields: Attributes = {"otel_events.report.name": report.name}
    _put(fields, "otel_events.report.media_type", report.media_type)
    _put(fields, "otel_events.report.uri", report.uri)
    if report.step is not None:
        fields["otel_events.report.step"] = report.step
    return SpanEvent(report.time, "otel_events.report", fields)


def _moments(change: PhaseChange) -> list[SpanEvent]:
    """What else happened in the attempt, as its source wrote it down; none of what cannot be read."""
    try:
        told = msgspec.json.decode(str(change.attributes[MOMENTS]), type=list[tuple[str, int, Attributes]])
    except (msgspec.DecodeError, RecursionError):
        return []
    return [SpanEvent(time, name, fields) for name, time, fields in told[:MOMENTS_LIMIT] if 0 < time < 2**63]


def _links(attempt: Attempt, previous: Context | None) -> list[SpanLink]:
    made: list[SpanLink] = []
    if previous:
        made.append(SpanLink(previous.trace_id, previous.span_id, {"otel_events.link": "retries"}))
    made.extend(_link(attempt.run, link) for link in attempt.links)
    return made


def _link(run: Run, link: Link) -> SpanLink:
    source = link.source or run.source
    namespace = run.namespace if link.namespace is None else link.namespace
    fields: Attributes = {"otel_events.link": link.relation, "otel_events.link.run.id": link.id}
    return SpanLink(
        trace_id(source, namespace, link.root), span_id(source, namespace, link.id, link.attempt, link.kind), fields
    )
