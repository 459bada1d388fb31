"""The baseline: what a user would write in an afternoon with the OpenTelemetry SDK and prometheus-client.

Frozen: never improved, never made worse. A span is started at the first event of a task attempt and ended at its
outcome, each phase is a span event, a counter step and (with logs) a log record. No journal, no dedupe, no order; its
queues are large enough to lose nothing in a benchmark, unlike the SDK's defaults.
"""

from __future__ import annotations

import logging
from hashlib import blake2b
from typing import Any

from flyteidl.event.event_pb2 import TaskExecutionEvent
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags, set_span_in_context
from prometheus_client import CollectorRegistry, Counter, Histogram

PHASES = "UNDEFINED QUEUED RUNNING SUCCEEDED ABORTED FAILED INITIALIZING WAITING_FOR_RESOURCES RETRYABLE_FAILED".split()
LABELS = ("project", "domain", "task", "phase")


def _id(size: int, *parts: str) -> int:
    return int.from_bytes(blake2b("/".join(parts).encode(), digest_size=size).digest(), "big")


class Naive:
    def __init__(self, endpoint: str, logs: bool = True, exporter: Any = None) -> None:
        logging.disable(logging.WARNING)
        resource = Resource.create({"service.name": "flyte"})
        self.provider = TracerProvider(resource=resource)
        exporter = exporter or OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")
        self.provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=2**20))
        self.tracer = self.provider.get_tracer("naive")
        self.logs = LoggerProvider(resource=resource) if logs else None
        if self.logs:
            log_exporter = OTLPLogExporter(endpoint=f"{endpoint}/v1/logs")
            self.logs.add_log_record_processor(BatchLogRecordProcessor(log_exporter, max_queue_size=2**20))
            self.logger = self.logs.get_logger("naive")
        self.registry = CollectorRegistry()
        self.transitions = Counter("task_transitions", "phases", LABELS, registry=self.registry)
        self.duration = Histogram("task_duration_seconds", "durations", LABELS, registry=self.registry)
        self.open: dict[tuple[Any, ...], tuple[Any, int]] = {}

    def handle(self, raw: bytes) -> None:
        event = TaskExecutionEvent.FromString(raw)
        task, node = event.task_id, event.parent_node_execution_id
        run = node.execution_id
        key = (run.project, run.domain, run.name, node.node_id, task.name, event.retry_attempt)
        time = event.occurred_at.seconds * 1_000_000_000 + event.occurred_at.nanos
        phase = PHASES[event.phase]
        if key not in self.open:
            trace_id = _id(16, run.project, run.domain, run.name)
            span_id = _id(8, run.project, run.domain, run.name, node.node_id)
            parent = NonRecordingSpan(SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(1)))
            attributes = {
                "flyte.project": run.project,
                "flyte.domain": run.domain,
                "flyte.execution": run.name,
                "flyte.node_id": node.node_id,
                "flyte.task": task.name,
                "flyte.version": task.version,
                "flyte.attempt": event.retry_attempt,
                "flyte.task_type": event.task_type,
                "flyte.producer": event.producer_id,
                "flyte.input_uri": event.input_uri,
                "flyte.generated_name": event.metadata.generated_name,
                "flyte.plugin": event.metadata.plugin_identifier,
            }
            above = set_span_in_context(parent)
            span = self.tracer.start_span(task.name, above, start_time=time, attributes=attributes)
            self.open[key] = (span, time)
        span, started = self.open[key]
        span.add_event(phase, {"phase.version": event.phase_version, "reason": event.reason}, timestamp=time)
        self.transitions.labels(run.project, run.domain, task.name, phase).inc()
        if self.logs:
            self._log(event, run.name, node.node_id, phase, time, span.get_span_context())
        if event.phase in (3, 4, 5, 8):
            seconds = (time - started) / 1e9
            span.set_attribute("flyte.output_uri", event.output_uri)
            span.set_attribute("flyte.phase", phase)
            span.set_attribute("duration_s", seconds)
            span.set_status(Status(StatusCode.OK if event.phase == 3 else StatusCode.ERROR))
            span.end(time)
            del self.open[key]
            self.duration.labels(run.project, run.domain, task.name, phase).observe(seconds)

    def _log(self, event: Any, run: str, node: str, phase: str, time: int, where: SpanContext) -> None:
        fields = {"flyte.execution": run, "flyte.node_id": node, "flyte.task": event.task_id.name, "phase": phase}
        record = LogRecord(
            timestamp=time,
            context=set_span_in_context(NonRecordingSpan(where)),
            severity_number=SeverityNumber.INFO,
            severity_text="info",
            body=event.reason,
            attributes=fields,
        )
        self.logger.emit(record)

    def flush(self) -> None:
        self.provider.force_flush()
        if self.logs:
            self.logs.force_flush()
