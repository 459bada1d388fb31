"""Telemetry to OTLP protobuf bytes, without message objects in between (field numbers as in opentelemetry-proto 1.x).

The bytes equal those of the SDK's own encoder for the same span, log and metric. A request is composed of spans (logs,
metrics) that are encoded already, so that these can be encoded early and held as bytes:

    request = traces_request([encode_span(span) for span in spans], resource({"service.name": "x"}), scope("me", "1"))

The parts are public too, for encoders that skip the structs (fast.py): ``attribute`` and ``attributes`` (in wire.py),
``span_event``, ``log_record``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct, error

from otel_events.model.event import Scalar
from otel_events.model.telemetry import ERROR, LogData, SpanData, SpanEvent, SpanLink
from otel_events.otlp.metrics import encode_metric
from otel_events.otlp.wire import (
    ATTRIBUTES,
    BODY,
    EVENT,
    LINK,
    LOG,
    MAX_FIXED64,
    NAMES,
    RESOURCE,
    SMALL,
    SPAN,
    attributes,
    field,
    utf8,
    varint,
)

__all__ = [
    "SCHEMA_URL",
    "encode_log",
    "encode_metric",
    "encode_span",
    "log_record",
    "logs_request",
    "metrics_request",
    "resource",
    "scope",
    "span_event",
    "traces_request",
]

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"

FLAGS = 0x100
"""SpanFlags as the SDK sets them: CONTEXT_HAS_IS_REMOTE_MASK, parent not remote; not the W3C byte."""
_FLAGS = FLAGS.to_bytes(4, "little")
UNSET_STATUS = b"\x7a\x00\x85\x01" + _FLAGS
"""Status UNSET, and the flags of a span."""
IN_TRACE = b"\x45\x01\x00\x00\x00\x4a\x10"
"""Flags of a log record (sampled) and what stands before its trace id."""
_SEVERITY = [b"", *(bytes((0x10, number)) for number in range(1, 25))]

_one_time = Struct("<BQ").pack
_two_times = Struct("<BQBQ").pack


def _time(tag: int, nanoseconds: int) -> bytes:
    """A fixed64 time field; 0 is left out, and what no 64 bits hold is clamped."""
    return _one_time(tag, min(max(nanoseconds, 0), MAX_FIXED64)) if nanoseconds > 0 else b""


def _times(start: int, end: int) -> bytes:
    if start and end:
        try:
            return _two_times(0x39, start, 0x41, end)
        except error:
            pass
    return _time(0x39, start) + _time(0x41, end)


def encode_span(span: SpanData) -> bytes:
    """Body of opentelemetry.proto.trace.v1.Span."""
    types = ATTRIBUTES[SPAN]
    parts = [b"\x0a\x10", span.trace_id, b"\x12\x08", span.span_id]
    if span.trace_state:
        parts.append(field(b"\x1a", utf8(span.trace_state)))
    if span.parent_span_id:
        parts += (b"\x22\x08", span.parent_span_id)
    if span.name:
        parts.append(NAMES[0x2A][span.name])
    parts += (b"\x30", varint(span.kind), _times(span.start, span.end))
    parts += [types[type(value)][key][value] for key, value in span.attributes.items()]
    if span.events:
        parts += map(_event, span.events)
    if span.links:
        parts += map(_link, span.links)
    parts.append(_status(span.status, span.status_message) if span.status else UNSET_STATUS)
    return b"".join(parts)


def _status(status: int, message: str) -> bytes:
    """Status and flags. A message belongs to ERROR alone, as in the SDK."""
    text = field(b"\x12", utf8(message)) if message and status == ERROR else b""
    return field(b"\x7a", text + b"\x18" + varint(status)) + b"\x85\x01" + _FLAGS


def _event(event: SpanEvent) -> bytes:
    types = ATTRIBUTES[EVENT]
    kv = b"".join([types[type(value)][key][value] for key, value in event.attributes.items()])
    return span_event(event.time, event.name, kv)


def span_event(time: int, name: str, kv: bytes) -> bytes:
    """One event as a field of a span.

    Args:
        time: When it was (ns); what 64 bits cannot hold is clamped.
        name: Its name.
        kv: Its attributes, encoded with the tag EVENT.

    Returns:
        The encoded field.
    """
    body = NAMES[0x12][name] + kv if name else kv
    try:
        body = (_one_time(0x09, time) if time else b"") + body
    except error:
        body = _time(0x09, time) + body
    size = len(body)
    return b"\x5a" + (SMALL[size] if size < 1 << 14 else varint(size)) + body


def _link(link: SpanLink) -> bytes:
    ids = b"\x0a\x10" + link.trace_id + b"\x12\x08" + link.span_id
    return field(b"\x6a", ids + attributes(LINK, link.attributes) + b"\x35" + _FLAGS)


def encode_log(log: LogData) -> bytes:
    """Body of opentelemetry.proto.logs.v1.LogRecord."""
    types = ATTRIBUTES[LOG]
    return log_record(
        log.time,
        log.observed,
        log.severity,
        log.severity_text,
        log.body,
        b"".join([types[type(value)][key][value] for key, value in log.attributes.items()]),
        log.trace_id,
        log.span_id,
        log.event_name,
    )


def log_record(
    time: int,
    observed: int,
    severity: int,
    severity_text: str,
    body: str,
    kv: bytes,
    trace_id: bytes = b"",
    span_id: bytes = b"",
    event_name: str = "",
) -> bytes:
    """Body of opentelemetry.proto.logs.v1.LogRecord, from the fields of a LogData.

    Args:
        time: When it happened (ns); what 64 bits cannot hold is clamped.
        observed: When it was observed (ns).
        severity: Severity number, 1 to 24.
        severity_text: Its short name.
        body: The text.
        kv: The attributes, encoded with the tag LOG.
        trace_id: The trace it belongs to; b"" for none. A record in a trace is marked as sampled.
        span_id: The span it belongs to; b"" for none.
        event_name: Name of the event; "" for a plain line.

    Returns:
        The encoded record.
    """
    try:
        first, last = _one_time(0x09, time) if time else b"", _one_time(0x59, observed) if observed else b""
    except error:
        first, last = _time(0x09, time), _time(0x59, observed)
    return b"".join(
        (
            first,
            _SEVERITY[severity] if 0 <= severity < 25 else b"\x10" + varint(severity),
            NAMES[0x1A][severity_text] if severity_text else b"",
            BODY[body],
            kv,
            IN_TRACE + trace_id if trace_id else b"",
            b"\x52\x08" + span_id if span_id else b"",
            last,
            NAMES[0x62][event_name] if event_name else b"",
        )
    )


def resource(values: Mapping[str, Scalar]) -> bytes:
    """Body of opentelemetry.proto.resource.v1.Resource."""
    return attributes(RESOURCE, values)


def scope(name: str, version: str = "") -> bytes:
    """Body of opentelemetry.proto.common.v1.InstrumentationScope."""
    texts = ((b"\x0a", name), (b"\x12", version))
    return b"".join([field(tag, utf8(text)) for tag, text in texts if text])


def _request(items: Sequence[bytes], resource: bytes, scope: bytes) -> bytes:
    """Export*ServiceRequest of one resource and one scope; all signals number the fields of its messages alike."""
    url = field(b"\x1a", SCHEMA_URL.encode())
    parts = [b"", field(b"\x0a", scope)]
    for item in items:
        parts += (b"\x12", varint(len(item)), item)
    parts.append(url)
    about = field(b"\x0a", resource)
    inner = sum(map(len, parts))
    before = about + b"\x12" + varint(inner)
    parts[0] = b"\x0a" + varint(len(before) + inner + len(url)) + before
    parts.append(url)
    return b"".join(parts)


def traces_request(spans: Sequence[bytes], resource: bytes, scope: bytes) -> bytes:
    """ExportTraceServiceRequest of encoded spans."""
    return _request(spans, resource, scope)


def logs_request(logs: Sequence[bytes], resource: bytes, scope: bytes) -> bytes:
    """ExportLogsServiceRequest of encoded log records."""
    return _request(logs, resource, scope)


def metrics_request(metrics: Sequence[bytes], resource: bytes, scope: bytes) -> bytes:
    """ExportMetricsServiceRequest of encoded metrics."""
    return _request(metrics, resource, scope)
