"""Before any comparison: both sides tell the same of the same events. Names and ids differ by design, facts may not."""

from __future__ import annotations

from collections import Counter

from benchmarks import workload
from benchmarks.naive import Naive
from benchmarks.ours import Streaming
from otel_events.core.exposition import distributions
from otel_events.testing import CaptureServer

RUNS = 500
REPORT = "otel_events.report"
"""Ours tells of task logs as reports; the baseline passes over them."""


def check() -> str:
    """Raises AssertionError with what differs; else says what was compared."""
    stream = workload.stream(0, RUNS)
    theirs, mine = _naive(stream), _ours(stream)
    for what in theirs:
        assert theirs[what] == mine[what], f"{what} differ: naive {theirs[what]!r:.300}, ours {mine[what]!r:.300}"
    return f"{RUNS} spans, {len(stream)} log records, times, phases and durations agree"


Facts = dict[str, object]


def _naive(stream: list[bytes]) -> Facts:
    with CaptureServer() as server:
        side = Naive(server.url)
        for raw in stream:
            side.handle(raw)
        side.flush()
        side.provider.shutdown()
        assert side.logs
        side.logs.shutdown()
        sums = sum(s.value for m in side.duration.collect() for s in m.samples if s.name.endswith("_sum"))
        return _facts(server) | {"seconds": round(sums, 3)}


def _ours(stream: list[bytes]) -> Facts:
    with CaptureServer() as server:
        side = Streaming(server.url)
        side.take(stream)
        side.flush()
        side.close()
        by_name = {m.name: m for m in side.metrics.collect(0)}
        families = ("otel_events_run_duration_seconds", "otel_events_queue_duration_seconds")
        seconds = sum(point.sum for name in families for point in distributions(by_name[name]))
        return _facts(server) | {"seconds": round(seconds, 3)}


def _facts(server: CaptureServer) -> Facts:
    spans, logs = server.spans(), [log for log in server.logs() if log.event_name != REPORT]
    return {
        "spans": Counter((s.name, s.start, s.end) for s in spans),
        "phases": Counter(
            (s.name, s.start, tuple(sorted(e.time for e in s.events if e.name != REPORT))) for s in spans
        ),
        "logs": Counter(log.time for log in logs),
        "traces": len({s.trace_id for s in spans}),
    }
