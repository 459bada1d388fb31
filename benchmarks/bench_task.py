"""What a run of a no-op task costs: ``@task`` against the same written by hand with the OpenTelemetry SDK.

    python -m benchmarks.bench_task [ROUNDS]

Both sides make for each call a span with the same attributes and two span events, a counter and a histogram with the
same labels, and a log record in the span's context; ours logs both changes of phase, and counts the attempt besides.

| figure | what is in it |
|---|---|
| encoded | from the call to the bytes of OTLP, which go nowhere: the SDK with exporters that only encode, our fold without a journal |
| sent | the whole life of a program: set up, journal (ours), OTLP/HTTP to a sink in a process of its own, shut down |
| alone, in a workflow | each call is a run with a trace of its own; all calls are parts of one run |

Figures are CPU time of the process, all of its threads, for one call: the median of the ratios of interleaved rounds.
The gate is for ``encoded``. ``returns`` is the wall time until a call returns.
"""  # noqa: E501  # a table row is one line

from __future__ import annotations

import gc
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from benchmarks import sink
from otel_events import task, workflow
from otel_events.core.metrics import Metrics
from otel_events.gateway.engine import Engine
from otel_events.inprocess import process
from otel_events.inprocess import queue as live
from otel_events.journal import Closing
from otel_events.model.event import AnyEvent
from otel_events.model.identity import trace_id
from otel_events.otlp import encode_metric, logs_request, metrics_request, traces_request

CALLS = 5_000
GATE = 8.0
IMPORT_SECONDS = 0.150
ROUNDS = 7


class EncodeSpans(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        encode_spans(spans).SerializeToString()
        return SpanExportResult.SUCCESS


class EncodeLogs(LogRecordExporter):
    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        encode_logs(batch).SerializeToString()
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True

    def shutdown(self) -> None:
        """Nothing is open."""


class EncodeMetrics(MetricExporter):
    def export(self, metrics_data: MetricsData, timeout_millis: float = 0, **kwargs: Any) -> MetricExportResult:
        encode_metrics(metrics_data).SerializeToString()
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 0) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 0, **kwargs: Any) -> None:
        """As above."""


def _repeat(noop: Callable[[], None]) -> None:
    for _ in range(CALLS):
        noop()


class ByHand:
    """What a user would write; its queues are large enough to lose nothing, unlike the SDK's defaults."""

    def __init__(self, url: str) -> None:
        """``url`` "": encoded, and sent nowhere."""
        resource = Resource.create({"service.name": "job"})
        self.spans = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{url}/v1/traces") if url else EncodeSpans()
        self.spans.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=2**20))
        self.logs = LoggerProvider(resource=resource, shutdown_on_exit=False)
        log_exporter = OTLPLogExporter(endpoint=f"{url}/v1/logs") if url else EncodeLogs()
        self.logs.add_log_record_processor(BatchLogRecordProcessor(log_exporter, max_queue_size=2**20))
        metric_exporter = OTLPMetricExporter(endpoint=f"{url}/v1/metrics") if url else EncodeMetrics()
        reader = PeriodicExportingMetricReader(metric_exporter, 60_000)
        self.metrics = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        self.tracer, self.logger = self.spans.get_tracer("job"), self.logs.get_logger("job")
        meter = self.metrics.get_meter("job")
        self.runs = meter.create_counter("runs")
        self.duration = meter.create_histogram("run_duration", unit="s")
        self.number = 0

    def work(self, within: bool) -> None:
        if within:
            with self.tracer.start_as_current_span("RUN job"):
                _repeat(self.noop)
        else:
            _repeat(self.noop)

    def noop(self) -> None:
        self.number += 1
        run = f"run-{self.number}"
        started = time.time_ns()
        with self.tracer.start_as_current_span("benchmarks.bench_task.noop", attributes=_attributes(run)) as span:
            span.add_event("otel_events.run.running", {"otel_events.phase.native": "running"})
            nothing()
            span.add_event("otel_events.run.succeeded", {"otel_events.phase.native": "succeeded"})
            span.set_attribute("otel_events.outcome", "succeeded")
            span.set_attribute("otel_events.phase.native", "succeeded")
            span.set_attribute("cicd.pipeline.task.run.result", "success")
            seconds = (time.time_ns() - started) / 1e9
            span.set_attribute("otel_events.queue.duration", 0.0)
            span.set_attribute("otel_events.run.duration", seconds)
            self.logger.emit(_record(run))
        labels = {"source": "python", "kind": "task", "name": "benchmarks.bench_task.noop", "outcome": "succeeded"}
        self.runs.add(1, labels)
        self.duration.record(seconds, labels)

    def close(self) -> None:
        for provider in (self.spans, self.logs, self.metrics):
            provider.shutdown()


def _attributes(run: str) -> dict[str, Any]:
    return {
        "code.function.name": "benchmarks.bench_task.noop",
        "code.file.path": __file__,
        "code.line.number": 1,
        "cicd.pipeline.run.id": run,
        "cicd.pipeline.task.name": "benchmarks.bench_task.noop",
        "cicd.pipeline.task.run.id": run,
        "otel_events.source": "python",
        "otel_events.kind": "task",
        "otel_events.run.id": run,
        "otel_events.attempt": 1,
    }


