"""Telemetry as plain data, ready to be encoded: the output of core/, which otlp/ sends.

Ids are raw bytes (16 and 8), times are nanoseconds since the epoch (UTC), attributes are flat dicts of scalars.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from otel_events.model.event import Scalar

Attributes = dict[str, Scalar]

INTERNAL, SERVER = 1, 2
"""Span kinds that we use, as OTLP numbers them."""
UNSET, ERROR = 0, 2
"""Span statuses that we use, as OTLP numbers them."""


class SpanEvent(msgspec.Struct, gc=False):
    time: int
    name: str
    attributes: Attributes = {}


class SpanLink(msgspec.Struct, gc=False):
    trace_id: bytes
    span_id: bytes
    attributes: Attributes = {}


class SpanData(msgspec.Struct, gc=False):
    """One finished span. ``parent_span_id`` is b"" for a root; ``status`` is UNSET or ERROR."""

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    name: str
    kind: int
    start: int
    end: int
    attributes: Attributes
    events: list[SpanEvent] = []
    links: list[SpanLink] = []
    status: int = UNSET
    status_message: str = ""
    trace_state: str = ""


class LogData(msgspec.Struct, gc=False):
    """One log record; ``trace_id`` and ``span_id`` are b"" where it belongs to no run."""

    time: int
    observed: int
    severity: int
    severity_text: str
    body: str
    attributes: Attributes
    trace_id: bytes = b""
    span_id: bytes = b""
    event_name: str = ""


class Exemplar(msgspec.Struct, gc=False):
    """One measurement behind a point: ``value`` of the run with that trace and span at ``time`` (ns)."""

    value: float
    time: int
    trace_id: bytes
    span_id: bytes


class Point(msgspec.Struct, gc=False):
    """One series of a counter or gauge: ``labels`` in the order of the family's label names."""

    labels: tuple[str, ...]
    value: float
    exemplar: Exemplar | None = None


class HistogramPoint(msgspec.Struct, gc=False):
    """One series of a histogram. ``buckets`` are counts, not cumulative; one more than ``bounds``, the last is +Inf."""

    labels: tuple[str, ...]
    count: int
    sum: float
    bounds: tuple[float, ...]
    buckets: list[int]
    exemplars: list[Exemplar] = []


class MetricData(msgspec.Struct, gc=False):
    """One family as it stands: cumulative since ``start`` (ns) for counters and histograms, read at ``time`` (ns).

    ``name`` is the full Prometheus name (with unit and ``_total``), used unchanged on every path.
    """

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    unit: str
    """UCUM ("s", "By", "") as OTLP wants it."""
    label_names: tuple[str, ...]
    points: list[Point] | list[HistogramPoint]
    start: int
    time: int
