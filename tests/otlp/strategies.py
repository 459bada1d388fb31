"""Telemetry at random, usual and unusual values alike, for the laws of the encoders."""

from __future__ import annotations

from typing import Literal

from hypothesis import strategies as st

from otel_events.model.telemetry import (
    Exemplar,
    HistogramPoint,
    LogData,
    MetricData,
    Point,
    SpanData,
    SpanEvent,
    SpanLink,
)

MAX = (1 << 64) - 1
STRINGS = st.one_of(
    st.sampled_from(["", "a", "flyte", "ü" * 70, "x" * 127, "x" * 128, "é" * 300, "x" * 20_000, "\x00", "日本語🎉"]),
    st.text(max_size=20),
)
SCALARS = st.one_of(
    STRINGS,
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.sampled_from([0, 1, -1, 127, 128, 16_383, 16_384, (1 << 63) - 1, -(1 << 63)]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -0.0, 1.0]),
)
TIMES = st.one_of(st.integers(0, MAX), st.sampled_from([0, 1, 1_760_000_000_123_456_789, MAX]))
KEYS = st.one_of(
    st.sampled_from(["error.type", "otel_events.run.id", "cicd.pipeline.name", "a" * 200, "k"]),
    st.text(min_size=1, max_size=10),
)
ATTRIBUTES = st.dictionaries(KEYS, SCALARS, max_size=5)


def ids(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size).filter(any)


EVENTS = st.builds(SpanEvent, TIMES, STRINGS, ATTRIBUTES)
LINKS = st.builds(SpanLink, ids(16), ids(8), ATTRIBUTES)
SPANS = st.builds(
    SpanData,
    trace_id=ids(16),
    span_id=ids(8),
    parent_span_id=st.one_of(st.just(b""), ids(8)),
    name=STRINGS,
    kind=st.integers(1, 5),
    start=TIMES,
    end=TIMES,
    attributes=ATTRIBUTES,
    events=st.lists(EVENTS, max_size=3),
    links=st.one_of(
        st.lists(LINKS, max_size=2), st.builds(lambda link, many: [link] * many, LINKS, st.integers(20, 200))
    ),
    status=st.integers(0, 2),
    status_message=STRINGS,
    trace_state=st.sampled_from(["", "rojo=00f067aa0ba902b7", "a=1,b=2"]),
)
IN_TRACE = st.one_of(st.just((b"", b"")), st.tuples(ids(16), ids(8)))


@st.composite
def logs(draw: st.DrawFn) -> LogData:
    trace_id, span_id = draw(IN_TRACE)
    return LogData(
        time=draw(TIMES),
        observed=draw(TIMES),
        severity=draw(st.integers(1, 24)),
        severity_text=draw(st.sampled_from(["", "INFO", "WARN", "ERROR"])),
        body=draw(STRINGS),
        attributes=draw(ATTRIBUTES),
        trace_id=trace_id,
        span_id=span_id,
        event_name=draw(st.sampled_from(["", "otel_events.run.running", "exception"])),
    )


NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
EXEMPLARS = st.builds(Exemplar, NUMBERS, TIMES, ids(16), ids(8))
LABELS = st.sampled_from(["", "flyte", "päivä", "x" * 130])
BOUNDS = st.lists(st.floats(0, 1e6), max_size=20, unique=True).map(lambda bounds: tuple(sorted(bounds)))


@st.composite
def histogram_points(draw: st.DrawFn, names: tuple[str, ...]) -> HistogramPoint:
    bounds = draw(BOUNDS)
    buckets = draw(st.lists(st.integers(0, MAX >> 8), min_size=len(bounds) + 1, max_size=len(bounds) + 1))
    return HistogramPoint(
        labels=tuple(draw(LABELS) for _ in names),
        count=sum(buckets),
        sum=draw(NUMBERS),
        bounds=bounds,
        buckets=buckets,
        exemplars=draw(st.lists(EXEMPLARS, max_size=3)),
    )


@st.composite
def points(draw: st.DrawFn, names: tuple[str, ...]) -> Point:
    return Point(tuple(draw(LABELS) for _ in names), draw(NUMBERS), draw(st.one_of(st.none(), EXEMPLARS)))


NAMES: st.SearchStrategy[tuple[str, ...]] = st.sampled_from([(), ("source",), ("source", "workflow", "outcome")])
KINDS: tuple[Literal["counter", "gauge", "histogram"], ...] = ("counter", "gauge", "histogram")


@st.composite
def metrics(draw: st.DrawFn) -> MetricData:
    kind, names = draw(st.sampled_from(KINDS)), draw(NAMES)
    histograms = draw(st.lists(histogram_points(names), max_size=4))
    numbers = draw(st.lists(points(names), max_size=4))
    return MetricData(
        name=draw(st.sampled_from(["otel_events_runs_total", "otel_events_stat_läng"])),
        type=kind,
        help=draw(STRINGS),
        unit=draw(st.sampled_from(["", "s", "By"])),
        label_names=names,
        points=histograms if kind == "histogram" else numbers,
        start=draw(TIMES),
        time=draw(TIMES),
    )