def _record(run: str) -> LogRecord:
    return LogRecord(
        timestamp=time.time_ns(),
        severity_number=SeverityNumber.INFO,
        severity_text="INFO",
        body="succeeded",
        event_name="otel_events.run.succeeded",
        attributes={
            "otel_events.source": "python",
            "otel_events.kind": "task",
            "otel_events.name": "benchmarks.bench_task.noop",
            "otel_events.run.id": run,
            "otel_events.attempt": 1,
            "otel_events.phase.native": "succeeded",
        },
    )


def nothing() -> None:
    """The task itself."""


noop = task(name="benchmarks.bench_task.noop")(nothing)


@workflow(name="job")
def job() -> None:
    _repeat(noop)


class Ours:
    """``@task`` as a program has it: a journal, a thread behind, our own sender."""

    def __init__(self, url: str) -> None:
        self._folder = tempfile.mkdtemp(prefix="otel-events-bench-")
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
        process.configure(Path(self._folder) / "journal.db", environ=environ)

    def work(self, within: bool) -> None:
        if within:
            job()
        else:
            _repeat(noop)

    def close(self) -> None:
        process.shutdown()
        shutil.rmtree(self._folder)


class OursEncoded(Ours):
    """The same queue, thread and fold; the bytes go nowhere."""

    def __init__(self, url: str) -> None:
        self._metrics = Metrics()
        self._engine = Engine(self._metrics, lambda key, upto: ())
        self._seq, self._seen, self._spans, self._logs = 0, set[bytes](), 0, 0
        self._live = live.EventQueue(self._take, lambda: None)
        live.install(self._live)

    def _take(self, events: Sequence[AnyEvent]) -> None:
        roots: dict[bytes, list[AnyEvent]] = {}
        for event in events:
            run = event.run
            roots.setdefault(self._key(run.source, run.namespace, run.root), []).append(event)
        self._apply(roots, {})

    _key = staticmethod(lru_cache(maxsize=None)(trace_id))

    def _apply(self, roots: dict[bytes, list[AnyEvent]], closings: dict[bytes, list[Closing]]) -> None:
        self._seq += 1
        fresh = roots.keys() - self._seen
        self._seen |= fresh
        output = self._engine.apply(self._seq, roots, closings, fresh, time.time_ns())
        traces_request(output.spans, b"", b"")
        logs_request(output.logs, b"", b"")
        self._spans, self._logs = self._spans + len(output.spans), self._logs + len(output.logs)

    def close(self) -> None:
        live.install(None)
        self._live.stop()
        self._apply({}, self._engine.decider.drain())
        metrics_request(list(map(encode_metric, self._metrics.collect(time.time_ns()))), b"", b"")
        assert self._spans >= CALLS
        assert self._logs == 2 * self._spans


def measure(make: Callable[[str], Any], url: str, within: bool) -> tuple[float, float]:
    """(CPU us for one call, all included; wall us until a call returns)."""
    gc.collect()
    used = time.process_time()
    side = make(url)
    began = time.perf_counter()
    side.work(within)
    wall = time.perf_counter() - began
    side.close()
    return (time.process_time() - used) / CALLS * 1e6, wall / CALLS * 1e6


def run(url: str, rounds: int = ROUNDS) -> None:
    """Print the figures, and the import's."""
    for what, ours, where in (("encoded", OursEncoded, ""), ("sent", Ours, url)):
        for within in (False, True):
            shape = "in a workflow" if within else "alone"
            _compare(f"@task {shape}, {what}", ours, where, within, rounds, GATE if what == "encoded" else None)
    seconds = import_seconds()
    print(
        f"  import otel_events: {seconds[0] * 1e3:.0f} ms, with @task {seconds[1] * 1e3:.0f} ms; "
        f"gate {IMPORT_SECONDS * 1e3:.0f} ms: {_verdict(max(seconds) <= IMPORT_SECONDS)}",
        flush=True,
    )


def _compare(what: str, ours: Callable[[str], Any], url: str, within: bool, rounds: int, gate: float | None) -> None:
    pairs = [(measure(ByHand, url, within), measure(ours, url, within)) for _ in range(rounds + 1)][1:]  # one warms up
    ratios = sorted(theirs[0] / mine[0] for theirs, mine in pairs)
    ratio = statistics.median(ratios)
    theirs, mine = (
        [statistics.median(column) for column in zip(*side, strict=True)] for side in zip(*pairs, strict=True)
    )
    verdict = f", gate {gate:g}: {_verdict(ratio >= gate)}" if gate else ""
    print(
        f"{what}: by hand {theirs[0]:.0f} us, ours {mine[0]:.1f}; ratio {ratio:.1f} "
        f"({ratios[0]:.1f}..{ratios[-1]:.1f}){verdict}; returns after {theirs[1]:.0f} us, ours {mine[1]:.1f}",
        flush=True,
    )


def _verdict(well: bool) -> str:
    return "ok" if well else "MISSED"


def import_seconds() -> tuple[float, float]:
    """What an import takes in a fresh interpreter, without and with the names of the decorators asked for."""
    ways = ("import otel_events", "from otel_events import configure, current_context, task, workflow")
    seconds = [statistics.median(_import_seconds(way) for _ in range(5)) for way in ways]
    return seconds[0], seconds[1]


def _import_seconds(way: str) -> float:
    code = f"import time\nbegan = time.perf_counter()\n{way}\nprint(time.perf_counter() - began)"
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    with sink.running() as address:
        run(address, int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
