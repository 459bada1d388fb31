"""What a receiver received: the requests, and the telemetry in them as plain structs."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from otel_events.model.telemetry import Exemplar, LogData, SpanData, SpanEvent, SpanLink
from otel_events.otlp.config import Signal

MESSAGES: dict[Signal, Any] = {
    "traces": trace_service_pb2.ExportTraceServiceRequest,
    "metrics": metrics_service_pb2.ExportMetricsServiceRequest,
    "logs": logs_service_pb2.ExportLogsServiceRequest,
}
_SERVICES: dict[Signal, tuple[Any, str]] = {
    "traces": (trace_service_pb2, "TraceService"),
    "metrics": (metrics_service_pb2, "MetricsService"),
    "logs": (logs_service_pb2, "LogsService"),
}
METHODS: dict[str, Signal] = {
    f"/{module.DESCRIPTOR.services_by_name[name].full_name}/Export": signal
    for signal, (module, name) in _SERVICES.items()
}
"""Method of a gRPC service, as the official protos name it -> the signal that it takes."""


class Request(msgspec.Struct, frozen=True):
    """One export request that was taken."""

    signal: Signal
    protocol: Literal["grpc", "http/protobuf", "memory"]
    headers: dict[str, str]
    """Of HTTP, or the metadata of gRPC; names in lower case."""
    body: bytes
    """The encoded message, decompressed."""
    message: Any
    """Export{Trace,Metrics,Logs}ServiceRequest."""


class MetricPoint(msgspec.Struct, frozen=True):
    """One point of one series. ``value`` is a number point's, ``count`` to ``buckets`` are a histogram's."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    unit: str
    labels: dict[str, Any]
    start: int
    time: int
    value: float = 0.0
    count: int = 0
    sum: float = 0.0
    bounds: tuple[float, ...] = ()
    buckets: tuple[int, ...] = ()
    exemplars: tuple[Exemplar, ...] = ()


class Received:
    """All requests, in the order in which they came; threads may read while more come."""

    def __init__(self) -> None:
        self._requests: list[Request] = []
        self._lock = threading.Lock()

    @property
    def requests(self) -> list[Request]:
        """The requests that were taken."""
        with self._lock:
            return list(self._requests)

    def clear(self) -> None:
        """Remove all requests."""
        with self._lock:
            self._requests.clear()

    def spans(self) -> list[SpanData]:
        """The spans of all requests."""
        return [_span(span) for scope in self._scopes("traces") for span in scope.spans]

    def logs(self) -> list[LogData]:
        """The log records of all requests."""
        return [_log(log) for scope in self._scopes("logs") for log in scope.log_records]

    def metrics(self) -> list[MetricPoint]:
        """Every point of every family; sums that are not cumulative and monotonic count as gauges."""
        return [point for scope in self._scopes("metrics") for metric in scope.metrics for point in _points(metric)]

    def resources(self) -> list[dict[str, Any]]:
        """Attributes of the resource of each request."""
        abouts = (about for request in self.requests for about in _abouts(request))
        return [attributes(about.resource.attributes) for about in abouts]

    def scopes(self) -> list[tuple[str, str]]:
        """Name and version of the scopes of all requests."""
        scopes = [scope.scope for signal in MESSAGES for scope in self._scopes(signal)]
        return [(scope.name, scope.version) for scope in scopes]

    def _scopes(self, signal: Signal) -> Iterator[Any]:
        for request in self.requests:
            if request.signal == signal:
                for about in _abouts(request):
                    yield from getattr(
                        about, {"traces": "scope_spans", "logs": "scope_logs"}.get(signal, "scope_metrics")
                    )

    def store(
        self, signal: Signal, protocol: Literal["grpc", "http/protobuf", "memory"], headers: dict[str, str], body: bytes
    ) -> None:
        """Decode and store a request. Raises google.protobuf.message.DecodeError if it is none."""
        request = Request(signal, protocol, headers, body, MESSAGES[signal].FromString(body))
        with self._lock:
            self._requests.append(request)


def _abouts(request: Request) -> Iterable[Any]:
    [(_, value)] = request.message.ListFields() or [("", ())]
    abouts: Iterable[Any] = value
    return abouts


def attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    """KeyValue messages as a dict; arrays and maps become lists and dicts."""
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return attributes(value.kvlist_value.values)
    return getattr(value, kind) if kind else None


def _span(span: Any) -> SpanData:
    return SpanData(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        name=span.name,
        kind=span.kind,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=attributes(span.attributes),
        events=[SpanEvent(event.time_unix_nano, event.name, attributes(event.attributes)) for event in span.events],
        links=[SpanLink(link.trace_id, link.span_id, attributes(link.attributes)) for link in span.links],
        status=span.status.code,
        status_message=span.status.message,
        trace_state=span.trace_state,
    )


def _log(log: Any) -> LogData:
    return LogData(
        time=log.time_unix_nano,
        observed=log.observed_time_unix_nano,
        severity=log.severity_number,
        severity_text=log.severity_text,
        body=_value(log.body),
        attributes=attributes(log.attributes),
        trace_id=log.trace_id,
        span_id=log.span_id,
        event_name=log.event_name,
    )


def _points(metric: Any) -> Iterator[MetricPoint]:
    kind = metric.WhichOneof("data")
    for point in getattr(metric, kind).data_points if kind else ():
        about = {
            "name": metric.name,
            "help": metric.description,
            "unit": metric.unit,
            "labels": attributes(point.attributes),
            "start": point.start_time_unix_nano,
            "time": point.time_unix_nano,
            "exemplars": tuple(_exemplar(exemplar) for exemplar in point.exemplars),
        }
        if kind == "histogram":
            bounds, buckets = tuple(point.explicit_bounds), tuple(point.bucket_counts)
            yield MetricPoint(
                type="histogram", count=point.count, sum=point.sum, bounds=bounds, buckets=buckets, **about
            )
        else:
            counts = kind == "sum" and metric.sum.is_monotonic and metric.sum.aggregation_temporality == 2
            yield MetricPoint(type="counter" if counts else "gauge", value=_number(point), **about)


def _number(point: Any) -> float:
    return float(getattr(point, point.WhichOneof("value") or "as_double"))


def _exemplar(exemplar: Any) -> Exemplar:
    return Exemplar(_number(exemplar), exemplar.time_unix_nano, exemplar.trace_id, exemplar.span_id)
