"""A bad day: every alert's condition comes true on the real Prometheus, and every panel that is empty while all is well
shows something. Runs fail, wait and hang, records are nonsense, names have no end, hops refuse and go away.

What takes hours (a source that fell silent, a journal that grows) is a past that Prometheus is started on. That alerts
fire, stay silent and clear over time is shown under promtool (test_rules).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from grafana.generate import DASHBOARDS
from otel_events.testing import Answer, CaptureServer
from scripts.stack import Stack, free_ports
from scripts.stack_binaries import ROOT
from scripts.stack_feed import post, wave
from tests.live.stack import broken
from tests.live.stack.backfill import DAY, HOUR, Past, history, level
from tests.live.stack.kit import Prometheus, wait_for
from tests.live.stack.test_proof import cases

pytestmark = pytest.mark.timeout(2400)  # the first to ask builds the binaries, where no cache has them

RULES = yaml.safe_load((ROOT / "collector" / "prometheus" / "alerts.yaml").read_text())["groups"]
ALERTS: dict[str, str] = {rule["alert"]: rule["expr"] for group in RULES for rule in group["rules"]}
PANELS = {
    f"{board.uid}: {panel.title}: {query.expr}": query.expr
    for board in DASHBOARDS
    for row in board.rows
    for panel in row.panels
    for query in panel.queries
    if panel.fault and query.backend == "prometheus"
}
RUN_BOARDS = [board.uid for board in DASHBOARDS if board.uid != "otel-events-health"]
COUNTERS = (
    *("dropped", "dead_letters", "label_overflow", "events_duplicate", "export_failed", "export_retried"),
    "illegal_transitions",
)
SIGNALS = ("spans", "log_records", "metric_points")
COLLECTORS = (
    *(f"otelcol_receiver_refused_{signal}_total" for signal in SIGNALS),
    *(f"otelcol_exporter_send_failed_{signal}_total" for signal in SIGNALS),
    *(f"otelcol_exporter_enqueue_failed_{signal}_total" for signal in SIGNALS),
)
EXPECTED = {
    **{f"alert {name}": expr for name, expr in ALERTS.items()},
    **{f"panel {name}": expr for name, expr in PANELS.items()},
    "alert OtelEventsCollectorRefusing for what was given up": (
        f"({ALERTS['OtelEventsCollectorRefusing']}) and on (job) otelcol_exporter_send_failed_spans_total > 0"
    ),
    **{f"counter {name}": f"otel_events_{name}_total > 0" for name in COUNTERS},
    **{f"counter {name}": f"{name} > 0" for name in COLLECTORS},
}
GONE = 'job="otel-events",instance="gone:4319"'
MIB = 1 << 20
PAST = {
    'otel_events:run_duration_seconds:p95_1h{source="batch",workflow="slow",kind="workflow",name="slow"}': level(40),
    'otel_events:queue_duration_seconds:p95_1h{source="batch",workflow="slow"}': level(5),
    'otel_events:cache_hit:ratio_rate1h{source="batch",name="slow"}': level(0.9),
    f'otel_events_records_received_total{{source="silent",{GONE}}}': Past(
        lambda ago: min(DAY, DAY + HOUR - ago), 3 * HOUR, 0, 60
    ),
    f"otel_events_journal_oldest_unacked_seconds{{{GONE}}}": Past(lambda ago: HOUR - ago, HOUR, 0, 60),
    f"otel_events_journal_bytes{{{GONE}}}": Past(lambda ago: (1_000 - ago / 18) * MIB, HOUR, 0, 60),
}
"""Of a gateway that is gone: a source that fell silent an hour ago, and an hour without a collector."""
CROWDED = {"exporters": {"loadbalancing": {"sending_queue": {"queue_size": 2, "block_on_overflow": False}}}}
CROWDED["exporters"]["otlp_grpc/metrics"] = CROWDED["exporters"]["loadbalancing"]
FULL = {"processors": {"memory_limiter": {"limit_mib": 1}}}
"""Over agent.yaml, a queue without room; over gateway.yaml, a limit that is always passed."""


class BadDay:
    """The stack through it, and what of EXPECTED has been true at some time."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.prometheus = stack, Prometheus(stack.url("prometheus"))
        self.seen: set[str] = set()

    def look(self) -> None:
        for name, expr in EXPECTED.items():
            if name not in self.seen and any(not math.isnan(value) for _, value in self.prometheus.query(expr)):
                self.seen.add(name)

    def until(self, *starts: str, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Look until all that begins so was seen. What is not in time is for the tests below to tell."""

        def seen() -> bool:
            meanwhile()
            self.look()
            return all(name in self.seen for name in EXPECTED if name.startswith(starts))

        try:
            wait_for(str(starts), seen, 90)
        except AssertionError:
            self.look()


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BadDay]:
    folder = tmp_path_factory.mktemp("faults")
    with CaptureServer() as stores, CaptureServer() as refusing:
        options = ("--grace", "1")
        stack = Stack(folder, free_ports(), seconds=2, traces=stores.url, logs=stores.url, gateway=options)
        history(folder, PAST)
        try:
            stack.start("collector", "agent", "gateway", "prometheus")
            made = BadDay(stack)
            runs(made)
            untaken(made, refusing)
            refused(made)
            yield made
        finally:
            stack.stop()


def runs(day: BadDay) -> None:
    """Of runs: all alerts but those on the stack itself."""
    url, told = day.stack.url("gateway"), cases()
    nonsense = b'{"event":"phase","id":"no run"}\n'
    post(url, list(broken.begun()))
    numbers = count()

    def another() -> None:
        number = next(numbers)
        post(url, list(broken.bad_day(number)))
        wave(url, told, number // 2)  # and once more: duplicates
        httpx.post(f"{url}/v1/events", content=nonsense, headers={"Content-Type": "application/x-ndjson"})
        scraped = day.prometheus.total("otel_events_records_received_total")
        wait_for("a scrape", lambda: day.prometheus.total("otel_events_records_received_total") > scraped)

    later = ("Dropped", "Export", "Collector", "TargetDown", "LabelOverflow")
    ours = [f"alert {name}" for name in ALERTS if not name.removeprefix("OtelEvents").startswith(later)]
    day.until(*ours, *(f"panel {uid}" for uid in RUN_BOARDS), meanwhile=another)
    post(url, broken.many_names(2_100))  # from here on all that is new is __other__
    day.until("alert OtelEventsLabelOverflow", "counter label_overflow")


def untaken(day: BadDay, refusing: CaptureServer) -> None:
    """The gateway's telemetry is refused for good, then nobody is there; its journal is small, and overflows."""
    refusing.answers.extend([Answer(http=400)] * 4 + [Answer(http=503)] * 100)
    day.stack.environ["gateway"] = {"OTEL_EXPORTER_OTLP_ENDPOINT": refusing.url}
    day.stack.gateway += ("--journal-mib", "1")
    day.stack.kill("gateway")
    day.stack.start("gateway")
    url, numbers = day.stack.url("gateway"), count(1_000)

    def more() -> None:
        post(url, list(broken.bad_day(next(numbers))))
        post(url, [event for _, events in cases() for event in events])

    day.until("alert OtelEventsExport", "alert OtelEventsDropped", "counter export", "counter dropped", meanwhile=more)


def refused(day: BadDay) -> None:
    """The agent shows a wrong token; then neither collector has room; then the agent is gone."""
    stack, url = day.stack, day.stack.url("agent_http")
    restart(stack, "agent", environ={"NEXT_TOKEN": "wrong"})
    day.until(
        "counter otelcol_exporter_send",
        "alert OtelEventsCollectorRefusing for",
        "panel otel-events-health",
        meanwhile=lambda: broken.offer(url),
    )
    restart(stack, "collector", config=FULL)
    restart(stack, "agent", config=CROWDED)
    day.until("counter otelcol", "alert OtelEventsCollector", meanwhile=lambda: broken.offer(url))
    stack.kill("agent")
    day.until("alert OtelEventsTargetDown")


def restart(stack: Stack, name: str, environ: dict[str, str] | None = None, config: Any = None) -> None:
    stack.environ[name] = environ or {}
    if config:
        path: Path = stack.folder / f"{name}-faulty.yaml"
        path.write_text(yaml.safe_dump(config))
        stack.configs[name] = (path,)
    stack.kill(name)
    stack.start(name)


@pytest.mark.parametrize("name", EXPECTED, ids=lambda name: name.partition(": sum")[0].partition(": topk")[0])
def test_it_was_so(day: BadDay, name: str) -> None:
    assert name in day.seen, EXPECTED[name]
