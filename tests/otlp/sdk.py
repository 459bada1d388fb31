"""The same telemetry as objects of the SDK, and what the SDK's own encoder makes of them: the judge of our encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics import Exemplar as SdkExemplar
from opentelemetry.sdk.metrics import export
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context
from opentelemetry.trace.span import TraceState
from opentelemetry.trace.status import Status, StatusCode

from otel_events.model.telemetry import (
    Attributes,
    Exemplar,
    HistogramPoint,
    LogData,
    MetricData,
    Point,
    SpanData,
    SpanLink,
)
from otel_events.otlp.encode import SCHEMA_URL

RESOURCE_ATTRIBUTES: Attributes = {"service.name": "flyte", "service.instance.id": "ü1", "k8s.node": 3}
RESOURCE = Resource(RESOURCE_ATTRIBUTES, SCHEMA_URL)
SCOPE = InstrumentationScope("otel_events", "0.1.0", SCHEMA_URL)
KINDS = {kind.value + 1: kind for kind in SpanKind}


def traces(spans: Sequence[SpanData]) -> ExportTraceServiceRequest:
    return encode_spans([_span(span) for span in spans])


def logs(records: Sequence[LogData]) -> ExportLogsServiceRequest:
    return encode_logs([_log(record) for record in records])


def metrics(families: Sequence[MetricData]) -> ExportMetricsServiceRequest:
    scope = export.ScopeMetrics(SCOPE, [_metric(family) for family in families], SCHEMA_URL)
    return encode_metrics(export.MetricsData([export.ResourceMetrics(RESOURCE, [scope], SCHEMA_URL)]))


def _context(trace_id: bytes, span_id: bytes, state: str = "") -> SpanContext:
    whole = TraceState.from_header([state]) if state else None
    return SpanContext(int.from_bytes(trace_id), int.from_bytes(span_id), False, TraceFlags(1), whole)


def _span(span: SpanData) -> ReadableSpan:
    parent = _context(span.trace_id, span.parent_span_id) if span.parent_span_id else None
    code = StatusCode(span.status)
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace_id, span.span_id, span.trace_state),
        parent=parent,
        resource=RESOURCE,
        attributes=span.attributes,
        events=[Event(event.name, event.attributes, event.time) for event in span.events],
        links=[_link(link) for link in span.links],
        kind=KINDS[span.kind],
        status=Status(code, span.status_message if code is StatusCode.ERROR else None),
        start_time=span.start,
        end_time=span.end,
        instrumentation_scope=SCOPE,
    )


def _link(link: SpanLink) -> Link:
    return Link(_context(link.trace_id, link.span_id), link.attributes)


def _log(log: LogData) -> ReadableLogRecord:
    record = LogRecord(
        timestamp=log.time,
        observed_timestamp=log.observed,
        context=_in(log),
        severity_text=log.severity_text,
        severity_number=SeverityNumber(log.severity),
        body=log.body,
        attributes=log.attributes,
        event_name=log.event_name,
    )
    return ReadableLogRecord(record, RESOURCE, SCOPE)


def _in(log: LogData) -> Any:
    context = _context(log.trace_id, log.span_id) if log.trace_id else SpanContext(0, 0, False)
    return set_span_in_context(NonRecordingSpan(context))


def _metric(family: MetricData) -> export.Metric:
    return export.Metric(family.name, family.help, family.unit, DATA[family.type](family))


def _labels(family: MetricData, point: Point | HistogramPoint) -> dict[str, str]:
    return {name: label for name, label in zip(family.label_names, point.labels, strict=True) if label}


def _exemplars(exemplars: Sequence[Exemplar]) -> list[SdkExemplar]:
    return [
        SdkExemplar(
            {}, exemplar.value, exemplar.time, int.from_bytes(exemplar.span_id), int.from_bytes(exemplar.trace_id)
        )
        for exemplar in exemplars
    ]


def _numbers(family: MetricData) -> list[export.NumberDataPoint]:
    return [
        export.NumberDataPoint(
            _labels(family, point),
            family.start,
            family.time,
            point.value,
            _exemplars([point.exemplar] if point.exemplar else []),
        )
        for point in family.points
        if isinstance(point, Point)
    ]


def _sum(family: MetricData) -> export.Sum:
    return export.Sum(_numbers(family), export.AggregationTemporality.CUMULATIVE, True)


def _gauge(family: MetricData) -> export.Gauge:
    return export.Gauge(_numbers(family))


def _histogram(family: MetricData) -> export.Histogram:
    records = [
        export.HistogramDataPoint(
            _labels(family, point),
            family.start,
            family.time,
            point.count,
            point.sum,
            point.buckets,
            point.bounds,
            None,  # type: ignore[arg-type]  # min and max: we keep none, and the encoder leaves out None
            None,  # type: ignore[arg-type]  # as above
            _exemplars(point.exemplars),
        )
        for point in family.points
        if isinstance(point, HistogramPoint)
    ]
    return export.Histogram(records, export.AggregationTemporality.CUMULATIVE)


DATA: dict[str, Callable[[MetricData], export.DataT]] = {"counter": _sum, "gauge": _gauge, "histogram": _histogram}
