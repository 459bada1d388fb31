"""Our bytes are the SDK's bytes, for every span, log record and metric; and the tables behind them stay bounded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from enum import Enum, IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_events.model.telemetry import Attributes, LogData, MetricData, Point, SpanData, SpanEvent
from otel_events.otlp import encode, wire
from otel_events.otlp.metrics import encode_metric
from tests.otlp import sdk, strategies

RESOURCE = encode.resource(sdk.RESOURCE_ATTRIBUTES)
SCOPE = encode.scope("otel_events", "0.1.0")


def same(ours: bytes, theirs: Any) -> None:
    """Parsed equal (as text, which tells what differs and holds NaN equal to itself), and equal byte for byte."""
    assert str(type(theirs).FromString(ours)) == str(theirs)
    assert ours == theirs.SerializeToString()


@given(st.lists(strategies.SPANS, min_size=1, max_size=3))
def test_spans_are_the_sdks_bytes(spans: list[SpanData]) -> None:
    ours = encode.traces_request([encode.encode_span(span) for span in spans], RESOURCE, SCOPE)
    same(ours, sdk.traces(spans))


@given(st.lists(strategies.logs(), min_size=1, max_size=3))
def test_logs_are_the_sdks_bytes(records: list[LogData]) -> None:
    ours = encode.logs_request([encode.encode_log(record) for record in records], RESOURCE, SCOPE)
    same(ours, sdk.logs(records))


@given(st.lists(strategies.metrics(), min_size=1, max_size=3))
def test_metrics_are_the_sdks_bytes(families: list[MetricData]) -> None:
    ours = encode.metrics_request([encode_metric(family) for family in families], RESOURCE, SCOPE)
    same(ours, sdk.metrics(families))


def value(scalar: Any, key: str = "k") -> AnyValue:
    """The one attribute of a span, as a reader of the bytes sees it."""
    [pair] = Span.FromString(wire.attribute(wire.SPAN, key, scalar)).attributes
    assert pair.key == key
    sent: AnyValue = pair.value
    return sent


def test_values_that_are_equal_to_python_keep_their_types() -> None:
    for _ in range(2):  # the second time from the tables
        assert value(True) == AnyValue(bool_value=True)
        assert value(1) == AnyValue(int_value=1)
        assert value(1.0) == AnyValue(double_value=1.0)
        assert value(False) == AnyValue(bool_value=False)
        assert value(0) == AnyValue(int_value=0)
        assert str(value(0.0).double_value) == "0.0"
        assert str(value(-0.0).double_value) == "-0.0"
        assert value("1") == AnyValue(string_value="1")


class Colour(IntEnum):
    RED = 3


class Word(str, Enum):  # noqa: UP042 - as in older code, where str() gives Word.FLYTE
    FLYTE = "flyte"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (1 << 63, AnyValue(string_value="9223372036854775808")),
        (-(1 << 63) - 1, AnyValue(string_value="-9223372036854775809")),
        (1 << 40_000, AnyValue(string_value=hex(1 << 40_000))),
        ("a\ud800b", AnyValue(string_value="a?b")),
        (Colour.RED, AnyValue(int_value=3)),
        (Word.FLYTE, AnyValue(string_value="flyte")),
        (None, AnyValue(string_value="None")),
        ([1, "a"], AnyValue(string_value="[1, 'a']")),
    ],
    ids=lambda given: type(given).__name__,
)
def test_what_otlp_cannot_hold_goes_out_as_the_nearest_scalar(given: Any, sent: AnyValue) -> None:
    assert value(given) == sent


def test_lone_surrogates_are_replaced_wherever_text_stands() -> None:
    bad = "a\udfffb"
    event = SpanEvent(1, bad, {bad: bad})
    span = SpanData(b"t" * 16, b"s" * 8, b"", bad, 1, 1, 2, {bad: bad}, [event], [], 2, bad, bad)
    read = Span.FromString(encode.encode_span(span))
    assert {read.name, read.status.message, read.trace_state, read.attributes[0].key, read.events[0].name} == {"a?b"}
    log = LogData(1, 2, 9, bad, bad, {}, event_name=bad)
    record = LogRecord.FromString(encode.encode_log(log))
    assert {record.body.string_value, record.severity_text, record.event_name} == {"a?b"}


@pytest.mark.parametrize(("given_time", "sent"), [(-1, 0), (1 << 64, (1 << 64) - 1), (1 << 80, (1 << 64) - 1)])
def test_times_that_no_64_bits_hold_are_clamped(given_time: int, sent: int) -> None:
    event = SpanEvent(given_time, "e")
    span = SpanData(b"t" * 16, b"s" * 8, b"", "n", 1, given_time, given_time, {}, [event])
    read = Span.FromString(encode.encode_span(span))
    assert (read.start_time_unix_nano, read.end_time_unix_nano, read.events[0].time_unix_nano) == (sent,) * 3
    record = LogRecord.FromString(encode.encode_log(LogData(given_time, given_time, 9, "", "", {})))
    assert (record.time_unix_nano, record.observed_time_unix_nano) == (sent, sent)


def test_a_status_message_belongs_to_an_error_alone() -> None:
    for status, message in ((0, ""), (1, ""), (2, "boom")):
        span = SpanData(b"t" * 16, b"s" * 8, b"", "n", 1, 1, 2, {}, status=status, status_message="boom")
        assert Span.FromString(encode.encode_span(span)).status.message == message


def test_a_label_without_a_value_is_no_attribute() -> None:
    points = [Point(("a", "", "c"), 1.0), Point(("", "", ""), 2.0)]
    family = MetricData("f_total", "counter", "", "", ("x", "y", "z"), points, 1, 2)
    read = Metric.FromString(encode_metric(family)).sum.data_points
    assert [[(pair.key, pair.value.string_value) for pair in point.attributes] for point in read] == [
        [("x", "a"), ("z", "c")],
        [],
    ]


def test_more_values_than_a_table_holds_are_all_encoded_and_the_table_is_given_up() -> None:
    kinds = wire.ATTRIBUTES[wire.LINK]
    for make in (lambda number: f"run-{number}", lambda number: number):
        for number in range(wire.VALUES + 100):
            sent = Span.Link.FromString(wire.attribute(wire.LINK, "of many", make(number))).attributes[0].value
            assert (sent.string_value or sent.int_value) == make(number)
        assert not isinstance(kinds[type(make(0))]["of many"], dict)


def test_more_keys_than_a_tag_has_tables_for_are_all_encoded() -> None:
    for number in range(wire.KEYS + 100):
        sent = Span.Link.FromString(wire.attribute(wire.LINK, f"key {number}", "v")).attributes[0]
        assert (sent.key, sent.value.string_value) == (f"key {number}", "v")
    assert len(wire.ATTRIBUTES[wire.LINK][str]) <= wire.KEYS


def test_long_keys_and_values_are_encoded_and_not_kept() -> None:
    key, text = "key" * wire.LONG, "value" * wire.LONG
    assert value(text, key).string_value == text
    assert key not in wire.ATTRIBUTES[wire.SPAN][str]
    assert value(text, "usual").string_value == text
    assert text not in wire.ATTRIBUTES[wire.SPAN][str]["usual"]  # type: ignore[operator]  # a dict, as it is new


def test_all_tables_together_are_bounded() -> None:
    def entries() -> int:
        tables = [fields for owner in wire._CACHE.owners for fields in owner.values()]
        return sum(len(table) for table in tables if isinstance(table, wire._Interned))

    for key in range(20):
        for number in range(wire.VALUES - 1):
            wire.attribute(wire.EVENT, f"bounded {key}", number)
    assert entries() <= wire.ENTRIES
    assert value("after", "bounded 0").string_value == "after"


def test_threads_share_the_tables() -> None:
    def numbered(number: int) -> SpanData:
        attributes: Attributes = {f"shared {number % 50}": number, "x": f"v{number}"}
        return SpanData(b"t" * 16, b"s" * 8, b"", f"n{number % 7}", 1, 1, 2, attributes)

    spans = [numbered(number) for number in range(2000)]
    alone = [encode.encode_span(span) for span in spans]
    with ThreadPoolExecutor(4) as pool:
        for together in pool.map(lambda _: [encode.encode_span(span) for span in spans], range(4)):
            assert together == alone
