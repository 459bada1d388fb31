"""Runs and telemetry of a bad day: what alerts are for."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_events.model.event import AnyEvent, Kind, PhaseChange, Run

SOURCE, SLOW = "batch", "slow"
SECOND = 1_000_000_000
HOUR = 3_600
CACHE = "otel_events.cache.status"


def run(name: str, number: int | str, kind: Kind = "workflow", attempt: int = 1) -> Run:
    key = f"{name} {number}"
    return Run(SOURCE, kind, key, name, key, workflow=name if kind == "workflow" else "", attempt=attempt)


def change(of: Run, phase: str, ago: float, **attributes: str) -> PhaseChange:
    """``ago``: seconds."""
    at = time.time_ns() - round(ago * SECOND)
    key = f"{of.id} {of.attempt} {phase}"
    return PhaseChange(id=key, time=at, run=of, phase=phase, native=phase, attributes={**attributes})


def begun() -> Iterator[AnyEvent]:
    """What is under way, and should not be any more; and a success long ago, still to come."""
    yield change(run("stuck", 1), "pending", 3 * HOUR)
    yield change(run("forgotten", 1), "running", 31 * HOUR)


def bad_day(number: int) -> Iterator[AnyEvent]:
    """One wave: slow runs, failed ones, a task that is tried again and again, machines that go, a cold cache."""
    if number:
        yield change(run("forgotten", 1), "succeeded", 30 * HOUR)
    for at in range(3):
        slow, broken = run(SLOW, f"{number}-{at}"), run("broken", f"{number}-{at}")
        yield from (change(slow, "pending", 900), change(slow, "running", 500), change(slow, "succeeded", 1))
        yield from (change(broken, "running", 2), change(broken, "failed", 1))
    for attempt in range(1, 31):
        flaky = run("flaky", number, "task", attempt)
        yield from (change(flaky, "running", 2), change(flaky, "failed", 1))
    for at in range(10):
        lost = run("lost", f"{number}-{at}", "task")
        grid = Run("grid", "task", lost.id, lost.name, lost.root)
        yield from (change(grid, "running", 2), change(grid, "crashed", 1))
        cold = run(SLOW, f"{number}-{at} cold", "task")
        status = {CACHE: "hit" if (number, at) == (0, 0) else "miss"}
        yield from (change(cold, "running", 2), change(cold, "succeeded", 1, **status))


def many_names(count: int) -> list[AnyEvent]:
    """More definitions than a family has room for."""
    return [change(run(f"name {number}", 1, "task"), "running", 1) for number in range(count)]


def offer(url: str) -> list[int]:
    """One span, one log record and one data point by OTLP/HTTP; the statuses. What is not answered is 0."""
    traces, logs, metrics = ExportTraceServiceRequest(), ExportLogsServiceRequest(), ExportMetricsServiceRequest()
    now = time.time_ns()
    span = traces.resource_spans.add().scope_spans.add().spans.add(name="offered")
    span.trace_id, span.span_id = now.to_bytes(16, "big"), now.to_bytes(8, "big")
    span.start_time_unix_nano = span.end_time_unix_nano = now
    record = logs.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=now)
    record.body.string_value = "offered"
    metric = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="offered")
    metric.gauge.data_points.add(time_unix_nano=now, as_int=1)
    bodies = {"traces": traces, "logs": logs, "metrics": metrics}
    return [_post(f"{url}/v1/{signal}", body.SerializeToString()) for signal, body in bodies.items()]


def _post(url: str, body: bytes) -> int:
    try:
        return httpx.post(url, content=body, headers={"Content-Type": "application/x-protobuf"}, timeout=5).status_code
    except httpx.TransportError:
        return 0
