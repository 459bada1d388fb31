"""The kit that users test with: its examples hold, and the SDK's own exporters are received by it."""

from __future__ import annotations

import doctest
import threading
from importlib import import_module
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Status, StatusCode

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
from otel_events.otlp import (
    encode_log,
    encode_metric,
    encode_span,
    logs_request,
    metrics_request,
    resource,
    scope,
    traces_request,
)
from otel_events.otlp.config import Protocol
from otel_events.testing import Answer, CaptureServer, FakeClock, MetricPoint, capture
from tests.patience import PATIENCE

TRACE, SPAN = b"t" * 16, b"s" * 8
EXPORTERS: dict[Protocol, tuple[Any, Any, Any]] = {
    "grpc": (GrpcSpans, GrpcMetrics, GrpcLogs),
    "http/protobuf": (HttpSpans, HttpMetrics, HttpLogs),
}


@pytest.mark.parametrize("module", ["", ".clock", ".memory", ".server"])
def test_the_examples_hold(module: str) -> None:
    result = doctest.testmod(import_module(f"otel_events.testing{module}"))
    assert (result.failed, result.attempted > 0) == (0, True)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_the_sdks_exporters_are_received(protocol: Protocol, monkeypatch: pytest.MonkeyPatch) -> None:
    spans, metrics, logs = EXPORTERS[protocol]
    about = Resource({"service.name": "mine"})
    with CaptureServer() as collector:
        for name, value in collector.environ(protocol).items():
            monkeypatch.setenv(name, value)
        tracers = TracerProvider(resource=about, shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(spans()))
        with tracers.get_tracer("t", "1").start_as_current_span("made by the SDK", attributes={"list": [1, 2]}) as span:
            span.set_status(Status(StatusCode.ERROR, "why"))
        meters = MeterProvider([PeriodicExportingMetricReader(metrics(), 1e9)], about, shutdown_on_exit=False)
        meters.get_meter("m").create_counter("made", "1", "how many").add(2, {"a": "b"})
        meters.get_meter("m").create_up_down_counter("open").add(3)
        meters.shutdown()
        loggers = LoggerProvider(about, shutdown_on_exit=False)
        loggers.add_log_record_processor(SimpleLogRecordProcessor(logs()))
        record = LogRecord(timestamp=7, body={"k": [True]}, severity_number=SeverityNumber.WARN, event_name="e")
        loggers.get_logger("l").emit(record)
        tracers.shutdown()
        loggers.shutdown()
    [sent], [log], points = collector.spans(), collector.logs(), collector.metrics()
    nested: Any = [sent.attributes, log.body]
    assert nested == [{"list": [1, 2]}, {"k": [True]}]
    assert (sent.name, sent.status, sent.status_message) == ("made by the SDK", 2, "why")
    assert (log.time, log.severity, log.event_name) == (7, 13, "e")
    made = {point.name: point for point in points}
    counted, opened = made["made"], made["open"]
    assert (counted.type, counted.value, counted.labels, counted.help) == ("counter", 2.0, {"a": "b"}, "how many")
    assert (opened.type, opened.value) == ("gauge", 3.0)
    assert collector.resources() == [{"service.name": "mine"}] * len(collector.requests)
    assert set(collector.scopes()) == {("t", "1"), ("m", ""), ("l", "")}
    assert {request.protocol for request in collector.requests} == {protocol}


def test_what_was_sent_comes_back_as_the_same_structs() -> None:
    memory = capture()
    traces, metrics, logs = memory.senders
    about = (resource({"a": 1}), scope("me", "2"))
    span = SpanData(
        TRACE,
        SPAN,
        SPAN,
        "n",
        2,
        1,
        2,
        {"k": True},
        [SpanEvent(1, "e", {"f": 1.5})],
        [SpanLink(TRACE, SPAN, {"l": "x"})],
        2,
        "why",
        "a=1",
    )
    log = LogData(1, 2, 9, "INFO", "text", {"k": 3}, TRACE, SPAN, "name")
    exemplar = Exemplar(0.5, 9, TRACE, SPAN)
    families = [
        MetricData("c_total", "counter", "help", "s", ("l",), [Point(("x",), 4.0, exemplar)], 1, 2),
        MetricData("g", "gauge", "", "", (), [Point((), -1.0)], 1, 2),
        MetricData(
            "h", "histogram", "", "s", ("l",), [HistogramPoint(("x",), 3, 6.0, (1.0,), [1, 2], [exemplar])], 1, 2
        ),
        MetricData("none", "gauge", "", "", (), [], 1, 2),
    ]
    assert traces.send(traces_request([encode_span(span)], *about), 1.0).outcome == "ok"
    assert logs.send(logs_request([encode_log(log)], *about), 1.0).outcome == "ok"
    assert metrics.send(metrics_request([encode_metric(family) for family in families], *about), 1.0).outcome == "ok"
    assert (memory.spans(), memory.logs()) == ([span], [log])
    labels = {"l": "x"}
    assert memory.metrics() == [
        MetricPoint("c_total", "counter", "help", "s", labels, 1, 2, value=4.0, exemplars=(exemplar,)),
        MetricPoint("g", "gauge", "", "", {}, 0, 2, value=-1.0),
        MetricPoint("h", "histogram", "", "s", labels, 1, 2, 0.0, 3, 6.0, (1.0,), (1, 2), (exemplar,)),
    ]
    assert memory.scopes() == [("me", "2")] * 3
    memory.clear()
    assert (memory.requests, memory.spans()) == ([], [])


def test_what_is_no_message_is_refused_as_a_collector_does() -> None:
    [traces, *_] = capture().senders
    assert traces.send(b"\xff", 1.0).outcome == "refused"
    with pytest.raises(DecodeError):
        capture().store("logs", "memory", {}, b"\xff")


def test_a_stopped_server_takes_the_same_ports_again() -> None:
    with CaptureServer() as collector:
        before = (collector.url, collector.target)
        collector.stop()
        collector.start()
        assert (collector.url, collector.target) == before


def test_a_silent_server_stops() -> None:
    with CaptureServer() as collector:
        collector.answers.append(Answer(silent=True))
        thread = threading.Thread(target=collector.next_answer)
        thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_the_clock_wakes_who_has_waited_long_enough() -> None:
    clock, condition, woken = FakeClock(), threading.Condition(), list[float]()

    def sleep() -> None:
        with condition:
            until = clock.monotonic() + 10
            while (left := until - clock.monotonic()) > 0:
                clock.wait(condition, left)
            woken.append(clock.monotonic())

    thread = threading.Thread(target=sleep)
    thread.start()
    assert clock.until_asleep(PATIENCE) == 10
    clock.advance(4)
    assert clock.until_asleep(PATIENCE) == 6
    assert woken == []
    clock.advance(6)
    thread.join(PATIENCE)
    assert woken == [10]
    with pytest.raises(AssertionError, match="nobody waited"):
        clock.until_asleep(0.01)
