"""Every query of every panel, variable, rule and alert against the real Prometheus, on captured runs told as of now;
trace queries against the real Jaeger; first while all is well, then with faults."""

from __future__ import annotations

import functools
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import yaml

from grafana.generate import DASHBOARDS
from grafana.model import Panel
from otel_events.event import AnyEvent, PhaseChange, Run
from otel_events.identity import trace_id
from otel_events.testing import CaptureServer
from scripts.stack import Stack, free_ports, running
from scripts.stack_binaries import ROOT
from scripts.stack_feed import Case, captured, post, wave
from tests.live.stack import backfill
from tests.live.stack.kit import Prometheus, wait_for
from tests.test_dashboards import BOARDS, asked

pytestmark = pytest.mark.timeout(2400)  # the first to ask builds the binaries, where no cache has them

GOLDEN = ROOT / "tests" / "golden"
SOURCES = ("flyte", "prefect", "ray", "clearml")
WAVES = 4
PACE = 4
"""Seconds between scrapes, and between waves."""
RULES = ROOT / "collector" / "prometheus"
RECORDING: list[dict[str, str]] = [
    rule for group in yaml.safe_load((RULES / "rules.yaml").read_text())["groups"] for rule in group["rules"]
]
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((RULES / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
LIVE = (
    *("OtelEventsDeadLetters", "OtelEventsDroppedEvents", "OtelEventsLabelOverflow", "OtelEventsExportFailing"),
    *("OtelEventsTargetDown", "OtelEventsFailureRatioFast", "OtelEventsFailureRatioSlow", "OtelEventsTaskRetryStorm"),
)
"""Alerts whose condition faults of minutes make true; that the others fire is promtool's to show (test_rules)."""


UNTOLD = {("flyte", "workflow"): "raw events of executions do not name their workflow, those that Flyte enriches do"}
"""(dashboard, variable) that captured runs have no value for, and why."""


def cases() -> list[Case]:
    big = "again_and_done"  # 12,201 tasks: for the benchmark
    found = [case for case in captured(GOLDEN, SOURCES, without=(big,)) if case[1]]
    waiting = Run("clearml", "task", "waiting", "waiting", "waiting")  # every task of ClearML that was captured ended
    begun: list[AnyEvent] = [PhaseChange(id="waiting", time=1, run=waiting, phase="running", native="in_progress")]
    told = [(source, events + (job_outcomes(events) if source == "ray" else [])) for source, events in found]
    return [*told, ("clearml", begun)]


def job_outcomes(events: list[AnyEvent]) -> list[AnyEvent]:
    """How the jobs ended, which Ray's events do not say: as polling its dashboard adds it."""
    last = max(event.time for event in events)
    jobs = {event.run.id: event.run for event in events if event.run.kind == "workflow"}
    return [
        PhaseChange(id=f"jobs.{run.id}", time=last, run=run, phase="succeeded", native="SUCCEEDED")
        for run in jobs.values()
    ]


class World:
    """The stack, fed with runs all the while."""

    def __init__(self, stack: Stack, logs: CaptureServer) -> None:
        self.stack, self.logs = stack, logs
        self.prometheus = Prometheus(stack.url("prometheus"))
        self.cases = cases()
        self.waves = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._feed)

    def _feed(self) -> None:
        while not self._over.wait(PACE):
            wave(self.stack.url("gateway"), self.cases, self.waves)
            self.waves += 1

    def feed(self) -> None:
        """Until ``rest``, waves of runs; the first have been scraped when this returns."""
        self._thread.start()
        ended = 'count(count by (source) (otel_events_runs_total{source=~"flyte|prefect|ray|clearml|python"}))'
        wait_for("runs of every source", lambda: self.waves >= WAVES and self.prometheus.total(ended) == 5)

    def rest(self) -> None:
        self._over.set()
        self._thread.join()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("stack")
    with CaptureServer() as logs:
        stack = Stack(folder, free_ports(), seconds=PACE, logs=logs.url, gateway=("--grace", "1"))
        backfill.history(folder)
        with running(stack), pushing(stack):
            made = World(stack, logs)
            made.feed()
            yield made
            made.rest()


@contextmanager
def pushing(stack: Stack) -> Iterator[None]:
    """A program that sends its telemetry, metrics too, to the agent."""
    environ = os.environ | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": stack.url("agent_http"),
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRIC_EXPORT_INTERVAL": "2000",
    }
    command = [sys.executable, "-m", "tests.live.stack.program"]
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdin=subprocess.PIPE) as program:
        yield
        program.communicate(b"over", timeout=60)


PANELS = [(board.title, panel) for board in DASHBOARDS for row in board.rows for panel in row.panels]
WELL = [(title, panel, query) for title, panel in PANELS for query in panel.queries if query.backend == "prometheus"]


def name_of(value: object) -> str:
    return value.title if isinstance(value, Panel) else value if isinstance(value, str) else ""


