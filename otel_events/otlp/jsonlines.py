"""OTLP JSON, one export request a line: what the collector's file exporter writes and its otlpjsonfile receiver reads.

Ids are hex in lower case, enums are numbers, 64-bit integers are text, names are lowerCamel; a double that is no number
is "NaN", "Infinity" or "-Infinity" (proto3 JSON). The same input gives the same bytes: keys stand in a fixed order,
attributes in theirs, without spaces. A value is as it would be in protobuf (see wire.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from otel_events.event import Scalar
from otel_events.otlp.encode import FLAGS, SCHEMA_URL
from otel_events.otlp.wire import MAX_FIXED64, as_sent, utf8
from otel_events.telemetry import ERROR, LogData, SpanData, SpanEvent, SpanLink

Scope = tuple[str, str]
"""Name and version."""

_encode = msgspec.json.Encoder().encode


def traces_line(spans: Sequence[SpanData], resource: Mapping[str, Scalar], scope: Scope) -> bytes:
    """ExportTraceServiceRequest as one line of JSON, line end included."""
    return _line("Spans", "spans", [_span(span) for span in spans], resource, scope)


def logs_line(logs: Sequence[LogData], resource: Mapping[str, Scalar], scope: Scope) -> bytes:
    """ExportLogsServiceRequest as one line of JSON, line end included."""
    return _line("Logs", "logRecords", [_log(log) for log in logs], resource, scope)


def _line(kind: str, items: str, found: list[dict[str, Any]], resource: Mapping[str, Scalar], scope: Scope) -> bytes:
    inner = {"scope": _scope(scope), items: found, "schemaUrl": SCHEMA_URL}
    about = {"attributes": _attributes(resource)} if resource else {}
    whole = {f"resource{kind}": [{"resource": about, f"scope{kind}": [inner], "schemaUrl": SCHEMA_URL}]}
    try:
        return _encode(whole) + b"\n"
    except UnicodeEncodeError:  # a lone surrogate somewhere: rare, so looked for only now
        return _encode(_replaced(whole)) + b"\n"


def _replaced(value: Any) -> Any:
    if isinstance(value, str):
        return utf8(value).decode()
    if isinstance(value, list):
        return [_replaced(one) for one in value]
    return {key: _replaced(one) for key, one in value.items()} if isinstance(value, dict) else value


def _scope(scope: Scope) -> dict[str, str]:
    return {key: text for key, text in zip(("name", "version"), scope, strict=True) if text}


def _time(nanoseconds: int) -> str:
    return str(min(max(nanoseconds, 0), MAX_FIXED64))


def _value(value: Scalar) -> dict[str, Any]:
    value = as_sent(value)
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, str):
        return {"stringValue": value}
    if math.isfinite(value):
        return {"doubleValue": value}
    return {"doubleValue": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}


def _attributes(found: Mapping[str, Scalar]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"stringValue": value} if type(value) is str else _value(value)}
        for key, value in found.items()
    ]


def _span(span: SpanData) -> dict[str, Any]:
    made: dict[str, Any] = {"traceId": span.trace_id.hex(), "spanId": span.span_id.hex()}
    if span.trace_state:
        made["traceState"] = span.trace_state
    if span.parent_span_id:
        made["parentSpanId"] = span.parent_span_id.hex()
    made |= {
        "flags": FLAGS,
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": _time(span.start),
        "endTimeUnixNano": _time(span.end),
    }
    parts = (("attributes", _attributes(span.attributes)), ("events", list(map(_event, span.events))))
    made |= {key: part for key, part in (*parts, ("links", list(map(_link, span.links)))) if part}
    message = {"message": span.status_message} if span.status_message and span.status == ERROR else {}
    made["status"] = message | ({"code": span.status} if span.status else {})
    return made


def _event(event: SpanEvent) -> dict[str, Any]:
    made = {"timeUnixNano": _time(event.time), "name": event.name}
    return made | {"attributes": _attributes(event.attributes)} if event.attributes else made


def _link(link: SpanLink) -> dict[str, Any]:
    made: dict[str, Any] = {"traceId": link.trace_id.hex(), "spanId": link.span_id.hex()}
    if link.attributes:
        made["attributes"] = _attributes(link.attributes)
    return made | {"flags": FLAGS}


def _log(log: LogData) -> dict[str, Any]:
    made: dict[str, Any] = {"timeUnixNano": _time(log.time), "observedTimeUnixNano": _time(log.observed)}
    if log.severity:
        made["severityNumber"] = log.severity
    if log.severity_text:
        made["severityText"] = log.severity_text
    made["body"] = {"stringValue": log.body}
    if log.attributes:
        made["attributes"] = _attributes(log.attributes)
    if log.trace_id:
        made |= {"flags": 1, "traceId": log.trace_id.hex()}
    if log.span_id:
        made["spanId"] = log.span_id.hex()
    return made | {"eventName": log.event_name} if log.event_name else made
