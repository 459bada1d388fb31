"""The current attempt of each thread and asyncio task, and its OpenTelemetry context.

What a task reports through its context (stats, logs, decks) is in tasks/context.py, above this module.
"""

from __future__ import annotations

import os
from contextvars import ContextVar, Token
from functools import cache

import msgspec
from opentelemetry import trace
from opentelemetry.context import Context as OtelContext
from opentelemetry.context import attach, detach, get_current

from otel_events.inprocess.attempts import SOURCE, ProcessAttempt
from otel_events.inprocess.faults import fault
from otel_events.model.event import Run
from otel_events.model.identity import is_sampled, parse_traceparent, traceparent

TRACEPARENT = "TRACEPARENT"
"""Variable of a child process: the W3C trace context that it is started in (OpenTelemetry, "Environment Variables as
Context Propagation Carriers")."""
PARENT = "OTEL_EVENTS_PARENT"
"""Variable of a child process: the run that it is a part of, as JSON of event.Run."""

CURRENT: ContextVar[ProcessAttempt | None] = ContextVar("otel_events_run", default=None)
"""The attempt that was entered in this thread or asyncio task."""
_fallbacks: tuple[ProcessAttempt, ...] = ()


def set_fallbacks(*attempts: ProcessAttempt) -> None:
    """Replace the process-wide fallback contexts: those that count where no attempt was entered.

    Args:
        attempts: In order; the last one that has a run at the moment of asking is the current one.
    """
    global _fallbacks
    _fallbacks = attempts


def fallbacks() -> tuple[ProcessAttempt, ...]:
    """The process-wide fallback contexts."""
    return _fallbacks


def current_attempt() -> ProcessAttempt | None:
    """The attempt under way here, None outside of any."""
    return CURRENT.get() or (_current_fallback() if _fallbacks else None)


def _current_fallback() -> ProcessAttempt | None:
    return next((attempt for attempt in reversed(_fallbacks) if attempt.run is not None), None)


def current_run() -> Run | None:
    """The run under way here.

    Returns:
        The run of the innermost ``@task`` or ``@workflow``, or of an instrumented system; None outside of any.

    >>> current_run() is None
    True
    """
    attempt = current_attempt()
    return attempt.run if attempt is not None else None


class AttemptSpan(trace.NonRecordingSpan):
    """The span of an attempt, as OpenTelemetry sees it: spans that are started under it become its children, although
    it is sent only at the end of the attempt. Its ids are derived when they are read."""

    def __init__(self, attempt: ProcessAttempt) -> None:
        self.attempt = attempt

    def get_span_context(self) -> trace.SpanContext:
        """The ids of the span that will be sent."""
        return trace.SpanContext(
            trace_id=int.from_bytes(self.attempt.trace_id, "big"),
            span_id=int.from_bytes(self.attempt.span_id, "big"),
            is_remote=False,
            trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
        )

    def __repr__(self) -> str:
        return f"AttemptSpan({self.get_span_context()!r})"


def snapshot() -> tuple[ProcessAttempt | None, OtelContext]:
    """The attempt and the OpenTelemetry context of this moment, to be entered by code that runs elsewhere."""
    attempt, outer = current_attempt(), get_current()
    fixed = attempt.snapshot() if attempt is not None else None
    if fixed is None or fixed is attempt:
        return attempt, outer
    span = trace.get_current_span(outer)
    if isinstance(span, AttemptSpan) and span.attempt is attempt:
        outer = trace.set_span_in_context(AttemptSpan(fixed), outer)
    return fixed, outer


Tokens = tuple[Token[ProcessAttempt | None], Token[OtelContext] | None]


def enter(attempt: ProcessAttempt) -> Tokens:
    """Make the attempt the current one, for us and for OpenTelemetry, in this thread or asyncio task.

    Args:
        attempt: Without a run, OpenTelemetry's context stays as it is.

    Returns:
        What ``leave`` takes, in the same thread or task.
    """
    outer = attach(trace.set_span_in_context(AttemptSpan(attempt))) if attempt.run is not None else None
    return CURRENT.set(attempt), outer