@pytest.mark.parametrize(("board", "panel", "query"), WELL, ids=lambda value: name_of(value))
def test_a_panel_s_query_has_an_answer(world: World, board: str, panel: Panel, query: Any) -> None:
    if panel.fault:
        world.prometheus.query(query.expr)  # no error
    else:
        found = wait_for(f"an answer to {query.expr}", lambda: world.prometheus.query(query.expr), 30)
        assert any(not math.isnan(value) for _, value in found)


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_a_variable_has_values(world: World, name: str) -> None:
    for variable in BOARDS[name]["templating"]["list"]:
        if variable["type"] == "query":
            selector, label = asked(variable)
            assert bool(world.prometheus.label_values(selector, label)) is ((name, label) not in UNTOLD), selector


@pytest.mark.parametrize("rule", RECORDING, ids=lambda rule: rule["record"])
def test_a_recording_rule_records(world: World, rule: dict[str, str]) -> None:
    assert wait_for(rule["record"], lambda: world.prometheus.query(rule["expr"]), 30)


def test_every_rule_is_evaluated_without_error(world: World) -> None:
    def evaluated() -> bool:
        return all(rule["health"] == "ok" for rule in world.prometheus.rules())

    assert len(world.prometheus.rules()) == len(RECORDING) + len(ALERTS)
    wait_for("all rules evaluated", evaluated)  # groups begin within their interval of two minutes


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_s_expression_is_no_error(world: World, alert: dict[str, Any]) -> None:
    world.prometheus.query(alert["expr"])


# --- traces and logs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES)
def test_runs_are_found_in_jaeger_by_their_trace_id(world: World, source: str) -> None:
    """Which follows from what names the run; a few are in a trace of somebody else's."""
    runs = {event.run.root: event.run for told, events in world.cases if told == source for event in events}
    traces = [trace_id(run.source, run.namespace, f"{run.root}~0").hex() for run in runs.values()]
    found = wait_for(source, lambda: [trace for trace in traces if jaeger(world, trace)])
    assert {span["traceID"] for span in jaeger(world, found[0])} == {found[0]}


def jaeger(world: World, trace: str) -> list[dict[str, Any]]:
    answer = httpx.get(world.stack.url("jaeger", f"/api/traces/{trace}"), timeout=30)
    found = answer.json()["data"] if answer.status_code == 200 else []
    return [span for one in found for span in one["spans"]]


def test_an_exemplar_leads_to_its_trace(world: World) -> None:
    query = "otel_events_run_duration_seconds_bucket"
    found = wait_for("exemplars", lambda: world.prometheus.exemplars(query))
    assert jaeger(world, found[-1]["labels"]["trace_id"])


def test_logs_arrive_with_what_their_queries_ask_for(world: World) -> None:
    """LogQL needs a Loki; what it selects by is there: the service, event names and trace ids of log records."""
    logs = wait_for("logs", world.logs.logs)
    names = {log.event_name for log in logs}
    assert {"otel_events.run.failed", "otel_events.run.succeeded", "otel_events.report"} <= names
    assert all(log.trace_id for log in logs if log.event_name.startswith("otel_events.run."))
    assert {log.attributes["otel_events.source"] for log in logs} >= {"flyte", "prefect", "ray", "clearml"}


# --- with faults -----------------------------------------------------------------------------------------------------


@pytest.mark.last
def test_with_faults_the_rest_is_not_empty_either(world: World) -> None:
    world.rest()  # what breaks now stays so
    faulty(world)
    for title, panel, query in WELL:
        if panel.fault:
            wait_for(f"{title}, {panel.title}: {query.expr}", functools.partial(world.prometheus.query, query.expr), 60)
    for alert in ALERTS:
        if alert["alert"] in LIVE:
            wait_for(alert["alert"], functools.partial(world.prometheus.query, alert["expr"]))


def faulty(world: World) -> None:
    """Records that are nonsense, names without end, events that come late and twice, hops that are away."""
    gateway = world.stack.url("gateway")
    refused(gateway)
    now = time.time_ns()
    for first in range(0, 2_200, 200):
        runs = [Run("batch", "task", f"t{n}", f"name {n}", f"t{n}", workflow="w") for n in range(first, first + 200)]
        post(gateway, [PhaseChange(id=run.id, time=now, run=run, phase="running", native="R") for run in runs])
    distrusted(world)
    world.stack.kill("agent")
    for number in range(10_000, 10_003):
        for _ in range(2):  # and once more: duplicates
            wave(gateway, world.cases, number)
    wait_for("retries", lambda: world.prometheus.total("rate(otel_events_export_retried_total[1m])"))
    wait_for("the agent is down", lambda: not world.prometheus.total('up{job="otelcol-agent"}'))


def distrusted(world: World) -> None:
    """The collector asks for another token: what the agent sends is refused for good."""
    token = world.stack.folder / "collector_token"
    token.write_text("another one")
    world.stack.kill("collector")
    world.stack.start("collector")
    wave(world.stack.url("gateway"), world.cases, 20_000)
    failed = [f"otelcol_exporter_send_failed_{what}_total" for what in ("spans", "log_records", "metric_points")]
    for name in failed:
        wait_for(name, functools.partial(world.prometheus.query, f"rate({name}[1m])"))


def refused(gateway: str) -> None:
    told = httpx.post(f"{gateway}/v1/events", content=b"{nonsense\n", headers={"Content-Type": "application/x-ndjson"})
    assert 400 <= told.status_code < 500
