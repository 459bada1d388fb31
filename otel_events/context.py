"""Where the code at hand runs: the run and attempt under way in this thread or asyncio task, and its trace context."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry import trace
from opentelemetry.context import Context as OtelContext
from opentelemetry.context import attach, detach

from otel_events.event import Run
from otel_events.identity import span_id, trace_id

_current: ContextVar[Run | None] = ContextVar("otel_events_run", default=None)


def current_run() -> Run | None:
    """The run under way here, or None outside of any."""
    return _current.get()


def otel_context(run: Run) -> OtelContext:
    """An OpenTelemetry context whose current span is the one that will be sent for this attempt: spans that are
    started in it become its children, although it is sent only at the end."""
    where = trace.SpanContext(
        trace_id=int.from_bytes(trace_id(run.source, run.namespace, run.root), "big"),
        span_id=int.from_bytes(span_id(run.source, run.namespace, run.id, run.attempt, run.kind), "big"),
        is_remote=False,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(where))


@contextmanager
def entered(run: Run) -> Iterator[None]:
    """Make ``run`` the current one, for us and for OpenTelemetry, in this thread or asyncio task."""
    token, outer = _current.set(run), attach(otel_context(run))
    try:
        yield
    finally:
        detach(outer)
        _current.reset(token)
