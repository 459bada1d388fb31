"""One attempt becomes one span: ids, name, kind, attributes, events, links and status.

Attributes come from the tables of attributes.py. They follow the semantic conventions (``cicd.*``, release candidate,
v1.44.0; ``error.type``; ``exception.*``); ours are under ``otel_events.*``; a source's own are sent unchanged.
"""

from __future__ import annotations

import msgspec

from otel_events.core.attributes import NANO, NOT_ON_SPANS, TABLES, Tables, is_failure
from otel_events.core.fold import Attempt
from otel_events.model import telemetry
from otel_events.model.event import INTERNAL, MOMENTS, PHASES, Link, PhaseChange, Run
from otel_events.model.identity import is_sampled, parse_traceparent, span_id, trace_id
from otel_events.model.telemetry import Attributes, SpanData, SpanEvent, SpanLink

__all__ = ["NANO", "NOWHERE", "Context", "context", "derived_parent", "span"]

MOMENTS_LIMIT = 128
"""Span events from the moments of one phase change, at most: as many as the SDK lets a span have."""


class Context(msgspec.Struct, frozen=True, gc=False):
    """Where an attempt stands in its trace."""

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes = b""
    """b"" for a root."""
    foreign: bool = False
    """We do not send this span: the SDK of the source sends it, or it is of the source's own machinery."""


NOWHERE = Context(b"", b"")
"""The context of what belongs to no run."""


def context(run: Run, attributes: Attributes, parent_span_id: bytes = b"") -> Context:
    """The context of an attempt, from its natural key and the trace contexts that its source carries (law 2).

    A trace context of the run itself wins in full; one of its caller decides trace and parent. One that is not sampled
    is passed over: it is the context of a span that nobody sends.

    Args:
        run: Whose attempt it is; ``attempt`` is its number.
        attributes: What its events say of it.
        parent_span_id: Span id of its parent, where no trace context names another one.

    Returns:
        The ids of its span.
    """
    carried = _sampled_context(attributes, "traceparent")
    if carried:
        return Context(carried[0], carried[1], parent_span_id, foreign=True)
    span = span_id(run.source, run.namespace, run.id, run.attempt, run.kind)
    if attributes.get(INTERNAL):
        return Context(trace_id(run.source, run.namespace, run.root), span, parent_span_id, foreign=True)
    caller = _sampled_context(attributes, "otel_events.parent.traceparent")
    if caller:
        return Context(caller[0], span, caller[1])
    return Context(trace_id(run.source, run.namespace, run.root), span, parent_span_id)


def _sampled_context(attributes: Attributes, key: str) -> tuple[bytes, bytes] | None:
    """(trace id, span id) of the ``traceparent`` under that key; None where there is none that is sampled."""
    text = attributes.get(key)
    ids = parse_traceparent(text) if isinstance(text, str) else None
    return ids if ids and is_sampled(str(text)) else None


def derived_parent(run: Run, attempt: int = 1) -> bytes:
    """Span id of the parent, from its natural key alone.

    Args:
        run: The run below.
        attempt: Number of the parent's attempt.

    Returns:
        The id; b"" for a root.
    """
    if run.parent and run.parent != run.id:
        kind = run.parent_kind or "workflow"
        return span_id(run.source, run.namespace, run.parent, attempt, kind)
    if run.id != run.root:
        return span_id(run.source, run.namespace, run.root, attempt, "workflow")
    return b""


