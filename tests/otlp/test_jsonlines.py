"""A line of the collector's file format, read back by the official JSON parser, is what our protobuf bytes say."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_events.model.telemetry import LogData, SpanData, SpanEvent
from otel_events.otlp import encode, jsonlines
from tests.otlp import sdk, strategies

RESOURCE, SCOPE = sdk.RESOURCE_ATTRIBUTES, ("otel_events", "0.1.0")
IDS = ("traceId", "spanId", "parentSpanId")


def to_base64(value: Any) -> Any:
    """Ids as proto3 JSON has bytes (OTLP has hex instead), so that the official parser takes them."""
    if isinstance(value, list):
        return [to_base64(part) for part in value]
    if not isinstance(value, dict):
        return value
    converted = {key: to_base64(part) for key, part in value.items()}
    return converted | {
        key: base64.b64encode(bytes.fromhex(converted[key])).decode() for key in IDS if key in converted
    }


def read(line: bytes, message: Any) -> Any:
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return json_format.ParseDict(to_base64(json.loads(line)), message)


@given(st.lists(strategies.SPANS, min_size=1, max_size=3))
def test_a_line_of_spans_says_what_the_bytes_say(spans: list[SpanData]) -> None:
    line = read(jsonlines.traces_line(spans, RESOURCE, SCOPE), ExportTraceServiceRequest())
    sent = encode.traces_request(list(map(encode.encode_span, spans)), encode.resource(RESOURCE), encode.scope(*SCOPE))
    assert str(line) == str(ExportTraceServiceRequest.FromString(sent))


@given(st.lists(strategies.logs(), min_size=1, max_size=3))
def test_a_line_of_logs_says_what_the_bytes_say(records: list[LogData]) -> None:
    line = read(jsonlines.logs_line(records, RESOURCE, SCOPE), ExportLogsServiceRequest())
    sent = encode.logs_request(list(map(encode.encode_log, records)), encode.resource(RESOURCE), encode.scope(*SCOPE))
    assert str(line) == str(ExportLogsServiceRequest.FromString(sent))


def span(**fields: Any) -> SpanData:
    return SpanData(b"\xab" * 16, b"\xcd" * 8, b"", "n", 1, 1_760_000_000_123_456_789, 1 << 65, **fields)


def first(line: bytes) -> Any:
    [about] = json.loads(line)["resourceSpans"]
    return about["scopeSpans"][0]["spans"][0]


def test_the_form_is_the_file_exporters() -> None:
    line = jsonlines.traces_line(
        [span(attributes={"a": 1, "b": True, "c": float("nan")})], {"service.name": "x"}, SCOPE
    )
    assert line == (
        b'{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"x"}}]},'
        b'"scopeSpans":[{"scope":{"name":"otel_events","version":"0.1.0"},"spans":[{"traceId":"' + b"ab" * 16 + b'",'
        b'"spanId":"' + b"cd" * 8 + b'","flags":256,"name":"n","kind":1,"startTimeUnixNano":"1760000000123456789",'
        b'"endTimeUnixNano":"18446744073709551615","attributes":[{"key":"a","value":{"intValue":"1"}},'
        b'{"key":"b","value":{"boolValue":true}},{"key":"c","value":{"doubleValue":"NaN"}}],"status":{}}],'
        b'"schemaUrl":"https://opentelemetry.io/schemas/1.44.0"}],"schemaUrl":"https://opentelemetry.io/schemas/1.44.0"}]}'
        b"\n"
    )


def test_lone_surrogates_are_replaced_wherever_text_stands() -> None:
    bad = "a\ud800b"
    request = first(jsonlines.traces_line([span(attributes={bad: bad}, events=[SpanEvent(1, bad)])], {}, SCOPE))
    assert request["attributes"] == [{"key": "a?b", "value": {"stringValue": "a?b"}}]
    assert request["events"][0]["name"] == "a?b"


@pytest.mark.parametrize("value", [1 << 63, -(1 << 64), 1 << 40_000, None, [1]], ids=lambda value: type(value).__name__)
def test_what_otlp_cannot_hold_is_the_same_text_as_in_protobuf(value: Any) -> None:
    data = span(attributes={"k": value})
    line = read(jsonlines.traces_line([data], RESOURCE, SCOPE), ExportTraceServiceRequest())
    sent = encode.traces_request([encode.encode_span(data)], encode.resource(RESOURCE), encode.scope(*SCOPE))
    assert line == ExportTraceServiceRequest.FromString(sent)