def leave(tokens: Tokens) -> None:
    """Undo ``enter``, in the same thread or task."""
    inner, outer = tokens
    CURRENT.reset(inner)
    if outer is not None:
        detach(outer)


# --- what a new run is a part of -------------------------------------------------------------------------------------


Caller = tuple[Run | None, str, bytes, bool]
"""(the run that a new one is part of; the W3C context of the span that it is under, "" where that follows from the
run's id; id of the trace, b"" where it follows from the root's; whether no run of this process is above)."""


def caller() -> Caller:
    """What a run that begins here is a part of: the current run, else the user's own span, else the run that this
    process was started in."""
    attempt = current_attempt()
    if attempt is None or attempt.run is None:
        where = trace.get_current_span().get_span_context()
        if where.is_valid and where.trace_flags.sampled:
            return None, traceparent_of(where), where.trace_id.to_bytes(16, "big"), True
        return inherited()
    run = attempt.run
    foreign = attempt.is_foreign
    # The parent's span id is derived from the run of this source alone: a later attempt of another process has to be
    # named by its span, since a run names its parent by id, without the attempt.
    if run.source == SOURCE and not run.namespace and not (foreign and run.attempt > 1):
        return run, "", attempt.trace, foreign
    return run, traceparent(attempt.trace_id, attempt.span_id), attempt.trace_id, foreign


def caller_span() -> tuple[str, bytes]:
    """The span that a run of another source is under, where it begins here.

    Returns:
        (its W3C context, the id of its trace); ("", b"") where there is none.
    """
    run, context, trace_of_it, _ = caller()
    if run is None or context:
        return context, trace_of_it
    attempt = ProcessAttempt(run, trace_of_it)  # of our own source: its span follows from the run
    return traceparent(attempt.trace_id, attempt.span_id), attempt.trace_id


def traceparent_of(where: trace.SpanContext) -> str:
    """The W3C context of a span."""
    ids = where.trace_id.to_bytes(16, "big"), where.span_id.to_bytes(8, "big")
    return traceparent(*ids, sampled=where.trace_flags.sampled)


# --- other processes -------------------------------------------------------------------------------------------------


def env_context(context: ProcessAttempt | None = None) -> dict[str, str]:
    """Variables for a child process or a remote job, so that what runs there is part of this run.

        subprocess.run(command, env=os.environ | env_context())

    ``otel-events context`` prints the same for a shell.

    Args:
        context: Of the run; else ``current_context()``.

    Returns:
        The variables; {} outside of any run and span.

    >>> env_context()
    {}
    """
    attempt = context or current_attempt()
    if attempt is None or attempt.run is None:
        where = trace.get_current_span().get_span_context()
        return {TRACEPARENT: traceparent_of(where)} if where.is_valid else {}
    return {
        TRACEPARENT: traceparent(attempt.trace_id, attempt.span_id),
        PARENT: msgspec.json.encode(attempt.run).decode(),
    }


@cache
def inherited() -> Caller:
    """What the environment says that this process is a part of; read once."""
    context, run = os.environ.get(TRACEPARENT, ""), None
    try:
        if text := os.environ.get(PARENT, ""):
            run = msgspec.json.decode(text, type=Run)
    except (msgspec.MsgspecError, RecursionError) as error:
        fault(f"the variable {PARENT}", error)
    ids = parse_traceparent(context)
    if ids is None or not is_sampled(context):
        ids = None
    if run is None:
        return (None, context, ids[0], True) if ids else (None, "", b"", True)
    attempt = ProcessAttempt(run)
    derived = attempt.trace_id, attempt.span_id
    if run.source == SOURCE and not run.namespace and ids in (None, derived) and run.attempt < 2:
        return run, "", b"", True
    # Somebody's own span between the two runs, or ids that do not follow from the run.
    span = ids or derived
    return run, traceparent(*span), b"" if span[0] == derived[0] and run.source == SOURCE else span[0], True