def span(
    attempt: Attempt, where: Context, outcome: str, previous: Context | None = None, tables: Tables = TABLES
) -> SpanData:
    """The span of a closed attempt.

    Args:
        attempt: The attempt, as the fold has it.
        where: Its place in its trace.
        outcome: The settled outcome; "" for an incomplete attempt.
        previous: Context of the attempt before this one; becomes a link.
        tables: Which attributes it has.

    Returns:
        The span, ready to be encoded.

    Example:
        >>> from otel_events.core.fold import attempts
        >>> from otel_events.model.event import PhaseChange, Run
        >>> run = Run("toy", "task", "r/t", "train", "r")
        >>> [ended] = attempts([PhaseChange(id="e", time=1, run=run, phase="succeeded", native="SUCCEEDED")])
        >>> span(ended, context(run, {}), "succeeded").attributes["cicd.pipeline.task.run.result"]
        'success'
    """
    run = attempt.run
    status, message = _status(attempt, outcome)
    return SpanData(
        trace_id=where.trace_id,
        span_id=where.span_id,
        parent_span_id=where.parent_span_id,
        name=_name(run),
        kind=telemetry.SERVER if run.kind == "workflow" and run.id == run.root else telemetry.INTERNAL,
        start=attempt.start,
        end=max(attempt.start, attempt.end),
        attributes=_attributes(attempt, outcome, tables),
        events=_events(attempt, outcome, tables),
        links=_links(attempt, previous),
        status=status,
        status_message=message,
    )


def _name(run: Run) -> str:
    if run.kind == "workflow":
        return f"RUN {run.workflow or run.name}".rstrip()
    return run.name or run.kind


def _status(attempt: Attempt, outcome: str) -> tuple[int, str]:
    if is_failure(outcome):
        return telemetry.ERROR, attempt.error.message if attempt.error else ""
    return telemetry.UNSET, ""


def _attributes(attempt: Attempt, outcome: str, tables: Tables) -> Attributes:
    """The source's own first, then those of the table, which win over a source that uses one of their names."""
    fields = attempt.attributes.copy()
    for key in NOT_ON_SPANS:
        fields.pop(key, None)
    settled = attempt if outcome == attempt.outcome else msgspec.structs.replace(attempt, outcome=outcome)
    (tables.workflow_span if attempt.run.kind == "workflow" else tables.step_span).put(fields, settled)
    return fields


def _events(attempt: Attempt, outcome: str, tables: Tables) -> list[SpanEvent]:
    events = [_phase_event(change, outcome, tables) for change in attempt.phases]
    events.extend(SpanEvent(report.time, "otel_events.report", tables.report.of(report)) for report in attempt.reports)
    events.extend(moment for change in attempt.phases if MOMENTS in change.attributes for moment in _moments(change))
    if attempt.error and is_failure(outcome):
        events.append(SpanEvent(attempt.end, "exception", tables.exception_event.of(attempt.error)))
    return events


def _phase_event(change: PhaseChange, outcome: str, tables: Tables) -> SpanEvent:
    phase = outcome if outcome and PHASES[change.phase].outcome else change.phase
    return SpanEvent(change.time, f"otel_events.run.{phase}", tables.phase_event.of(change))


def _moments(change: PhaseChange) -> list[SpanEvent]:
    """What else happened in the attempt, as its source wrote it into ``MOMENTS``; nothing where that cannot be read."""
    try:
        rows = msgspec.json.decode(str(change.attributes[MOMENTS]), type=list[tuple[str, int, Attributes]])
    except (msgspec.DecodeError, RecursionError):  # RecursionError: of brackets that are nested too deep
        return []
    return [SpanEvent(time, name, fields) for name, time, fields in rows[:MOMENTS_LIMIT] if 0 < time < 2**63]


def _links(attempt: Attempt, previous: Context | None) -> list[SpanLink]:
    links = [_link(attempt.run, link) for link in attempt.links]
    if previous:
        links.insert(0, SpanLink(previous.trace_id, previous.span_id, {"otel_events.link": "retries"}))
    return links


def _link(run: Run, link: Link) -> SpanLink:
    source = link.source or run.source
    namespace = run.namespace if link.namespace is None else link.namespace
    fields: Attributes = {"otel_events.link": link.relation, "otel_events.link.run.id": link.id}
    return SpanLink(
        trace_id(source, namespace, link.root), span_id(source, namespace, link.id, link.attempt, link.kind), fields
    )
