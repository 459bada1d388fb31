"""Metric families to OTLP protobuf bytes: cumulative Sum, Gauge and explicit Histogram, with exemplars.

Names are sent unchanged, so that they equal those of the scrape. A label without a value is left out, because to
Prometheus an empty label is no label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct, pack

from otel_events.model.telemetry import Exemplar, HistogramPoint, MetricData, Point
from otel_events.otlp.wire import MAX_FIXED64, NAMES, POINT, SPAN, attribute, field, utf8

HISTOGRAM_POINT = SPAN
"""Tag of a histogram point's attributes: the field number happens to be a span's."""
_SERIES = 1 << 16
_CUMULATIVE = b"\x10\x02"
_MONOTONIC = b"\x18\x01"

_time = Struct("<BQ").pack
_number = Struct("<Bd").pack

_series: dict[tuple[int, tuple[str, ...], tuple[str, ...]], bytes] = {}
"""(tag, label names, labels) -> attributes of a point, encoded once a series; emptied when full."""


def encode_metric(metric: MetricData) -> bytes:
    """Body of opentelemetry.proto.metrics.v1.Metric; without points it has no data."""
    head = NAMES[0x0A][metric.name]
    if metric.help:
        head += field(b"\x12", utf8(metric.help))
    if metric.unit:
        head += NAMES[0x1A][metric.unit]
    if not metric.points:
        return head
    tag, after, encode = _TYPES[metric.type]
    times = _times(metric)
    points = [field(b"\x0a", encode(metric, times, point)) for point in metric.points]
    return head + field(tag, b"".join(points) + after)


def _times(metric: MetricData) -> bytes:
    start = 0 if metric.type == "gauge" else metric.start
    fields = ((0x11, start), (0x19, metric.time))
    return b"".join([_time(tag, min(time, MAX_FIXED64)) for tag, time in fields if time > 0])


def _attributes(tag: int, names: tuple[str, ...], labels: tuple[str, ...]) -> bytes:
    key = (tag, names, labels)
    encoded = _series.get(key)
    if encoded is None:
        pairs = zip(names, labels, strict=True)
        encoded = b"".join([attribute(tag, name, label) for name, label in pairs if label])
        if len(_series) >= _SERIES:
            _series.clear()
        _series[key] = encoded
    return encoded


def _number_point(metric: MetricData, times: bytes, point: Point) -> bytes:
    exemplar = _exemplar(0x2A, point.exemplar) if point.exemplar else b""
    labels = _attributes(POINT, metric.label_names, point.labels)
    return times + _number(0x21, point.value) + exemplar + labels


def _histogram_point(metric: MetricData, times: bytes, point: HistogramPoint) -> bytes:
    return b"".join(
        (
            times,
            _time(0x21, point.count) if point.count else b"",
            _number(0x29, point.sum),
            _packed(b"\x32", "Q", point.buckets),
            _packed(b"\x3a", "d", point.bounds),
            *[_exemplar(0x42, exemplar) for exemplar in point.exemplars],
            _attributes(HISTOGRAM_POINT, metric.label_names, point.labels),
        )
    )


def _packed(tag: bytes, code: str, numbers: Sequence[float]) -> bytes:
    return field(tag, pack(f"<{len(numbers)}{code}", *numbers)) if numbers else b""


def _exemplar(tag: int, exemplar: Exemplar) -> bytes:
    when = _time(0x11, exemplar.time) if exemplar.time > 0 else b""
    span = b"\x22\x08" + exemplar.span_id + b"\x2a\x10" + exemplar.trace_id
    return field(bytes([tag]), when + _number(0x19, exemplar.value) + span)


_TYPES: dict[str, tuple[bytes, bytes, Callable[..., bytes]]] = {
    "gauge": (b"\x2a", b"", _number_point),
    "counter": (b"\x3a", _CUMULATIVE + _MONOTONIC, _number_point),
    "histogram": (b"\x4a", _CUMULATIVE, _histogram_point),
}
"""Type of a family -> tag of its data, what follows the points, how a point is encoded."""
