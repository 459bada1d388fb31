"""OTLP JSON, one export request a line: what the collector's file exporter writes and its otlpjsonfile receiver reads.

Ids are hex in lower case, enums are numbers, 64-bit integers are text, names are lowerCamel; a double that is no number
is "NaN", "Infinity" or "-Infinity" (proto3 JSON). The same input gives the same bytes: keys stand in a fixed order,
attributes in theirs, without spaces. A value is as it would be in protobuf (see wire.py).
"""

from __future__ import annotations

import math
from binascii import hexlify
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from otel_events.model.event import Scalar
from otel_events.model.telemetry import ERROR, LogData, SpanData, SpanEvent, SpanLink
from otel_events.otlp.encode import FLAGS, SCHEMA_URL
from otel_events.otlp.wire import MAX_FIXED64, Fields, Types, as_sent, utf8

Scope = tuple[str, str]
"""Name and version."""

_encode = msgspec.json.Encoder().encode


def traces_line(spans: Sequence[SpanData], resource: Mapping[str, Scalar], scope: Scope) -> bytes:
    """ExportTraceServiceRequest as one line of JSON, line end included."""
    return _line(b"Spans", b"spans", map(_span, spans), resource, scope)


def logs_line(logs: Sequence[LogData], resource: Mapping[str, Scalar], scope: Scope) -> bytes:
    """ExportLogsServiceRequest as one line of JSON, line end included."""
    return _line(b"Logs", b"logRecords", map(_log, logs), resource, scope)


def _line(kind: bytes, items: bytes, encoded: Iterable[bytes], resource: Mapping[str, Scalar], scope: Scope) -> bytes:
    url = b'"schemaUrl":' + _text(SCHEMA_URL)
    name = b",".join([b'"%b":%b' % (key, _text(text)) for key, text in zip(_SCOPE, scope, strict=True) if text])
    inner = b'{"scope":{%b},"%b":[%b],%b}' % (name, items, b",".join(encoded), url)
    about = _attributes(resource)[1:]
    return b'{"resource%b":[{"resource":{%b},"scope%b":[%b],%b}]}\n' % (kind, about, kind, inner, url)


_SCOPE = (b"name", b"version")


def _text(text: str) -> bytes:
    try:
        return _encode(text)
    except UnicodeEncodeError:  # a lone surrogate
        return _encode(utf8(text).decode())


def _time(nanoseconds: int) -> int:
    return min(max(nanoseconds, 0), MAX_FIXED64)


class _Values:
    """A value of one key -> the attribute as a JSON object."""

    __slots__ = ("_before",)

    def __init__(self, key: str) -> None:
        self._before = b'{"key":' + _text(key) + b',"value":{'

    def __getitem__(self, value: Scalar) -> bytes:
        return self._before + _value(value) + b"}}"


def _value(value: Scalar) -> bytes:
    value = as_sent(value)
    if isinstance(value, bool):
        return b'"boolValue":' + (b"true" if value else b"false")
    if isinstance(value, int):
        return b'"intValue":"%d"' % value
    if isinstance(value, str):
        return b'"stringValue":' + _text(value)
    if math.isfinite(value):
        return b'"doubleValue":' + _encode(value)
    return b'"doubleValue":' + (b'"NaN"' if math.isnan(value) else b'"Infinity"' if value > 0 else b'"-Infinity"')


def _fields(key: str) -> Fields:
    return _Values(key)


_TYPES = Types(dict.fromkeys((str, int, float, bool), _fields))
"""Type -> key -> value -> attribute; cached as those of protobuf are (see wire.py)."""


def _attributes(values: Mapping[str, Scalar]) -> bytes:
    """The attributes as a member that follows another one; nothing if there are none."""
    if not values:
        return b""
    return b',"attributes":[%b]' % b",".join([_TYPES[type(value)][key][value] for key, value in values.items()])


def _array(name: bytes, encoded: Iterable[bytes]) -> bytes:
    items = b",".join(encoded)
    return b',"%b":[%b]' % (name, items) if items else b""


def _span(span: SpanData) -> bytes:
    message = b'"message":' + _text(span.status_message) if span.status_message and span.status == ERROR else b""
    code = b'"code":%d' % span.status if span.status else b""
    return b"".join(
        (
            b'{"traceId":"%b","spanId":"%b"' % (hexlify(span.trace_id), hexlify(span.span_id)),
            b',"traceState":' + _text(span.trace_state) if span.trace_state else b"",
            b',"parentSpanId":"%b"' % hexlify(span.parent_span_id) if span.parent_span_id else b"",
            b',"flags":%d,"name":%b,"kind":%d' % (FLAGS, _text(span.name), span.kind),
            b',"startTimeUnixNano":"%d","endTimeUnixNano":"%d"' % (_time(span.start), _time(span.end)),
            _attributes(span.attributes),
            _array(b"events", map(_event, span.events)),
            _array(b"links", map(_link, span.links)),
            b',"status":{%b}}' % (message + b"," + code if message and code else message + code),
        )
    )


def _event(event: SpanEvent) -> bytes:
    head = b'{"timeUnixNano":"%d","name":%b' % (_time(event.time), _text(event.name))
    return head + _attributes(event.attributes) + b"}"


def _link(link: SpanLink) -> bytes:
    head = b'{"traceId":"%b","spanId":"%b"' % (hexlify(link.trace_id), hexlify(link.span_id))
    return head + _attributes(link.attributes) + b',"flags":%d}' % FLAGS


def _log(log: LogData) -> bytes:
    return b"".join(
        (
            b'{"timeUnixNano":"%d","observedTimeUnixNano":"%d"' % (_time(log.time), _time(log.observed)),
            b',"severityNumber":%d' % log.severity if log.severity else b"",
            b',"severityText":' + _text(log.severity_text) if log.severity_text else b"",
            b',"body":{"stringValue":' + _text(log.body) + b"}",
            _attributes(log.attributes),
            b',"flags":1,"traceId":"%b"' % hexlify(log.trace_id) if log.trace_id else b"",
            b',"spanId":"%b"' % hexlify(log.span_id) if log.span_id else b"",
            b',"eventName":' + _text(log.event_name) if log.event_name else b"",
            b"}",
        )
    )
