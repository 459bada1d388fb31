"""What a closed attempt, a finished run and an event add to the metric families."""

from __future__ import annotations

from otel_events.core.fold import Attempt
from otel_events.core.metrics import INCOMPLETE, Metrics
from otel_events.core.spans import NANO, Context
from otel_events.core.traces import Closed
from otel_events.model.declared import traits_of
from otel_events.model.event import INTERNAL, AnyEvent, Run, Stat
from otel_events.model.telemetry import Exemplar


def count_event(metrics: Metrics, event: AnyEvent, run: Run, late: bool = False) -> None:
    """A new event of ``run``, as far as it is known: stats become families of their own; a late one is counted."""
    if isinstance(event, Stat):
        metrics.runs.stat(metrics.runs.labels(run if traits_of(run.source).stats_need_names else event.run), event)
    if late:
        metrics.internal.late(event.run.source)


def count_attempt(metrics: Metrics, closed: Closed) -> None:
    """An ended attempt: its outcome, who is to blame, its cache status, and transitions that should not be."""
    attempt = closed.attempt
    if INTERNAL in attempt.attributes:
        metrics.internal.dropped("internal", 1)
        return
    labels = metrics.runs.labels(attempt.run)
    blame = attempt.error.kind if attempt.error and closed.outcome != "succeeded" else ""
    metrics.runs.attempt_ended(labels, closed.outcome or INCOMPLETE, blame, _exemplar(attempt, closed.where))
    cache = attempt.attributes.get("otel_events.cache.status")
    if cache:
        metrics.runs.cache(labels, str(cache))
    metrics.runs.ended_as(labels, attempt.run, attempt.native)
    if attempt.illegal:
        metrics.internal.illegal(attempt.illegal)


def count_run(metrics: Metrics, attempt: Attempt, outcome: str, where: Context) -> None:
    """A finished run, after its retries: counted once, timed from its first attempt (seconds)."""
    if INTERNAL in attempt.attributes:
        return
    running, created = attempt.run_running, attempt.created
    metrics.runs.run_finished(
        metrics.runs.labels(attempt.run),
        outcome or INCOMPLETE,
        (attempt.end - running) / NANO if running and outcome else None,
        max(0, running - created) / NANO if running else None,
        attempt.end,
        _exemplar(attempt, where),
    )


def _exemplar(attempt: Attempt, where: Context) -> Exemplar:
    seconds = (attempt.end - (attempt.run_running or attempt.start)) / NANO
    return Exemplar(max(0.0, seconds), attempt.end, where.trace_id, where.span_id)
